"""How much of the machines one trial gets, and how many trials fit at the same time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from auxtune.orchestrator.errors import ResourceError
from auxtune.orchestrator.planning.machines import Machines
from auxtune.orchestrator.study_file.models import ResourceOptions
from auxtune.selectors.protocol import Proposal


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
