"""Connects to a running cluster, lists the resources of its nodes and of those it could start, and times its nodes.

Ray knows the nodes that are up. What could be started is known where `ray up` made the cluster: its autoscaler
labels nodes with their kind, and the cluster's file lies on the head, where a submitted study's driver runs.
Elsewhere, or without an autoscaler, only nodes that are up count.

Its nodes are looked at every few seconds, and it is added up for how long nodes of each type are up. Time between two
looks counts by the earlier one's nodes, on a clock that is never set, so neither a step of the system's clock nor a
busy loop changes a sum.
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any

import yaml

from auxtune.orchestrator.engine.loop import set_ray_defaults
from auxtune.orchestrator.errors import ClusterError
from auxtune.orchestrator.planning.slots import Machines, Node, Startable

LOOK = 2.0  # seconds between looks at the nodes
_PATIENCE = 10.0  # seconds that the head has to answer
_KIND, _ANY_MACHINE = "ray.io/node-group", "local.cluster.node"  # Ray's label, and what it says on-prem
_HEAD = "node:__internal_head__"  # a resource that Ray gives to every head
_CLUSTER_FILE = Path("~/ray_bootstrap_config.yaml")  # where `ray up` leaves it on the head


@contextmanager
def connect_ray(address: str) -> Iterator[None]:
    """The Ray at ``address`` (``host:port`` of its head, or ``auto``), for as long as the context lasts.

    This process must be on one of its nodes. Raises ``ClusterError`` where there is none, or one of another version.
    """
    if "://" in address:
        raise ClusterError(
            f"--address {address}: expected HOST:PORT of the head, or auto, on a node of the cluster; from elsewhere "
            "submit the study as a job"
        )
    check_reachable(address)
    set_ray_defaults()
    import ray
    from ray._private import worker

    # Despite ``log_to_driver`` Ray prints pages of raylets' state to stdout when a node dies.
    vars(worker)["print_to_stdstream"] = _ignore_print
    # As for an embedded Ray: on the main thread it would take SIGTERM for itself.
    with ThreadPoolExecutor(1, thread_name_prefix="ray") as thread:
        try:
            thread.submit(partial(ray.init, address, log_to_driver=False, logging_level=logging.ERROR)).result()
        except (ConnectionError, RuntimeError, ValueError) as error:
            raise ClusterError(f"--address {address}: {error}") from error
        try:
            yield
        finally:
            ray.shutdown()


def list_machines() -> Machines:
    """The nodes of the Ray that is connected, and those that it could start."""
    import ray

    alive = [node for node in ray.nodes() if node["Alive"]]
    nodes = tuple(
        Node(node["NodeManagerAddress"], dict(node["Resources"]), name_kind(node["Labels"], node["Resources"]))
        for node in alive
    )
    return add_startable(nodes, Counter(node["Labels"].get(_KIND, "") for node in alive), _read_cluster_file())


def list_machines_at(address: str) -> Machines:
    """The machines that the cluster at ``address`` now has and could start. Raises ``ClusterError``."""
    with connect_ray(address):
        return list_machines()


def name_kind(labels: Mapping[str, str], resources: Mapping[str, float]) -> str:
    """A node's type: its label ``ray.io/node-group``, else ``head`` or ``worker``.

    The autoscaler sets that label from the cluster's file, and anyone can with `ray start --labels`. On machines that
    it does not start itself, it gives all of them the same one, the head too, which says nothing.
    """
    named = labels.get(_KIND)
    if named and named != _ANY_MACHINE:
        return named
    return "head" if _HEAD in resources else "worker"


def add_startable(nodes: tuple[Node, ...], active: Mapping[str, int], config: dict[str, Any] | None) -> Machines:
    """``nodes``, and those that a cluster may start by its file ``config``; ``active`` are up already, by kind.

    A file that is not this cluster's counts for nothing: its kind of head would be among them.
    """
    head = config.get("head_node_type") if config else None
    if config is None or head not in active:
        return Machines(nodes)
    kinds = config["available_node_types"]
    workers = sum(active.values()) - 1  # all but the head
    return Machines(
        nodes,
        tuple(
            # A kind that declares no resources finds them out when it is started.
            Startable(name, {key: float(has) for key, has in (kind.get("resources") or {}).items()} or None, left)
            for name, kind in kinds.items()
            if (left := kind.get("max_workers", 0) - active.get(name, 0) + (name == head)) > 0
        ),
        room=max(0, config.get("max_workers", 0) - workers),
    )


@dataclass(frozen=True)
class NodeTime:
    """Nodes that are ``up`` now, by type, and node-``seconds`` up to now."""

    up: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


class NodeClock:
    """Adds up node-seconds. Looks and questions may come from two threads."""

    def __init__(self, up: Mapping[str, int], now: float) -> None:
        """``up`` holds the number of nodes by type, ``now`` seconds of a clock that is never set."""
        self._lock = threading.Lock()
        self._up, self._last = dict(up), now
        self._seconds: dict[str, float] = defaultdict(float)

    def look(self, up: Mapping[str, int], now: float) -> None:
        """From ``now`` on these nodes are up."""
        with self._lock:
            self._pass(now)
            self._up = dict(up)

    def read(self, now: float) -> NodeTime:
        """The nodes and totals at ``now``."""
        with self._lock:
            self._pass(now)
            return NodeTime(dict(self._up), dict(self._seconds))

    def _pass(self, now: float) -> None:
        for kind, count in self._up.items():
            self._seconds[kind] += count * max(0.0, now - self._last)
        self._last = max(self._last, now)  # two threads may come in another order than they looked at it


class Watched(threading.Thread):
    """The cluster's machines, looked at every few seconds on a thread of its own: Ray's loop does not wait for that."""

    def __init__(self) -> None:
        super().__init__(name="nodes", daemon=True)
        self._seen = list_machines()
        self._time = NodeClock(self._seen.up, time.monotonic())
        self._over = threading.Event()

    def __enter__(self) -> Watched:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self.join()

    def machines(self) -> Machines:
        """The machines when a look last succeeded."""
        return self._seen

    def node_time(self) -> NodeTime:
        """For how long nodes were up since this was made."""
        return self._time.read(time.monotonic())

    def run(self) -> None:
        """The thread: look until the context is left."""
        while not self._over.wait(LOOK):
            try:
                self._seen = list_machines()
            except Exception as error:  # a head that is busy; one that is gone ends Ray's loop by itself
                logging.getLogger(__name__).warning("the nodes could not be looked at: %s", error)
                continue
            self._time.look(self._seen.up, time.monotonic())


def check_reachable(address: str) -> None:
    """Raise ``ClusterError`` where no one listens: Ray itself would try for minutes.

    ``auto`` is the address in the environment, as in a job, or else left to Ray.
    """
    if address == "auto":
        address = os.environ.get("RAY_ADDRESS") or "auto"
    if address == "auto":
        return
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        raise ClusterError(f"--address {address}: expected HOST:PORT of the head, or auto")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=_PATIENCE).close()
    except (OSError, OverflowError) as error:
        raise ClusterError(f"--address {address}: nothing answers there ({error}); is Ray up on its head?") from error


def _ignore_print(data: Any, ignore_prefix: bool) -> None:
    """Replaces Ray's printing: the study itself says what a lost node means for it."""


def _read_cluster_file() -> dict[str, Any] | None:
    """The cluster's file, as `ray up` completed it; ``None`` where there is none."""
    try:
        config = yaml.safe_load(_CLUSTER_FILE.expanduser().read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError):
        return None
    return config if isinstance(config, dict) and config.get("available_node_types") else None
