"""How much of the machines one trial gets, and how many trials fit at the same time.

The machines are this one, or the nodes of a cluster and those that it could start.
"""

from __future__ import annotations

import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace

from auxtune.orchestrator.errors import ResourceError
from auxtune.orchestrator.study_file.models import ResourceOptions
from auxtune.selectors.protocol import Proposal

# Of NVIDIA, its small boards, AMD, and either of them below Windows.
_GPU_DEVICES = ("/dev/nvidiactl", "/dev/nvhost-ctrl-gpu", "/dev/nvgpu", "/dev/kfd", "/dev/dxg")


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

    has = {"CPU": float(joblib.cpu_count()), "GPU": float(_count_gpus())}
    return Machines((Node("this machine", has),), cluster=False)


def _count_gpus() -> int:
    """The GPUs that torch can use. It is not asked, and so not imported, where Linux shows no device of a GPU."""
    if sys.platform.startswith("linux") and not any(map(os.path.exists, _GPU_DEVICES)):
        return 0
    import torch

    return torch.cuda.device_count()


@dataclass(frozen=True)
class Slots:
    """The resources of one trial, and the most trials at a time.

    ``concurrent`` fit on the nodes that are there, ``after_scaling`` more on those that a cluster would start for them.
    ``probes`` is what a trial that measures gets, where that is other than what the rest get.
    """

    cpus: float
    gpus: float
    concurrent: int
    after_scaling: int = 0
    custom: Mapping[str, float] = field(default_factory=dict)
    probes: Slots | None = None

    @property
    def wanted(self) -> dict[str, float]:
        """The resources of one trial, in Ray's words."""
        wanted = {"CPU": self.cpus, "GPU": self.gpus, **self.custom}
        return {name: amount for name, amount in wanted.items() if amount}

    @property
    def at_least_one(self) -> Slots:
        """For estimates: while no node is up, one trial at a time is assumed."""
        return replace(self, concurrent=max(1, self.concurrent))

    def of(self, proposal: Proposal) -> Slots:
        """The slots of trials like ``proposal``'s."""
        return self.probes if self.probes is not None and proposal.measure else self

    def share(self, proposal: Proposal) -> float:
        """The part of all resources, startable ones included, that a trial of ``proposal`` takes."""
        slots = self.of(proposal)
        return 1 / max(1, slots.concurrent + slots.after_scaling)


def allot(options: ResourceOptions, machines: Machines) -> Slots:
    """Divide ``machines`` among trials. Raises ``ResourceError`` where not even one trial fits, nor ever will."""
    gpus = _resolve_auto_gpus(machines) if options.gpus == "auto" else float(options.gpus)
    # An embedded Ray knows no kinds of nodes: the same file must run on a laptop.
    slots = Slots(options.cpus, gpus, 0, custom=options.custom if machines.cluster else {})
    if options.probe_gpus is not None and options.probe_gpus != gpus:
        slots = replace(slots, probes=replace(slots, gpus=float(options.probe_gpus)))
    for wanting in filter(None, (slots, slots.probes)):
        if not machines.fits_now(wanting.wanted) and not machines.fits_after_scaling(wanting.wanted):
            raise ResourceError(_explain_refusal(wanting.wanted, machines))
    return resize_slots(slots, options, machines).at_least_one


def resize_slots(slots: Slots, options: ResourceOptions, machines: Machines) -> Slots:
    """``slots`` on ``machines`` as they are now: nodes have come or gone, each trial gets what it got.

    ``concurrent`` is 0 where none fits at the moment.
    """
    most = float("inf") if options.concurrent == "auto" else options.concurrent
    now = int(min(machines.fits_now(slots.wanted), most))
    after_scaling = int(min(machines.fits_after_scaling(slots.wanted), most - now))
    probes = None if slots.probes is None else resize_slots(slots.probes, options, machines)
    return replace(slots, concurrent=now, after_scaling=after_scaling, probes=probes)


def _resolve_auto_gpus(machines: Machines) -> float:
    """The value of ``gpus: auto``. Raises ``ResourceError`` where it depends on nodes that are not known yet."""
    largest = machines.most("GPU")
    if largest is not None and largest.has.get("GPU", 0.0) >= 1:
        return 1.0
    if machines.unknown:
        raise ResourceError(
            "resources.gpus: auto takes a GPU where there is one, and nodes of the cluster have not joined yet; wait "
            "until `ray status` shows them, or give the number"
        )
    return 0.0


def _explain_refusal(wanted: Mapping[str, float], machines: Machines) -> str:
    """Why no trial fits: the resource that is lacking, and the node that has the most of it."""
    keys = {"CPU": "cpus", "GPU": "gpus"}
    for name, amount in wanted.items():
        largest = machines.most(name)
        if largest is None:
            return "resources: the cluster has no nodes, and starts none"
        if not largest.fits({name: amount}):
            has = largest if name in keys else f"{largest}, with {largest.has.get(name, 0.0):g} {name}"
            hint = "; `gpus: auto` takes one where there is one and none elsewhere" if name == "GPU" else ""
            key = keys.get(name, f"custom.{name}")
            return f"resources.{key}: {amount:g} per trial asked for, more than there is; the largest is {has}{hint}"
    words = ", ".join(f"{amount:g} {name}" for name, amount in wanted.items())
    return f"resources: no node has all that a trial asks for at once ({words}); the largest is {machines.most('CPU')}"


def _count_fits(there: float, each: float) -> int:
    """How often ``each`` fits: 0.2 goes five times into 1, though ``1 // 0.2`` is 4."""
    return int(round(there / each, 9))
