"""How many trials fit: on one machine, on the nodes of a cluster, and on those that it could start."""

from __future__ import annotations

import os
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from auxtune.orchestrator.engine.cluster import add_startable
from auxtune.orchestrator.errors import ResourceError
from auxtune.orchestrator.planning.slots import (
    Machines,
    Node,
    Slots,
    Startable,
    allot,
    describe_this_machine,
    resize_slots,
)
from auxtune.orchestrator.study_file.models import ResourceOptions
from auxtune.selectors.protocol import Measure, Proposal


def machine(cpus: float, gpus: float = 0) -> Machines:
    return Machines((Node("this machine", {"CPU": cpus, "GPU": gpus}),), cluster=False)


HEAD, CPUS, GPUS = Node("10.0.0.1", {}), Node("10.0.0.2", {"CPU": 32.0}), Node("10.0.0.3", {"CPU": 8.0, "GPU": 2.0})
TRAINS, MEASURES = Proposal(("p",)), Proposal(("p",), measure=(Measure("covariance"),))


@pytest.mark.parametrize(
    ("wanted", "there", "slots"),
    [
        ({"cpus": 2}, machine(9), Slots(2, 0.0, 4)),
        ({"cpus": 2}, machine(9, 2), Slots(2, 1.0, 2)),
        ({"gpus": 0.5}, machine(9, 2), Slots(1, 0.5, 4)),
        ({"concurrent": 3}, machine(9), Slots(1, 0.0, 3)),
        ({"concurrent": 3}, machine(2), Slots(1, 0.0, 2)),
        ({"gpus": 0.6}, machine(9, 2), Slots(1, 0.6, 2)),  # one on each: no trial spans two
        ({"gpus": 0.2}, machine(99, 2), Slots(1, 0.2, 10)),
        ({"gpus": 2}, machine(99, 5), Slots(1, 2.0, 2)),
        ({"cpus": 0.1}, machine(2), Slots(0.1, 0.0, 20)),
        ({"custom": {"fast": 1}}, machine(2), Slots(1, 0.0, 2)),  # a laptop knows no such names
    ],
)
def test_slots_divide_a_machine(wanted: dict[str, object], there: Machines, slots: Slots) -> None:
    assert allot(ResourceOptions.model_validate(wanted), there) == slots


def test_no_trial_spans_nodes() -> None:
    seven = Machines((Node("a", {"CPU": 7.0}), Node("b", {"CPU": 7.0})))
    assert allot(ResourceOptions(cpus=4), seven).concurrent == 2
    assert allot(ResourceOptions(cpus=7), seven).concurrent == 2
    with pytest.raises(ResourceError, match="cpus: 8 per trial asked for, more than there is; the largest is a with 7"):
        allot(ResourceOptions(cpus=8), seven)


@pytest.mark.parametrize(
    ("wanted", "refusal"),
    [
        ({"gpus": 4}, r"gpus: 4 per trial .* 10\.0\.0\.3 with 8 CPUs and 2 GPUs"),
        ({"cpus": 33}, r"cpus: 33 per trial .* 10\.0\.0\.2 with 32 CPUs and 0 GPUs"),
        ({"gpus": 1, "cpus": 16}, r"no node has all .* at once \(16 CPU, 1 GPU\); the largest is 10\.0\.0\.2"),
        ({"custom": {"spot": 1}}, r"custom\.spot: 1 per trial .* with 0 spot"),
        ({"gpus": 0, "probe_gpus": 3}, r"gpus: 3 per trial"),
    ],
)
def test_what_no_node_could_ever_satisfy_is_refused_by_the_largest(wanted: dict[str, object], refusal: str) -> None:
    with pytest.raises(ResourceError, match=refusal):
        allot(ResourceOptions.model_validate(wanted), Machines((HEAD, CPUS, GPUS)))


def test_a_machine_says_so_too() -> None:
    with pytest.raises(ResourceError, match=r"gpus: 0.5 .* this machine with 4 CPUs and 0 GPUs; `gpus: auto`"):
        allot(ResourceOptions(gpus=0.5), machine(4))


def test_auto_takes_a_gpu_where_a_node_has_one_and_then_only_such_nodes_count() -> None:
    assert allot(ResourceOptions(), Machines((HEAD, CPUS, GPUS))) == Slots(1, 1.0, 2)
    assert allot(ResourceOptions(), Machines((HEAD, CPUS))) == Slots(1, 0.0, 32)
    assert allot(ResourceOptions(gpus=0), Machines((HEAD, CPUS, GPUS))).concurrent == 40


def test_probes_may_ask_for_less_and_more_of_them_fit() -> None:
    slots = allot(ResourceOptions(cpus=2, gpus=1, probe_gpus=0.25), Machines((HEAD, GPUS)))
    assert (slots.of(TRAINS).wanted, slots.of(TRAINS).concurrent) == ({"CPU": 2, "GPU": 1.0}, 2)
    assert (slots.of(MEASURES).wanted, slots.of(MEASURES).concurrent) == ({"CPU": 2, "GPU": 0.25}, 4)
    assert slots.share(TRAINS) + 2 * slots.share(MEASURES) == pytest.approx(1)
    on_cpus = allot(ResourceOptions(gpus=1, probe_gpus=0, concurrent=5), Machines((HEAD, CPUS, GPUS)))
    assert (on_cpus.of(TRAINS).concurrent, on_cpus.of(MEASURES).concurrent) == (2, 5)
    assert on_cpus.of(MEASURES).wanted == {"CPU": 1}


def test_nodes_come_and_go_and_each_trial_gets_what_it_got() -> None:
    options = ResourceOptions(gpus="auto", custom={"fast": 0.5})
    fast = replace(GPUS, has={**GPUS.has, "fast": 1.0})
    slots = allot(options, Machines((HEAD, fast)))
    assert (slots.concurrent, slots.wanted) == (2, {"CPU": 1, "GPU": 1.0, "fast": 0.5})
    assert resize_slots(slots, options, Machines((HEAD, fast, fast, GPUS))).concurrent == 4
    gone = resize_slots(slots, options, Machines((HEAD, CPUS)))
    assert (gone.gpus, gone.concurrent, gone.at_least_one.concurrent) == (1.0, 0, 1)


# As `ray up` completes it: two kinds of workers, of all together at most three.
CONFIG = {
    "head_node_type": "head",
    "max_workers": 3,
    "available_node_types": {
        "head": {"resources": {"CPU": 0}, "max_workers": 0},
        "spot": {"resources": {"CPU": 8, "GPU": 1}, "max_workers": 2},
        "plain": {"resources": {"CPU": 16}, "max_workers": 3},
    },
}


def test_what_the_cluster_could_start_is_not_refused_and_counts() -> None:
    empty = add_startable((HEAD,), {"head": 1}, CONFIG)
    assert empty == Machines(
        (HEAD,), (Startable("spot", {"CPU": 8.0, "GPU": 1.0}, 2), Startable("plain", {"CPU": 16.0}, 3)), room=3
    )
    assert allot(ResourceOptions(), empty) == Slots(1, 1.0, 1, after_scaling=2)  # one at least, for estimates
    assert resize_slots(Slots(1, 1.0, 1), ResourceOptions(gpus=1), empty) == Slots(1, 1.0, 0, after_scaling=2)
    # Two plain ones and the larger of what is left.
    assert allot(ResourceOptions(gpus=0), empty).after_scaling == 48
    assert allot(ResourceOptions(gpus=0, concurrent=5), empty).after_scaling == 5
    with pytest.raises(ResourceError, match=r"gpus: 2 .* a node of the kind spot, which can be started, with 8"):
        allot(ResourceOptions(gpus=2), empty)


def test_nodes_that_are_there_leave_less_to_be_started() -> None:
    spot = Node("10.0.0.4", {"CPU": 8.0, "GPU": 1.0})
    grown = add_startable((HEAD, spot), {"head": 1, "spot": 1}, CONFIG)
    assert (grown.room, [(kind.name, kind.most) for kind in grown.startable]) == (2, [("spot", 1), ("plain", 3)])
    assert allot(ResourceOptions(gpus=0.5), grown) == Slots(1, 0.5, 2, after_scaling=2)
    full = add_startable((HEAD, spot, spot, CPUS), {"head": 1, "spot": 2, "plain": 1}, CONFIG)
    assert full.room == 0
    with pytest.raises(ResourceError, match="cpus: 64"):
        allot(ResourceOptions(cpus=64), full)
    assert allot(ResourceOptions(), full) == Slots(1, 1.0, 2)


@pytest.mark.parametrize("active", [{}, {"": 2}, {"other head": 1}])
def test_without_an_autoscaler_or_with_the_file_of_another_cluster_only_nodes_count(active: dict[str, int]) -> None:
    assert add_startable((HEAD, CPUS), active, CONFIG) == Machines((HEAD, CPUS))
    assert add_startable((HEAD, CPUS), {"head": 1}, None) == Machines((HEAD, CPUS))


def test_machines_that_have_not_joined_yet_may_have_anything() -> None:
    """On-premise nodes say what they have when they join; the head has the kind of all of them."""
    one_kind = {"max_workers": 2, "resources": {}}
    config = {"head_node_type": "local", "max_workers": 2, "available_node_types": {"local": one_kind}}
    empty = add_startable((HEAD,), {"local": 1}, config)
    assert (empty.room, empty.startable) == (2, (Startable("local", None, 2),))
    assert allot(ResourceOptions(gpus=8), empty).after_scaling == 1
    with pytest.raises(ResourceError, match="have not joined yet"):
        allot(ResourceOptions(gpus="auto"), empty)
    joined = add_startable((HEAD, CPUS, CPUS), {"local": 3}, config)
    assert not joined.unknown
    with pytest.raises(ResourceError, match="gpus: 8"):
        allot(ResourceOptions(gpus=8), joined)


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="the system knows no affinity")
def test_only_the_cpus_that_the_process_may_use_are_handed_out() -> None:
    allowed = os.sched_getaffinity(0)
    try:
        os.sched_setaffinity(0, {min(allowed)})
        assert describe_this_machine().nodes[0].has["CPU"] == 1
    finally:
        os.sched_setaffinity(0, allowed)


def test_where_the_system_knows_no_affinity_there_are_cpus_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)  # as on macOS
    assert describe_this_machine().nodes[0].has["CPU"] >= 1


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="elsewhere torch is asked")
def test_torch_is_asked_for_gpus_where_the_system_shows_one_and_only_there(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 3)
    for device, found in ((tmp_path, 3.0), (tmp_path / "none", 0.0)):
        monkeypatch.setattr("auxtune.orchestrator.planning.slots._GPU_DEVICES", (str(device),))
        assert describe_this_machine().nodes[0].has["GPU"] == found
