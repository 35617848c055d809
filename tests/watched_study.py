"""A simulated study under way, and the snapshot that a watcher of it sees."""

from __future__ import annotations

import time

from simulated_study import STUDY, SimulatedStudy

from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.views.live import StudySnapshot
from auxtune.orchestrator.views.monitor import StudyMonitor

FOUR = STUDY.replace("{seeds: 1}", "{seeds: 4}")
RANDOM = "{name: random_subset, trials: 8}"


def begun(study: SimulatedStudy, ended: int, at_once: int = 2) -> Agenda:
    """A session after ``ended`` trials have ended, with up to ``at_once`` running."""
    agenda, running = study.session(), []
    while ended:
        trial = agenda.next(lambda proposal: len(running) < at_once)
        if trial is not None:
            running.append(trial)
            continue
        if not running:
            break
        first = running.pop(0)
        study.report(first)
        agenda.end_attempt(first.id, len(first.attempts))
        ended -= 1
    agenda.flush()
    return agenda


def snapshot_of(study: SimulatedStudy, state: str = "running") -> StudySnapshot:
    monitor = StudyMonitor(study.study, study.folder)
    monitor.observe(read_events(study.folder / "ledger"))
    snapshot = monitor.snapshot(state, time.time())
    assert snapshot is not None
    return snapshot
