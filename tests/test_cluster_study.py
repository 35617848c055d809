"""A study on a real cluster of several nodes: where its trials run, a node that dies, one that joins.

The nodes are processes of this machine and claim a GPU each; trials compute on the CPU. The head has no CPU to give.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import psutil
import pytest
from mlflow.tracking import MlflowClient
from ray.cluster_utils import Cluster
from small_study import StudyRun, kill

from auxtune.orchestrator.answer.cost import measure_concurrency
from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.record.events import Lost, Nodes
from auxtune.orchestrator.record.results import locate_attempt
from auxtune.trials.checkpoint import is_usable

pytestmark = pytest.mark.slow

RESOURCES = "resources: {cpus: 1, gpus: 0.5, device: cpu}"


@contextmanager
def start_cluster() -> Iterator[Any]:
    """A head that runs no trial. A node that died is missed after two seconds instead of fifteen."""
    watchful = {"health_check_period_ms": 500, "health_check_failure_threshold": 4}
    head = {"num_cpus": 0, "num_gpus": 0, "include_dashboard": False, "_system_config": watchful}
    cluster = Cluster(initialize_head=True, head_node_args=head)
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that runs no trial, and three nodes with two CPUs and a GPU each."""
    with start_cluster() as cluster:
        for _ in range(3):
            add_node(cluster)
        yield cluster


def use_nodes(run: StudyRun) -> None:
    """Let each trial of a study take half of a node."""
    study = run.home / "study.yaml"
    study.write_text(study.read_text().replace("resources: {cpus: 1, gpus: 0, concurrent: 1}", RESOURCES))


def add_node(cluster: Cluster, kind: str = "spot") -> Any:
    labels = {"ray.io/node-group": kind}  # as Ray's autoscaler labels what it starts
    return cluster.add_node(num_cpus=2, num_gpus=1, resources={"fast": 1}, labels=labels)


def raylet(node: Any) -> int:
    return int(node.all_processes["raylet"][0].process.pid)


def placed(run: StudyRun) -> dict[int, int]:
    """Attempts that are being trained and have a checkpoint: trial -> the raylet that its process is a child of."""
    found = {}
    for trial in run.accounts.trials.values():
        if trial.status == "running" and (node := node_of(run, trial)) is not None:
            found[trial.id] = node
    return found


def node_of(run: StudyRun, trial: Trial) -> int | None:
    folder = locate_attempt(run.folder, trial.id, len(trial.attempts))
    if not is_usable(folder / "checkpoint"):
        return None
    try:
        return psutil.Process(int((folder / "alive").read_text().partition(" ")[0])).ppid()
    except (ValueError, psutil.NoSuchProcess):
        return None  # it has just ended


def test_trials_fill_all_nodes_and_survive_that_one_dies_and_another_joins(small: StudyRun, cluster: Cluster) -> None:
    use_nodes(small)
    nodes = {raylet(node): node for node in cluster.worker_nodes}
    # Trials enough for all while new processes start, which takes longer than some trials do.
    changed = (
        "search_seeds=8",
        "selector.trials=3",
        "budget.trials=26",
        "training.steps=200",
        "training.checkpoint_every=0.5",
        "prices.nodes={head: 0.36, spot: 3.6, on_demand: 7.2}",
    )
    sets = [word for change in changed for word in ("--set", change)]
    process = small.start("run", "study.yaml", "--address", cluster.address, *sets)
    seen: list[dict[int, int]] = []

    def all_slots_are_taken() -> bool:
        seen.append(placed(small))
        return len(seen[-1]) == 6

    small.wait_for(all_slots_are_taken, process)
    assert Counter(seen[-1].values()) == dict.fromkeys(nodes, 2)  # two halves of each GPU, none on the head
    dead = next(iter(nodes))
    cluster.remove_node(nodes[dead], allow_graceful=False)
    small.wait_for(lambda: any(isinstance(event, Lost) for event in small.events), process)
    # The driver looks at the nodes every two seconds: one that joins before it has looked takes the dead one's place.
    small.wait_for(
        lambda: any(event.up.get("spot") == 2 for event in small.events if isinstance(event, Nodes)), process
    )
    joined = raylet(add_node(cluster, "on_demand"))
    small.wait_for(lambda: joined in placed(small).values(), process)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, out + err
    assert "raylet" not in out  # Ray would print pages about the node that died

    lost = [event for event in small.events if isinstance(event, Lost)]
    assert len(lost) in (1, 2) and all(event.cause == "worker" for event in lost)
    trials = small.accounts.trials
    assert {trial.status for trial in trials.values()} == {"finished"} and len(trials) == 26
    assert sum(len(trial.attempts) for trial in trials.values()) == 26 + len(lost)
    assert any(trials[event.id].attempts[1].resume_from == 1 for event in lost)  # one may have had none yet
    at_once = measure_concurrency(small.accounts)
    assert at_once is not None and at_once.peak == 6
    answer = json.loads((small.folder / "selection.json").read_text())
    assert answer["cost"]["gpu_hours"] == pytest.approx(answer["cost"]["cpu_hours"] / 2)
    check_node_cost(small, answer["cost"])
    assert "Cluster: node hours head" in out
    assert "verified" in small.finish("status", str(small.folder), "--verify")


def check_node_cost(run: StudyRun, cost: dict[str, Any]) -> None:
    """One of three spot nodes died, and one on demand joined later."""
    words = [event for event in run.events if isinstance(event, Nodes)]
    seen = [dict(word.up) for word in words]
    assert [up for number, up in enumerate(seen) if up not in seen[:number]] == [
        {"head": 1, "spot": 3},
        {"head": 1, "spot": 2},
        {"head": 1, "spot": 2, "on_demand": 1},
    ]
    up = {kind: node["hours"] * 3600 for kind, node in cost["nodes"].items()}
    assert up == pytest.approx(words[-1].seconds, rel=0.1)  # and until the answer was written
    assert words[-1].seconds["head"] == pytest.approx(
        words[0].seconds["head"] + words[-1].time - words[0].time, rel=0.01
    )
    assert 2 * up["head"] < up["spot"] < 3 * up["head"] and 0 < up["on_demand"] < up["head"]
    assert cost["cluster_usd"] == pytest.approx((0.36 * up["head"] + 3.6 * up["spot"] + 7.2 * up["on_demand"]) / 3600)
    status = json.loads(run.finish("status", str(run.folder), "--json"))
    assert status["cost"]["cluster_usd"] == pytest.approx(cost["cluster_usd"], rel=0.5)  # until MLflow had it all
    (parent,) = MlflowClient(f"sqlite:///{run.home / 'mlflow.db'}").search_runs(["1"], "tags.`auxtune.role` = 'study'")
    assert parent.data.metrics["cost/cluster_usd"] == pytest.approx(cost["cluster_usd"], rel=0.5)


def test_node_time_of_a_driver_that_was_killed_is_not_lost(small: StudyRun, cluster: Cluster) -> None:
    use_nodes(small)
    arguments = ("run", "study.yaml", "--address", cluster.address, "--set", "prices.nodes={head: 0.36}")
    process = small.start(*arguments)
    small.wait_for(lambda: bool(placed(small)), process)
    kill(process)
    died = small.accounts.node_seconds()
    assert died is not None and 0 < 3 * died["head"] == pytest.approx(died["spot"])
    said = small.finish("status", str(small.folder))
    assert "cluster: node hours head" in said and "money unknown (prices.nodes lacks spot)" in said
    small.finish(*arguments)
    last = [event for event in small.events if isinstance(event, Nodes)][-1].seconds
    cost = json.loads((small.folder / "selection.json").read_text())["cost"]
    assert {kind: node["hours"] * 3600 for kind, node in cost["nodes"].items()} == pytest.approx(
        {kind: died[kind] + last[kind] for kind in ("head", "spot")}, rel=0.05
    )
    assert cost["cluster_usd"] is None and cost["nodes"]["spot"]["usd"] is None
    assert cost["nodes"]["head"]["usd"] == pytest.approx(0.36 * cost["nodes"]["head"]["hours"])


def test_what_the_cluster_can_never_satisfy_is_refused_and_so_is_what_is_no_cluster(
    small: StudyRun, cluster: Cluster
) -> None:
    address = ("--address", cluster.address)
    said = small.finish("run", "study.yaml", *address, "--set", "resources.gpus=2", code=2)
    assert "resources.gpus: 2 per trial asked for" in said and "with 2 CPUs and 1 GPUs" in said
    said = small.finish("run", "study.yaml", *address, "--set", "resources.custom={slow: 1}", code=2)
    assert "resources.custom.slow" in said


def test_a_plan_is_of_the_cluster_and_not_of_the_machine_that_asks(small: StudyRun, cluster: Cluster) -> None:
    half = ("--set", "resources={cpus: 1, gpus: 0.5, device: cpu}")
    said = small.finish("plan", "study.yaml", "--address", cluster.address, *half)
    assert "small: 6 trials at once" in said and "not of the cluster's" in said
    said = small.finish("plan", "study.yaml", "--address", cluster.address, "--set", "resources.gpus=2", code=2)
    assert "resources.gpus: 2 per trial asked for" in said
