"""Asks every node of a live cluster what it is and what it can reach.

A task of no CPUs is pinned to each node, so busy nodes answer too and nothing is started for it. Nodes that would be
started from zero are not examined.
"""

from __future__ import annotations

import logging
import socket
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

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


def examine(address: str, storage: str | None, tracking: str | None) -> Cluster:
    """Look around in the cluster whose Ray is at ``address`` (``auto``: the one that this machine belongs to).

    Raises ``AuxtuneError`` if there is none, or if it does not let us in.
    """
    with _connected(address):
        return _examine(storage, tracking)


@contextmanager
def _connected(address: str) -> Iterator[None]:
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


def _examine(storage: str | None, tracking: str | None) -> Cluster:
    import ray

    from auxtune.orchestrator.cluster import node_probe

    alive = {node["NodeID"]: node for node in ray.nodes() if node["Alive"]}
    declared = {key: node["Resources"] for key, node in alive.items()}
    head = next((key for key in alive if "node:__internal_head__" in declared[key]), None)
    # Sent by value: a node that lacks auxtune, or has another one, is to say so.
    ray.cloudpickle.register_pickle_by_value(node_probe)
    try:
        looks = _on_each({key: (node_probe.look, [*PACKAGES], declared[key].get("GPU", 0) > 0) for key in alive})
        answering = [key for key, (said, _) in looks.items() if said is not None]
        wrote, seen = _try_storage(node_probe, storage, answering) if storage else ({}, {})
        reached: tuple[str | None, str | None] = None, None
        if tracking and head in answering:
            reached = _on_each({head: (node_probe.reach, tracking, 10.0)})[head]
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
    """What became of writing a file on each node; and of which nodes each one finds the files. None is left."""
    token = uuid.uuid4().hex[:12]
    files = {node: f".auxtune-doctor-{token}-{number}" for number, node in enumerate(nodes)}
    try:
        written = _on_each({node: (probe.write, storage, name) for node, name in files.items()})
        found = _on_each({node: (probe.read, storage, [*files.values()]) for node in nodes})
    finally:
        _on_each({node: (probe.remove, storage, name) for node, name in files.items()})
    wrote = {node: said or {"error": trouble} for node, (said, trouble) in written.items()}
    sees = {
        node: frozenset(other for other, name in files.items() if name in (said or ()))
        for node, (said, _) in found.items()
    }
    return wrote, sees


def _on_each(calls: Mapping[str, tuple[Any, ...]]) -> dict[str, tuple[Any, str | None]]:
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
