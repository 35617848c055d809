"""For how long a cluster's nodes were up, and what they cost: sums, words in the ledger, prices by type."""

from __future__ import annotations

import pytest

from auxtune.orchestrator.answer.cost import NodeCost, sum_cost
from auxtune.orchestrator.engine.cluster import NodeClock, NodeTime, name_kind
from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Closed, Event, Nodes, Opened, read_event, write_event
from auxtune.orchestrator.session.ray_backend import SIGN, NodeTrail
from auxtune.orchestrator.views.summary import list_node_lines
from auxtune.selectors.protocol import Problem, TaskInfo

HEAD = "node:__internal_head__"


def opened(session: str, moment: float) -> Opened:
    return Opened(
        session=session,
        time=moment,
        study="",
        overrides=(),
        study_folder="",
        working_folder="",
        problem=Problem((TaskInfo("p", "classification", 10),), "p"),
        fingerprint={},
        versions={},
    )


def nodes(moment: float, up: dict[str, int], **seconds: float) -> Nodes:
    return Nodes(time=moment, up=up, seconds=seconds)


def test_time_between_looks_counts_by_the_earlier_ones_nodes() -> None:
    clock = NodeClock({"head": 1, "spot": 2}, 100.0)
    clock.look({"head": 1, "spot": 1}, 110.0)  # one was taken away
    clock.look({"head": 1}, 115.0)  # the other too
    clock.look({"head": 1, "spot": 3}, 135.0)  # all of its type came back
    assert clock.read(136.0) == NodeTime({"head": 1, "spot": 3}, {"head": 36.0, "spot": 2 * 10 + 5 + 3 * 1})


def test_a_look_that_comes_late_counts_no_time_twice() -> None:
    clock = NodeClock({"head": 1}, 0.0)
    assert clock.read(10.0).seconds == {"head": 10.0}
    clock.look({"head": 1, "spot": 1}, 9.0)  # looked at before, told after
    assert clock.read(12.0).seconds == {"head": 12.0, "spot": 2.0}


def test_words_are_recorded_at_changes_and_once_a_minute_and_at_the_end() -> None:
    now, found, words, flushed = [0.0], [NodeTime({"head": 1}, {})], list[Nodes](), list[int]()
    trail = NodeTrail(lambda: found[0], words.append, lambda: flushed.append(len(words)), lambda: now[0])
    trail.each_turn()
    trail.each_turn()
    assert flushed == [1]
    found[0] = NodeTime({"head": 1}, {"head": SIGN})
    now[0] = SIGN
    trail.each_turn()
    found[0] = NodeTime({"head": 1, "spot": 1}, {"head": SIGN + 1})
    now[0] += 1
    trail.each_turn()
    trail.each_turn()
    assert flushed == [1, 2, 3]
    trail.end()
    assert [word.seconds for word in words] == [{}, {"head": SIGN}, {"head": SIGN + 1}, {"head": SIGN + 1}]
    assert [word.up for word in words[1:3]] == [{"head": 1}, {"head": 1, "spot": 1}]
    assert len(flushed) == 3  # the last is made durable with the session's end


def test_off_a_cluster_nothing_is_recorded_and_money_is_unknown() -> None:
    words: list[Nodes] = []
    trail = NodeTrail(lambda: None, words.append, lambda: None)
    trail.each_turn()
    trail.end()
    assert words == []
    cost = sum_cost(Accounts([opened("a", 0.0)]), Price(1.0, 1.0, {"head": 1.0}), now=50.0)
    assert cost.cluster_usd is None and cost.nodes is None and list_node_lines(cost) == []


def test_sessions_add_up_also_one_that_was_killed_and_where_their_clocks_overlap() -> None:
    ledger: list[Event] = [
        opened("killed", 1000.0),
        nodes(1000.0, {"head": 1}),
        nodes(1060.0, {"head": 1, "spot": 2}, head=60.0, spot=30.0),
        opened("next", 1030.0),  # on a machine whose clock is behind
        nodes(1030.0, {"head": 1, "spot": 1}, head=5.0, spot=5.0),
        nodes(1010.0, {"head": 1, "spot": 1}, head=65.0, spot=65.0),  # its clock was set back by 80 s meanwhile
    ]
    accounts = Accounts(ledger)
    assert accounts.node_seconds() == {"head": 125.0, "spot": 95.0}
    assert accounts.node_seconds(now=1020.0) == {"head": 135.0, "spot": 105.0}  # the last one is alive
    assert accounts.node_seconds(now=1000.0) == {"head": 125.0, "spot": 95.0}
    accounts.add(Closed(session="next", time=1020.0, reason="interrupted"))
    assert accounts.node_seconds(now=9999.0) == {"head": 135.0, "spot": 105.0}
    accounts.add(opened("here", 2000.0))  # a session without a cluster adds nothing
    assert accounts.node_seconds(now=9999.0) == {"head": 135.0, "spot": 105.0}


def test_a_type_without_a_price_makes_the_sum_unknown_and_is_named() -> None:
    up = {"head": 1, "gpu_spot": 2, "gpu_on_demand": 1}
    accounts = Accounts([opened("a", 0.0), nodes(1.0, up, head=3600.0, gpu_spot=5400.0, gpu_on_demand=0.0)])
    priced = sum_cost(accounts, Price(nodes={"head": 0.4, "gpu_spot": 0.5, "gpu_on_demand": 1.2, "other": 9.0}), None)
    assert priced.cluster_usd == pytest.approx(0.4 + 0.75)
    assert priced.nodes is not None and priced.nodes["gpu_spot"] == NodeCost(1.5, pytest.approx(0.75))
    assert priced.usd is None  # what nodes cost is not what trials do
    assert list_node_lines(priced) == ["Cluster: node hours gpu_on_demand 0.000, gpu_spot 1.500, head 1.000; 1.15 USD"]
    for prices, lacking in (({"head": 0.4}, "gpu_on_demand, gpu_spot"), ({}, "gpu_on_demand, gpu_spot, head")):
        unknown = sum_cost(accounts, Price(1.0, 1.0, prices), None)
        assert unknown.cluster_usd is None and unknown.nodes and unknown.nodes["gpu_spot"].usd is None
        assert list_node_lines(unknown)[0].endswith(f"money unknown (prices.nodes lacks {lacking})")


def test_what_is_free_costs_nothing_and_that_is_known() -> None:
    accounts = Accounts([opened("a", 0.0), nodes(1.0, {"worker": 1}, worker=10.0)])
    assert sum_cost(accounts, Price(nodes={"worker": 0.0}), None).cluster_usd == 0.0


@pytest.mark.parametrize(
    ("labels", "resources", "kind"),
    [
        ({"ray.io/node-group": "gpu_spot"}, {"GPU": 1.0}, "gpu_spot"),
        ({"ray.io/node-group": "head_type"}, {HEAD: 1.0}, "head_type"),
        ({"ray.io/node-id": "a0"}, {HEAD: 1.0}, "head"),
        ({"ray.io/node-id": "a1"}, {"CPU": 1.0}, "worker"),
        ({"ray.io/node-group": "local.cluster.node"}, {HEAD: 1.0}, "head"),  # Ray's word for any machine on-prem
        ({"ray.io/node-group": "local.cluster.node"}, {}, "worker"),
    ],
)
def test_a_nodes_type_is_its_label_or_its_part(labels: dict[str, str], resources: dict[str, float], kind: str) -> None:
    assert name_kind(labels, resources) == kind


def test_the_event_survives_json() -> None:
    word = nodes(1.5, {"head": 1}, head=2.25)
    assert write_event(word) == {"time": 1.5, "up": {"head": 1}, "seconds": {"head": 2.25}, "event": "nodes"}
    assert read_event(write_event(word)) == word
