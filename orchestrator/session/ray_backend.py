"""Connects a session to Ray: the machines of its trials, how long nodes are up, and the run of the agenda on them."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxtune.orchestrator.engine.embedded_ray import EmbeddedRay
from auxtune.orchestrator.engine.loop import run_tuner
from auxtune.orchestrator.errors import ResourceError
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.slots import Machines, Slots, allot, describe_this_machine, resize_slots
from auxtune.orchestrator.planning.translate import count_whole_steps
from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.record.driver import StopSignals
from auxtune.orchestrator.record.events import Nodes, read_time, warn_of_jump
from auxtune.orchestrator.record.results import locate_attempt
from auxtune.orchestrator.session.prepare import Prepared
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import store_of
from auxtune.orchestrator.study_file.models import ResourceOptions
from auxtune.orchestrator.tracking.tracker import Tracker

if TYPE_CHECKING:
    from auxtune.orchestrator.engine.cluster import NodeTime
    from auxtune.orchestrator.engine.search import LoopWatch
    from auxtune.orchestrator.engine.trainable import Assignment
    from auxtune.orchestrator.planning.measure_plan import MeasurePlanner

LATEST = 15.0  # seconds of training, or of waiting for it, after which MLflow is told of it
SIGN = 60.0  # seconds after which node time is recorded though nothing changed


@dataclass(frozen=True)
class RayBackend:
    """A machine or a cluster, and a Ray on it."""

    machines: Callable[[], Machines]
    """The machines at the moment of the call."""
    ray: Callable[[], AbstractContextManager[None]]
    """A context within which Ray is connected."""
    begin: Callable[[ResourceOptions], None] = lambda options: None
    """Start what can be started before it is known what is trained, for trials of these resources; does not wait."""
    node_time: Callable[[], NodeTime | None] = lambda: None
    """For how long nodes of a cluster have been up; ``None`` off a cluster."""


@contextmanager
def local_ray() -> Iterator[RayBackend]:
    """This machine, all of it; Ray is started when it is asked for, or begun."""
    machine = describe_this_machine()
    ray = EmbeddedRay(machine)

    def begin(options: ResourceOptions) -> None:
        with suppress(ResourceError):  # said when the study is prepared
            # A processor is left to this process, which prepares the study; the other workers come with their trials.
            ray.begin(max(1, min(allot(options, machine).concurrent, int(machine.nodes[0].has["CPU"]) - 1)))

    try:
        yield RayBackend(lambda: machine, ray.running, begin)
    finally:
        ray.close()


@contextmanager
def cluster_ray(address: str, signals: StopSignals) -> Iterator[RayBackend]:
    """The cluster at ``address``, connected from now on: only so its nodes are seen. Raises ``ClusterError``."""
    from auxtune.orchestrator.engine.cluster import Watched, connect_ray

    with connect_ray(address), Watched() as watched:
        signals.listen()  # Ray's core has taken SIGTERM for itself
        yield RayBackend(watched.machines, nullcontext, node_time=watched.node_time)


class NodeTrail:
    """Records for how long nodes are up: when nodes came or went, once a minute, and when it is asked to.

    Running totals are recorded: a driver that is killed has recorded all but its last minute, and its successor's
    totals begin at 0.
    """

    def __init__(
        self,
        read: Callable[[], NodeTime | None],
        record: Callable[[Nodes], None],
        flush: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``read`` gives ``None`` off a cluster. Records on the way are made durable at once by ``flush``."""
        self._read, self._record, self._flush, self._clock = read, record, flush, clock
        self._said: tuple[float, Mapping[str, int]] | None = None

    def each_turn(self) -> None:
        """Record the totals where nodes came or went, or a minute has passed."""
        found = self._read()
        if found is None:
            return
        if self._said is None or found.up != self._said[1] or self._clock() - self._said[0] >= SIGN:
            self._note(found)
            self._flush()

    def end(self) -> None:
        """Record the final totals, to be made durable with the session's end."""
        if (found := self._read()) is not None:
            self._note(found)

    def _note(self, found: NodeTime) -> None:
        self._said = (self._clock(), found.up)
        self._record(Nodes(time=read_time(), up=found.up, seconds=found.seconds))


@dataclass(frozen=True)
class RaySearch:
    """Lets Ray work through the agenda of one session until it is empty or a signal comes."""

    prepared: Prepared
    agenda: Agenda
    planner: MeasurePlanner
    tracker: Tracker
    signals: StopSignals
    backend: RayBackend
    session: str

    def run(self) -> None:
        """Start or join Ray, and train. Raises what the agenda raised, and ``HangError``."""
        with self.signals.held(), self.backend.ray():
            self.signals.listen()
            # Imported here, because they import Ray, whose settings must be in the environment first.
            from auxtune.orchestrator.engine.search import HangWatch, LedgerSearcher, LoopWatch

            trail = NodeTrail(self.backend.node_time, self.agenda.record, self.agenda.flush)
            minutes = self.prepared.context.options.resources.trial_minutes
            watch = LoopWatch(lambda: self._each_turn(trail, watch))
            callbacks = [watch, *([HangWatch(minutes * 60, self._slots)] if minutes else [])]
            searcher = LedgerSearcher(self.agenda, self._assign, watch.error_of, self._slots)
            tasks, base = self.prepared.tasks, self.prepared.base
            try:
                with _open_scratch(self.agenda.folder) as scratch, suppress(KeyboardInterrupt):  # the second Ctrl-C
                    run_tuner(searcher, self._make_scheduler(), callbacks, tasks, base, scratch / self.session)
            finally:
                trail.end()

    def _each_turn(self, trail: NodeTrail, watch: LoopWatch) -> None:
        """Between two looks of Ray's loop: record MLflow's runs and nodes, and end the loop if a signal came.

        Where the system's clock was set, that is said.
        """
        # The mirror begins once a trial has: its imports would take processor time from those of the first worker.
        if watch.has_begun or watch.seconds > LATEST:
            self.tracker.begin()
        for event in self.tracker.made():
            self.agenda.record(event)
        warn_of_jump()
        self.agenda.resize(self._slots())
        trail.each_turn()
        self.signals.end_loop()

    def _slots(self) -> Slots:
        """The resources for trials at this moment."""
        return resize_slots(self.prepared.slots, self.prepared.context.options.resources, self.backend.machines())

    def _assign(self, trial: Trial) -> Assignment:
        """The worker's assignment for the last recorded attempt at ``trial``."""
        from auxtune.orchestrator.engine.trainable import Assignment

        context, attempt = self.prepared.context, trial.latest
        previous, given = attempt.resume_from, self.prepared.slots.of(trial.proposal)
        return Assignment(
            trial=trial.id,
            attempt=attempt.number,
            recipe=context.translator.recipe(trial.proposal, trial.phase),
            folder=locate_attempt(context.folder, trial.id, attempt.number),
            checkpoint=locate_attempt(context.folder, trial.id, previous) / "checkpoint" if previous else None,
            start=self.agenda.start_of(trial),
            judged=self.agenda.may_stop(trial),
            cpus=given.cpus,
            gpus=given.gpus,
            wanted=given.wanted,
            proposal=trial.proposal,
            problem=context.problem,
            study=context.folder,
            measure=self.planner.plan(trial.proposal) if trial.proposal.measure else None,
        )

    def _make_scheduler(self) -> Any:
        """Ray's scheduler; it stops trials early if the study asks for it."""
        from auxtune.orchestrator.engine.search import EarlyStopping, OwnActors

        training = self.prepared.context.options.training
        if training.early_stopping is None:
            return OwnActors()
        steps = count_whole_steps(training, self.prepared.context.problem)
        grace = min(training.evaluate_every, steps)
        return EarlyStopping(grace, steps, self.agenda.record, self.agenda.accounts.judged)


def _open_scratch(folder: StoredPath) -> AbstractContextManager[Path]:
    """A folder of this machine for Tune's own files, which are never read: the study's, if it is on this machine."""
    return store_of(folder).open_working_folder(folder / "tune", "auxtune-tune-")
