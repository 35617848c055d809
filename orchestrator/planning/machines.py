"""The machines that trials run on: this one, or the nodes of a cluster and those that it could start."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class Node:
    """A machine, by its name and its resources in Ray's words: ``{"CPU": 8.0, "GPU": 1.0, "spot": 1.0}``.

    ``kind`` is what its price goes by.
    """

    name: str
    has: Mapping[str, float]
    kind: str = "worker"

    def __str__(self) -> str:
        return f"{self.name} with {self.has.get('CPU', 0.0):g} CPUs and {self.has.get('GPU', 0.0):g} GPUs"

    def fits(self, wanted: Mapping[str, float]) -> int:
        """How many trials that want as much fit on it. Those that share GPUs share whole ones: of 0.6, one on each."""
        counts = []
        for name, amount in wanted.items():
            there = self.has.get(name, 0.0)
            shared = name == "GPU" and amount < 1
            counts.append(int(there) * _count_fits(1.0, amount) if shared else _count_fits(there, amount))
        return min(counts)


@dataclass(frozen=True)
class Startable:
    """A kind of node of which the cluster would start up to ``most`` more; what it has may be ``None``, unknown."""

    name: str
    has: Mapping[str, float] | None
    most: int


@dataclass(frozen=True)
class Machines:
    """The ``nodes`` that are there, and those that may come: of all the kinds together at most ``room``.

    ``cluster`` is False for an embedded Ray on this machine.
    """

    nodes: tuple[Node, ...]
    startable: tuple[Startable, ...] = ()
    room: int = 0
    cluster: bool = True

    def fits_now(self, wanted: Mapping[str, float]) -> int:
        """How many trials that want as much fit on the nodes that are there."""
        return sum(node.fits(wanted) for node in self.nodes)

    def fits_after_scaling(self, wanted: Mapping[str, float]) -> int:
        """How many more would fit on nodes that could be started; at least one where that is unknown."""
        each = sorted((node.fits(wanted) for kind, node in self._kinds() for _ in range(kind.most)), reverse=True)
        return max(sum(each[: self.room]), int(self.unknown))

    def most(self, resource: str) -> Node | None:
        """The largest node, of those there and those that could come, by its amount of ``resource``."""
        nodes = [*self.nodes, *(node for _, node in self._kinds())]
        return max(nodes, key=lambda node: (node.has.get(resource, 0.0), node.has.get("CPU", 0.0)), default=None)

    @property
    def up(self) -> dict[str, int]:
        """How many nodes of each kind are there."""
        return dict(Counter(node.kind for node in self.nodes))

    @property
    def unknown(self) -> bool:
        """Whether a node of unknown resources may still be started."""
        return self.room > 0 and any(kind.has is None and kind.most > 0 for kind in self.startable)

    def _kinds(self) -> Iterator[tuple[Startable, Node]]:
        for kind in self.startable:
            if kind.has is not None and kind.most > 0 and self.room > 0:
                yield kind, Node(f"a node of the kind {kind.name}, which can be started,", kind.has)


def describe_this_machine() -> Machines:
    """The resources that an embedded Ray may hand out here: of CPUs, those that affinity and cgroup leave us."""
    import joblib
    import torch

    has = {"CPU": float(joblib.cpu_count()), "GPU": float(torch.cuda.device_count())}
    return Machines((Node("this machine", has),), cluster=False)


def _count_fits(there: float, each: float) -> int:
    """How often ``each`` fits: 0.2 goes five times into 1, though ``1 // 0.2`` is 4."""
    return int(round(there / each, 9))
