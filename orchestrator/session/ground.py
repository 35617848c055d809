"""Where a session's trials run: on this machine, by a Ray of its own, or on a cluster that is there already."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass

from auxtune.orchestrator.engine.loop import embedded_ray
from auxtune.orchestrator.planning.machines import Machines, this_machine
from auxtune.orchestrator.record.node_time import NodeTime
from auxtune.orchestrator.session.signals import StopSignals


@dataclass(frozen=True)
class Ground:
    """``machines`` tells what there is, whenever it is asked; within ``ray()`` a Ray on it is connected.

    ``node_time`` tells for how long nodes of a cluster have been up; off a cluster that is ``None``.
    """

    machines: Callable[[], Machines]
    ray: Callable[[], AbstractContextManager[None]]
    node_time: Callable[[], NodeTime | None] = lambda: None


@contextmanager
def on_this_machine() -> Iterator[Ground]:
    """This machine, all of it; Ray is started only when there is something to train."""
    machine = this_machine()
    yield Ground(lambda: machine, lambda: embedded_ray(machine))


@contextmanager
def on_cluster(address: str, signals: StopSignals) -> Iterator[Ground]:
    """The cluster at ``address``, connected from now on: only so its nodes are seen. Raises ``ClusterError``."""
    from auxtune.orchestrator.engine.cluster import Watched, connected_ray

    with connected_ray(address), Watched() as watched:
        signals.listen()  # Ray's core has taken SIGTERM for itself
        yield Ground(watched.machines, nullcontext, watched.node_time)
