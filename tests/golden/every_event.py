"""A ledger with every kind of event: that of a real study, to which is added what happens rarely.

The worker of its first trial dies once, a confirm trial fails and is tried again, and nodes of a cluster are counted.
What has come since is in a second one, so that the first keeps its events as earlier versions wrote them: evidence that
was measured again, and an attempt that could not write.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

from golden_files import read_study, rebuild_answer

from auxtune.orchestrator.answer.answer import write_answer
from auxtune.orchestrator.planning.budget import NOTHING
from auxtune.orchestrator.record.events import (
    Closed,
    Event,
    Judged,
    Lost,
    Nodes,
    Opened,
    Proposed,
    Remeasured,
    Retried,
    Started,
    Told,
)
from auxtune.orchestrator.record.ledger import Ledger, read_events
from auxtune.orchestrator.record.results import EvidenceStore
from auxtune.selectors.protocol import Outcome

FROM, NAME = "random_subset", "every_event"
MEASURING, AGAIN = "gradts_threshold", "remeasured"


def write_every_event(storage: Path) -> None:
    """Write the study's folder, beside the one that it is made of."""
    events, folder = _write_study(storage, FROM, NAME, eventful), storage / NAME
    [first] = next(event.ids for event in events if isinstance(event, Retried))
    last = max(event.id for event in events if isinstance(event, Proposed))
    (folder / "trials" / f"{first:04d}").rename(folder / "trials" / f"{last:04d}")
    (folder / "trials" / "0000" / "1").rename(folder / "trials" / "0000" / "2")
    write_answer(folder, rebuild_answer(read_study(NAME)))


def write_remeasured(storage: Path) -> None:
    """Likewise of the study that measures: the second trial could not write, what the first measured was lost."""
    store = EvidenceStore(storage)
    _write_study(storage, MEASURING, AGAIN, lambda events, text: measured_again(events, text, store))
    write_answer(storage / AGAIN, rebuild_answer(read_study(AGAIN)))


def _write_study(
    storage: Path, source: str, name: str, change: Callable[[list[Event], str], Iterator[Event]]
) -> list[Event]:
    """A study's folder with other events, which are returned."""
    folder = storage / name
    text = (storage / source / "study.yaml").read_text().replace(f"study: {source}", f"study: {name}")
    opened, *events = change(read_events(storage / source / "ledger"), text)
    assert isinstance(opened, Opened)
    shutil.copytree(storage / source / "trials", folder / "trials")
    (folder / "study.yaml").write_text(text)
    ledger = Ledger(folder / "ledger", opened)
    for event in events:
        ledger.append(event)
        if isinstance(event, (Started, Closed)):
            ledger.flush()
    return events


def measured_again(events: list[Event], text: str, store: EvidenceStore) -> Iterator[Event]:
    """The events of a study that measures, whose evidence was lost once, and whose disk was full once."""
    for event in events:
        match event:
            case Opened():
                yield replace(event, study=text, fingerprint={**event.fingerprint, "study": AGAIN})
            case Started(id=1):
                yield event
                full = "/tmp/golden cannot be written (No space left on device); make room there"
                yield Lost(id=1, attempt=1, time=event.time, cost=NOTHING, cause="storage", message=full)
                yield replace(event, attempt=2)
            case Told():
                entries = {key: store.describe(key) for key in event.outcome.evidence.values()}
                arrays = {key: str(entry.sha256) for key, entry in entries.items() if entry is not None}
                yield replace(event, attempt=1 + (event.id == 1), arrays=arrays)
                if event.id == 1:
                    yield Started(id=0, attempt=2, time=event.time, session=_session(events), cpus=1, gpus=0)
                    [first] = [each for each in events if isinstance(each, Told) and each.id == 0]
                    entries = {key: store.describe(key) for key in first.outcome.evidence.values()}
                    arrays = {key: str(entry.sha256) for key, entry in entries.items() if entry is not None}
                    yield Remeasured(id=0, attempt=2, time=event.time, cost=first.cost, arrays=arrays)
            case _:
                yield event


def eventful(events: list[Event], text: str) -> Iterator[Event]:
    """The events of a study that went well, and between them what might have happened."""
    redone = next(event for event in events if isinstance(event, Proposed) and event.phase == "confirm")
    new = 1 + max(event.id for event in events if isinstance(event, Proposed))
    for event in events:
        match event:
            case Opened():
                yield replace(event, study=text, fingerprint={**event.fingerprint, "study": NAME})
                yield Nodes(time=event.time, up={"head": 1, "gpu_spot": 2}, seconds={"head": 0.0, "gpu_spot": 0.0})
            case Started(id=0):
                yield event
                yield Judged(id=0, attempt=1, step=4, score=0.5, stop=False)
            case Told(id=0):
                lost = replace(event.cost, wall_seconds=event.cost.wall_seconds / 2)
                yield Lost(id=0, attempt=1, time=event.time, cost=lost)
                yield Started(id=0, attempt=2, time=event.time, session=_session(events), resume_from=1, cpus=1, gpus=0)
                yield replace(event, attempt=2)
            case Told(id=redone.id):
                failed = Outcome(None, why="error")
                yield replace(event, outcome=failed, test={}, message="OSError: no space left on device")
                yield Retried(ids=(event.id,), time=event.time)
                yield replace(redone, id=new, time=event.time)
                yield Started(id=new, attempt=1, time=event.time, session=_session(events), cpus=1, gpus=0)
                yield replace(event, id=new)
            case Closed():
                seconds = event.time - events[0].time if isinstance(events[0], Opened) else 0.0
                yield Nodes(time=event.time, up={"head": 1}, seconds={"head": seconds, "gpu_spot": 2 * seconds})
                yield event
            case _:
                yield event


def _session(events: list[Event]) -> str:
    return next(event.session for event in events if isinstance(event, Opened))
