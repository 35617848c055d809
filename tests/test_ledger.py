"""The ledger: durable, fenced, and never quietly wrong."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import pytest

from auxtune.orchestrator.errors import LedgerDamaged, LedgerError, Locked
from auxtune.orchestrator.record import ledger as module
from auxtune.orchestrator.record.events import Closed, Event, Opened, Proposed, Tracked, read_event, write_event
from auxtune.orchestrator.record.ledger import Announcer, Ledger, read_events
from auxtune.selectors.protocol import Inner, Problem, Proposal, TaskInfo
from auxtune.trials import durable

PROBLEM = Problem((TaskInfo("a", "classification", 100), TaskInfo("b", "token", 50)), primary="a")


def opened(session: str) -> Opened:
    return Opened(
        session=session,
        time=1.0,
        study="study: x\n",
        overrides=(),
        study_folder="/s",
        working_folder="/w",
        problem=PROBLEM,
        fingerprint={},
        versions={},
    )


def proposed(number: int) -> Proposed:
    inner = Inner("beta_bandit", {"gamma": 0.3}, seed=3, rounds=5, round_steps=2)
    proposal = Proposal(("a", "b"), {"a": 2 / 3, "b": 1 / 3}, seed=number, inner=inner, notes={"r": [1, {"x": None}]})
    return Proposed(id=number, time=2.0, proposal=proposal, phase="search", after=number)


def test_what_was_flushed_is_read_back_equal_and_what_was_not_is_not_there(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, opened("one"))
    ledger.append(proposed(0))
    ledger.flush()
    ledger.append(proposed(1))
    assert read_events(tmp_path) == [opened("one"), proposed(0)]
    assert read_event(json.loads(json.dumps(write_event(proposed(0))))) == proposed(0)


def test_events_of_one_flush_are_one_file(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, opened("one"))
    for number in range(3):
        ledger.append(proposed(number))
    ledger.flush()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000001.json", "00000002.json", "head.json"]


def test_a_session_is_closed_once_also_if_an_interrupt_made_it_close_again(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, opened("one"))
    ledger.close("done")
    ledger.close("interrupted")
    assert [event.reason for event in read_events(tmp_path) if isinstance(event, Closed)] == ["done"]


def test_a_takeover_fences_the_former_writer(tmp_path: Path) -> None:
    old = Ledger(tmp_path, opened("old"))
    Ledger(tmp_path, opened("new"))
    old.append(proposed(0))
    with pytest.raises(Locked, match="new"):
        old.flush()
    assert read_events(tmp_path) == [opened("old"), opened("new")]


def test_what_is_durable_is_heard_once_and_what_a_takeover_made_void_never(tmp_path: Path) -> None:
    ledger, heard = Ledger(tmp_path, opened("old")), list[Event]()
    announcer = Announcer(ledger, heard.append)
    announcer.append(proposed(0))
    assert heard == []
    announcer.flush()
    announcer.flush()
    assert heard == [proposed(0)]
    Ledger(tmp_path, opened("new"))
    announcer.append(proposed(1))
    for _ in range(2):
        with pytest.raises(Locked):
            announcer.flush()
    assert heard == [proposed(0)]


def _open(folder: Path, session: str, results: multiprocessing.Queue) -> None:  # type: ignore[type-arg]
    try:
        Ledger(folder, opened(session))
        results.put("opened")
    except Locked:
        results.put("locked")


def test_of_processes_that_open_at_once_each_gets_a_number_of_its_own_or_is_refused(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    results = context.Queue()
    processes = [context.Process(target=_open, args=(tmp_path, f"s{i}", results)) for i in range(6)]
    for process in processes:
        process.start()
    answers = [results.get(timeout=60) for _ in processes]
    for process in processes:
        process.join()
    sessions = [event.session for event in read_events(tmp_path) if isinstance(event, Opened)]
    assert len(sessions) == len(set(sessions)) == answers.count("opened") >= 1


def test_a_write_that_succeeded_unheard_is_recognised(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path, opened("one"))
    ledger.append(proposed(0))

    def lose_the_reply(folder: Path) -> None:
        monkeypatch.undo()
        raise OSError("the reply was lost")

    monkeypatch.setattr(durable, "sync", lose_the_reply)
    with pytest.raises(LedgerError, match="lost"):
        ledger.flush()
    ledger.append(proposed(1))
    ledger.flush()
    assert read_events(tmp_path) == [opened("one"), proposed(0), proposed(1)]


def test_a_refused_write_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = Ledger(tmp_path, opened("one"))
    ledger.append(proposed(0))

    def full(descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(LedgerError, match="No space"):
        ledger.flush()
    assert read_events(tmp_path) == [opened("one")]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["00000001.json", "head.json"]
    monkeypatch.undo()
    ledger.flush()
    assert read_events(tmp_path) == [opened("one"), proposed(0)]


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda text: text[: len(text) // 2], "damaged"),
        (lambda text: text.replace('"after":0', '"after":7'), "checksum"),
        (lambda text: text.replace('"number":2', '"number":9'), "9 found where 2"),
        (lambda text: text.replace('"format":1', '"format":2'), "not known to this version"),
    ],
)
def test_damage_is_named_and_nothing_is_changed(tmp_path: Path, damage: object, message: str) -> None:
    ledger = Ledger(tmp_path, opened("one"))
    ledger.append(proposed(0))
    ledger.flush()
    path = tmp_path / "00000002.json"
    path.write_text(damage(path.read_text()))  # type: ignore[operator]
    before = path.read_bytes()
    with pytest.raises(LedgerDamaged, match=message) as caught:
        read_events(tmp_path)
    assert str(path) in str(caught.value)
    assert path.read_bytes() == before


def test_a_missing_segment_is_not_taken_for_the_end(tmp_path: Path) -> None:
    ledger = Ledger(tmp_path, opened("one"))
    for number in range(3):
        ledger.append(proposed(number))
        ledger.flush()
    (tmp_path / "00000003.json").unlink()
    with pytest.raises(LedgerDamaged, match=r"00000003\.json: missing"):
        read_events(tmp_path)


def test_merged_ranges_read_the_same_and_leave_the_fence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RANGE", 4)
    ledger = Ledger(tmp_path, opened("one"))
    for number in range(9):
        ledger.append(Tracked(id=number, run_id=f"r{number}"))
        ledger.flush()
    assert {path.name for path in tmp_path.glob("*.jsonl")} == {"00000001-00000004.jsonl", "00000005-00000008.jsonl"}
    assert len(list(tmp_path.glob("0*.json"))) == 10
    assert read_events(tmp_path) == ledger.events
    for number in range(1, 9):  # readers prefer the ranges
        (tmp_path / f"{number:08d}.json").unlink()
    assert read_events(tmp_path) == ledger.events
