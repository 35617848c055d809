"""Asks every node of a live cluster what it is and what it can reach.

A task of no CPUs is pinned to each node, so busy nodes answer too and nothing is started for it. Nodes that would be
started from zero are not examined.
"""

from __future__ import annotations

import logging
import platform
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any

from auxtune.orchestrator.cluster.finding import Finding
from auxtune.orchestrator.errors import AuxtuneError

PACKAGES = ("ray", "auxtune", "torch", "transformers", "numpy")  # a difference shows in results or breaks them
ON_THE_HEAD = "`ray exec cluster.yaml 'RAY_AUTH_MODE=token auxtune doctor --address auto'`"
PATIENCE = 90.0  # seconds for a node to start a worker process and answer


@dataclass(frozen=True)
class Node:
    """A node: what Ray says it has, and what it said itself; ``trouble`` is why it said nothing.

    ``storage`` holds ``error`` or ``free`` and ``total`` bytes; ``sees`` are the ids of the nodes whose files it finds
    in the storage folder. Both are ``None`` if no folder was named.
    """

    id: str
    address: str
    head: bool
    resources: Mapping[str, float]
    said: Mapping[str, Any] | None
    trouble: str | None = None
    storage: Mapping[str, Any] | None = None
    sees: frozenset[str] | None = None


@dataclass(frozen=True)
class Cluster:
    """All nodes, and why the MLflow server cannot be reached from the head, if it cannot."""

    nodes: tuple[Node, ...]
    tracking_trouble: str | None


def examine_cluster(address: str, storage: str | None, tracking: str | None) -> Cluster:
    """Examine the cluster whose Ray is at ``address`` (``auto``: the one that this machine belongs to).

    Raises ``AuxtuneError`` if there is none, or if it does not let us in.
    """
    with _connect_ray(address):
        return _examine_nodes(storage, tracking)


@contextmanager
def _connect_ray(address: str) -> Iterator[None]:
    if "://" in address:
        raise AuxtuneError(
            f"--address {address}: expected Ray's own address, HOST:6379 or auto, found that of another service; ask "
            f"on the head: {ON_THE_HEAD}"
        )
    import ray
    from ray._private.services import canonicalize_bootstrap_address

    try:
        # Asked at once: Ray itself tries for minutes, also at the address that a dead cluster has left behind.
        found = canonicalize_bootstrap_address(address)
        if found is None:
            raise ConnectionError("no Ray runs on this machine")
        host, _, port = found.rpartition(":")
        socket.create_connection((host.strip("[]"), int(port)), timeout=10.0).close()
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, configure_logging=False)
    except Exception as error:
        # A ConnectionError, a version mismatch as RuntimeError, a refused token as its own kind: all are explained.
        why = str(error).strip().splitlines()
        raise AuxtuneError(
            f"--address {address}: no way into a Ray cluster there: {why[0] if why else type(error).__name__}; "
            "expected the head's HOST:6379 or auto, asked from a machine of the cluster with its RAY_AUTH_MODE, token "
            f"and versions: {ON_THE_HEAD}"
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _examine_nodes(storage: str | None, tracking: str | None) -> Cluster:
    import ray

    from auxtune.orchestrator.cluster import node_probe

    alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    declared = {key: node["Resources"] for key, node in alive.items()}
    head = next((key for key in alive if "node:__internal_head__" in declared[key]), None)
    # Sent by value: a node that lacks auxtune, or has another version, must be able to say so.
    ray.cloudpickle.register_pickle_by_value(node_probe)
    try:
        looks = _call_on_each({key: (node_probe.look, [*PACKAGES], declared[key].get("GPU", 0) > 0) for key in alive})
        answering = [key for key, (said, _) in looks.items() if said is not None]
        wrote, seen = _try_storage(node_probe, storage, answering) if storage else ({}, {})
        reached: tuple[str | None, str | None] = None, None
        if tracking and head in answering:
            reached = _call_on_each({head: (node_probe.reach, tracking, 10.0)})[head]
    finally:
        ray.cloudpickle.unregister_pickle_by_value(node_probe)
    nodes = [
        Node(
            id=key,
            address=node["NodeManagerAddress"],
            head=key == head,
            resources=declared[key],
            said=looks[key][0],
            trouble=looks[key][1],
            storage=wrote.get(key),
            sees=seen.get(key),
        )
        for key, node in alive.items()
    ]
    return Cluster(tuple(sorted(nodes, key=lambda node: not node.head)), reached[0] or reached[1])


def _try_storage(
    probe: Any, storage: str, nodes: Sequence[str]
) -> tuple[dict[str, Mapping[str, Any]], dict[str, frozenset[str]]]:
    """Write a file on each node: how that went, and whose files each node finds. All are removed again."""
    token = uuid.uuid4().hex[:12]
    files = {node: f".auxtune-doctor-{token}-{number}" for number, node in enumerate(nodes)}
    try:
        written = _call_on_each({node: (probe.write, storage, name) for node, name in files.items()})
        found = _call_on_each({node: (probe.read, storage, [*files.values()]) for node in nodes})
    finally:
        _call_on_each({node: (probe.remove, storage, name) for node, name in files.items()})
    wrote = {node: said or {"error": trouble} for node, (said, trouble) in written.items()}
    sees = {
        node: frozenset(other for other, name in files.items() if name in (said or ()))
        for node, (said, _) in found.items()
    }
    return wrote, sees


def _call_on_each(calls: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, str | None]]:
    """Run a function with its arguments on each node, at once; its value, or ``None`` and why there is none."""
    import ray
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

    asked = {}
    for node, (function, *arguments) in calls.items():
        pinned = NodeAffinitySchedulingStrategy(node, soft=False)
        task = ray.remote(num_cpus=0, max_retries=0)(function)
        asked[node] = task.options(scheduling_strategy=pinned).remote(*arguments)
    if asked:
        ray.wait([*asked.values()], num_returns=len(asked), timeout=PATIENCE)
    answers: dict[str, tuple[Any, str | None]] = {}
    for node, future in asked.items():
        try:
            answers[node] = ray.get(future, timeout=0), None
        except ray.exceptions.GetTimeoutError:
            ray.cancel(future, force=True)
            answers[node] = None, f"no answer within {PATIENCE:.0f} s"
        except ray.exceptions.RayError as error:
            answers[node] = None, str(error).strip().splitlines()[-1]
    return answers


FEWEST_FREE = 5e9  # bytes: some checkpoints of an encoder of 400 MB
FULLEST = 0.95  # beyond it Ray stores no more objects on the disk


def judge_cluster(cluster: Cluster, storage: str | None, tracking: str | None) -> list[Finding]:
    """The findings of a cluster that was examined with these options, errors first."""
    findings: list[Finding] = []
    for node in cluster.nodes:
        if node.said is None:
            why = "Trials that are placed there would not begin."
            remedy = "look at `ray monitor cluster.yaml` and at the node's logs in /tmp/ray/session_latest/logs"
            findings.append(Finding("silent", _name_node(node), f"does not answer: {node.trouble}", why, remedy))
            continue
        findings += [*_check_versions(node), *_check_usable_gpus(node), *_check_disk(node)]
    findings += _check_places(cluster)
    findings += _check_storage(cluster, storage)
    findings += _check_tracking(cluster, tracking)
    return sorted(findings, key=lambda finding: finding.severity)


def _name_node(node: Node) -> str:
    return f"{'head' if node.head else 'worker'} {node.address} ({node.id[:8]})"


def _check_versions(node: Node) -> Iterator[Finding]:
    said = node.said or {}
    ours = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    theirs = {"python": said["python"], **said["versions"]}
    for name, here in ours.items():
        there = theirs[name]
        if there == here:
            continue
        what = f"{name} {there} there, {here} here" if there else f"{name} is not installed for {said['executable']}"
        # Ray, Python and auxtune exchange pickled objects; the others only decide numbers.
        severe = name in ("python", "ray", "auxtune") or there is None
        why = "Trials there would fail, or not begin." if severe else "A trial's score would depend on where it ran."
        remedy = "pin it in constraints.txt or the setup commands and `ray up` again; take machines with one Python"
        yield Finding("version", _name_node(node), what, why, remedy, "error" if severe else "warning")


def _check_usable_gpus(node: Node) -> Iterator[Finding]:
    declared, usable = int(node.resources.get("GPU", 0)), (node.said or {})["gpus"]
    if usable is not None and usable < declared:
        yield Finding(
            "gpu",
            _name_node(node),
            f"declares {declared} GPUs, and torch can use {usable}",
            "Trials placed there would fail, or train on the CPU.",
            "compare `nvidia-smi` with `python -c 'import torch; print(torch.version.cuda)'` on it; install the torch "
            "that its driver supports",
        )


def _check_disk(node: Node) -> Iterator[Finding]:
    disks = {"Ray's scratch in /tmp": (node.said or {})["scratch"], "the storage folder": node.storage or {}}
    for name, usage in disks.items():
        if "free" not in usage:
            continue
        free, share = usage["free"], 1 - usage["free"] / usage["total"]
        if free < FEWEST_FREE or share > FULLEST:
            what = f"{name} has {free / 1e9:.1f} GB left and is {share:.0%} full"
            why = "Checkpoints, evidence and Ray's objects go there; a full disk ends trials."
            yield Finding("disk", _name_node(node), what, why, "free some, or take a larger disk", "warning")


def _check_places(cluster: Cluster) -> Iterator[Finding]:
    heads = [node for node in cluster.nodes if node.head and node.resources.get("CPU", 0) > 0]
    if any(not node.head for node in cluster.nodes):
        for head in heads:
            what = f"has {head.resources['CPU']:g} CPUs for trials"
            why = "A trial that takes all of the head's memory takes the study's driver with it, and the whole cluster."
            remedy = "start its Ray with --num-cpus=0, on a cloud `resources: {CPU: 0}`"
            yield Finding("head", _name_node(head), what, why, remedy, "warning")
    elif not heads:  # a head alone that trains is a cluster of one machine
        why = "Workers that are started when trials ask for them were not examined."
        remedy = "ask again while a study runs"
        yield Finding("workers", "cluster", "there is no worker now", why, remedy, "warning")


def _check_storage(cluster: Cluster, storage: str | None) -> Iterator[Finding]:
    if storage is None:
        why = "Driver and trials must write to the same folder on every node."
        yield Finding("storage", "cluster", "no storage was examined", why, "name it: --storage FOLDER", "warning")
        return
    remedy = "mount one shared file system at the same path on every node, writable by the user of Ray"
    if "://" in storage:
        remedy = (
            "install auxtune[s3] or auxtune[gs] on every node, and start its Ray with the credentials, and the "
            "endpoint if it is not the default, in the environment"
        )
    examined = [node for node in cluster.nodes if node.storage is not None]
    able = [node for node in examined if not (node.storage or {})["error"]]
    for node in examined:
        if error := (node.storage or {})["error"]:
            why = "Trials there could leave neither checkpoint nor result."
            yield Finding("storage", _name_node(node), f"{storage} cannot be written: {error}", why, remedy)
    # The head comes first, and with it the driver, whose folder is the one that counts.
    for node in able[1:]:
        first = able[0]
        if first.id not in (node.sees or ()) or node.id not in (first.sees or ()):
            what = f"{storage} is not the folder that {_name_node(first)} has under this name"
            why = "The driver would wait for results and checkpoints that lie elsewhere."
            yield Finding("storage", _name_node(node), what, why, remedy)


def _check_tracking(cluster: Cluster, tracking: str | None) -> Iterator[Finding]:
    if cluster.tracking_trouble:
        yield Finding(
            "tracking",
            f"head, {tracking}",
            f"MLflow cannot be reached: {cluster.tracking_trouble}",
            "A study trains on without it; its runs are filled in when the server is back.",
            "start it as cluster.yaml does (its log is ~/auxtune/mlflow/server.log on the head); 403 means that the "
            "server must be told the name with --allowed-hosts",
        )
