"""What ``auxtune doctor`` concludes from what nodes say, and how their answers are asked for."""

from __future__ import annotations

import platform
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pytest

from auxtune.orchestrator.cluster import node_probe
from auxtune.orchestrator.cluster.live import PACKAGES, Cluster, Node, judge_cluster

ROOM = {"free": 50e9, "total": 100e9}


def node(name: str, said: Mapping[str, Any] | None = None, **changes: Any) -> Node:
    """A sound node; the one called head is the head."""
    sound = {
        "python": platform.python_version(),
        "executable": "/env/bin/python",
        "versions": {package: version(package) for package in PACKAGES},
        "scratch": ROOM,
        "gpus": None,
    }
    resources = {"CPU": 0.0 if name == "head" else 8.0}
    facts: dict[str, Any] = {
        "id": name,
        "address": "10.0.0.1",
        "head": name == "head",
        "resources": resources,
        "said": {**sound, **(said or {})},
        "storage": {"error": None, **ROOM},
        "sees": frozenset({"head", "worker"}),
    }
    return Node(**{**facts, **changes})


def found(*nodes: Node, storage: str | None = "/mnt/studies", trouble: str | None = None) -> list[tuple[str, str, str]]:
    """Severity, rule and what was found."""
    findings = judge_cluster(Cluster(nodes, trouble), storage, "http://127.0.0.1:5000")
    assert all(finding.why and finding.remedy for finding in findings)
    return [(finding.severity, finding.rule, finding.what) for finding in findings]


def test_of_a_sound_cluster_nothing_is_found() -> None:
    assert found(node("head"), node("worker", {"gpus": 1}, resources={"CPU": 8, "GPU": 1})) == []


@pytest.mark.parametrize(
    ("package", "there", "severity"),
    [("ray", "2.9.1", "error"), ("auxtune", None, "error"), ("torch", None, "error"), ("numpy", "1.26.0", "warning")],
)
def test_another_version_is_an_error_where_objects_are_exchanged(package: str, there: str, severity: str) -> None:
    versions = {**{name: version(name) for name in PACKAGES}, package: there}
    ((level, rule, what),) = found(node("head"), node("worker", {"versions": versions}))
    assert (level, rule) == (severity, "version") and package in what
    assert (there or "not installed for /env/bin/python") in what


def test_another_python_is_an_error() -> None:
    ((level, rule, what),) = found(node("head"), node("worker", {"python": "3.8.1"}))
    assert (level, rule) == ("error", "version") and "python 3.8.1 there" in what


def test_a_node_that_does_not_answer_is_found_and_judged_no_further() -> None:
    silent = node("worker", trouble="no answer within 90 s", storage=None, sees=None)
    said = Node(**{**vars(silent), "said": None})
    assert found(node("head"), said) == [("error", "silent", "does not answer: no answer within 90 s")]


@pytest.mark.parametrize("one_way", ["head", "worker"])
def test_storage_is_shared_only_where_each_sees_the_other(one_way: str) -> None:
    sees = {name: frozenset({"head", "worker"} if name != one_way else {name}) for name in ("head", "worker")}
    ((level, rule, what),) = found(*(node(name, sees=sees[name]) for name in sees))
    assert (level, rule) == ("error", "storage") and "is not the folder that head" in what


def test_storage_that_nobody_named_is_said_to_be_unexamined() -> None:
    ((level, rule, _),) = found(node("head"), node("worker"), storage=None)
    assert (level, rule) == ("warning", "storage")


@pytest.mark.parametrize(("free", "total"), [(1e9, 10e9), (30e9, 1000e9)])
def test_a_disk_that_fills_up_is_warned_of(free: float, total: float) -> None:
    ((level, rule, what),) = found(node("head"), node("worker", {"scratch": {"free": free, "total": total}}))
    assert (level, rule) == ("warning", "disk") and what.startswith("Ray's scratch in /tmp has")


def test_fewer_gpus_than_declared_are_an_error() -> None:
    ((level, rule, what),) = found(node("head"), node("worker", {"gpus": 3}, resources={"CPU": 8, "GPU": 4}))
    assert (level, rule) == ("error", "gpu") and "declares 4 GPUs, and torch can use 3" in what


def test_a_head_alone_may_train_and_workers_to_come_are_said_to_be_unexamined() -> None:
    assert found(node("head", resources={"CPU": 8.0}, sees=frozenset({"head"}))) == []
    ((level, rule, _),) = found(node("head", sees=frozenset({"head"})))
    assert (level, rule) == ("warning", "workers")


def test_a_file_is_found_by_its_name_and_taken_away(tmp_path: Path) -> None:
    storage = str(tmp_path / "studies")
    assert node_probe.write(storage, "probe")["error"] is None
    assert node_probe.read(storage, ["probe", "other"]) == ["probe"]
    node_probe.remove(storage, "probe")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "studies").write_text("no folder")
    assert "NotADirectoryError" in node_probe.write(storage, "probe")["error"]
