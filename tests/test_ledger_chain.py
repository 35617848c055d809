"""The ledger's chain and its head: a cut tail, a gap and an edited segment are seen, and a crash is none of these."""

from __future__ import annotations

import json
import os
import signal
import threading
from collections.abc import Iterator
from multiprocessing import get_context
from pathlib import Path

import pytest
from object_store import BUCKET, S3Server, s3_server
from written_study import opened

from auxtune.orchestrator.errors import LedgerDamaged, LedgerError
from auxtune.orchestrator.record import ledger as module
from auxtune.orchestrator.record.events import Tracked
from auxtune.orchestrator.record.ledger import Ledger, LedgerReader, Segments, read_events
from auxtune.orchestrator.storage.stores import parse_path


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["local", "s3"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    """Where a ledger lies: on this machine, and in an object store."""
    if request.param == "local":
        return tmp_path / "ledger"
    request.getfixturevalue("server")
    return parse_path(f"s3://{BUCKET}/{tmp_path.name}/ledger")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Where a ledger lies on this machine."""
    return tmp_path / "ledger"


def written(folder: Path, length: int = 6) -> Ledger:
    """A ledger of this many segments."""
    ledger = Ledger(folder, opened("one"))
    for number in range(1, length):
        record(ledger, number)
    return ledger


def record(ledger: Ledger, number: int) -> None:
    ledger.append(Tracked(id=number, run_id=f"r{number}"))
    ledger.flush()


def head_of(folder: Path) -> dict[str, object]:
    return dict(json.loads((folder / "head.json").read_text()))


def segment(folder: Path, number: int) -> Path:
    return folder / f"{number:08d}.json"


def refused(folder: Path, message: str) -> None:
    """Reading and opening are refused with the file and the remedy, and change nothing."""
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    for attempt in (lambda: read_events(folder), lambda: Ledger(folder, opened("two"))):
        with pytest.raises(LedgerDamaged, match=message) as caught:
            attempt()
        assert str(folder) in str(caught.value) and "from a copy. Nothing was changed." in str(caught.value)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_each_segment_names_the_one_before_and_the_head_the_last(either: Path) -> None:
    ledger = written(either, 3)
    parts = [json.loads(segment(either, number).read_text()) for number in (1, 2, 3)]
    assert [part["previous"] for part in parts] == [None, parts[0]["sha256"], parts[1]["sha256"]]
    assert head_of(either) == {"number": 3, "sha256": parts[2]["sha256"]}
    ledger.close("done")
    assert head_of(either)["number"] == 4 and read_events(either) == ledger.events
    second = Ledger(either, opened("two"))
    assert (
        json.loads(segment(either, 5).read_text())["previous"] == json.loads(segment(either, 4).read_text())["sha256"]
    )
    assert head_of(either)["number"] == 5 and read_events(either) == second.events


@pytest.mark.parametrize("cut", [1, 4, 6])
def test_a_cut_tail_is_seen(either: Path, cut: int) -> None:
    written(either)
    for number in range(7 - cut, 7):
        segment(either, number).unlink()
    refused(either, rf"ledger: ends with segment {6 - cut}, but head\.json names segment 6")


def test_a_gap_is_seen(folder: Path) -> None:
    written(folder)
    segment(folder, 5).unlink()
    refused(folder, r"00000005\.json: missing")


def rewritten(folder: Path, number: int) -> None:
    """Edit a segment and put its checksum right, as somebody who knows the format would."""
    document = json.loads(segment(folder, number).read_text())
    document["events"][0]["run_id"] = "another"
    document.pop("sha256")
    document["sha256"] = module._digest(document)
    segment(folder, number).write_text(json.dumps(document) + "\n")


def test_an_edited_segment_is_seen_though_its_own_checksum_is_right(folder: Path) -> None:
    written(folder)
    rewritten(folder, 3)
    refused(folder, r"00000004\.json: segment 4 does not continue the one before it")


def test_an_edited_last_segment_is_seen_by_the_head(folder: Path) -> None:
    written(folder)
    rewritten(folder, 6)
    refused(folder, r"00000006\.json: segment 6 is not the one that head\.json names")


def test_the_chain_holds_over_merged_ranges(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "RANGE", 4)
    written(folder, 10)
    merged = folder / "00000001-00000004.jsonl"
    assert len(read_events(folder)) == 10
    other = folder.with_name("other")
    written(other, 10)
    rewritten(other, 4)
    lines = [*merged.read_bytes().splitlines(keepends=True)[:3], segment(other, 4).read_bytes()]
    merged.write_bytes(b"".join(lines))
    refused(folder, r"segment 5 does not continue the one before it")


@pytest.mark.parametrize("content", ["{", "[]", "null", '{"number": 0, "sha256": ""}', '{"number": 6}', "\0\0\0"])
def test_a_damaged_head_is_named(folder: Path, content: str) -> None:
    written(folder)
    (folder / "head.json").write_text(content)
    refused(folder, r"head\.json: damaged")


def test_a_missing_head_is_named_once_there_must_be_one(folder: Path) -> None:
    written(folder, 2)
    (folder / "head.json").unlink()
    refused(folder, r"head\.json: missing")
    segment(folder, 2).unlink()
    assert len(read_events(folder)) == 1, "a crash may have come between the first segment and its head"
    ledger = Ledger(folder, opened("two"))
    assert head_of(folder)["number"] == 2 and read_events(folder) == ledger.events


def test_the_head_names_the_first_segment_before_there_is_a_second(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(folder, 1)
    (folder / "head.json").unlink()

    def fail(*_: object) -> bool:
        raise OSError("no second segment")

    monkeypatch.setattr(Segments, "create", fail)
    with pytest.raises(LedgerError, match="no second segment"):
        Ledger(folder, opened("two"))
    assert head_of(folder)["number"] == 1


def test_a_head_that_a_power_cut_left_empty_is_no_damage(folder: Path) -> None:
    written(folder)
    (folder / "head.json").write_text("")
    assert len(read_events(folder)) == 6
    Ledger(folder, opened("two"))
    assert head_of(folder)["number"] == 7


def test_a_head_that_lags_is_no_damage_if_it_names_a_segment_that_is_there(folder: Path) -> None:
    ledger = written(folder)
    older = (folder / "head.json").read_text()
    for number in (6, 7):
        record(ledger, number)
        (folder / "head.json").write_text(older)
        assert read_events(folder) == ledger.events
    rewritten(folder, 6)
    refused(folder, r"00000007\.json: segment 7 does not continue")


def _write_until_killed(folder: Path) -> None:
    ledger = written(folder, 3)
    Segments.replace_head = lambda *_: os.kill(os.getpid(), signal.SIGKILL)  # type: ignore[assignment, method-assign]
    record(ledger, 3)


def test_a_writer_killed_between_segment_and_head_loses_nothing(tmp_path: Path) -> None:
    process = get_context("fork").Process(target=_write_until_killed, args=(tmp_path,))
    process.start()
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert head_of(tmp_path)["number"] == 3 and segment(tmp_path, 4).is_file()
    assert [event.id for event in read_events(tmp_path) if isinstance(event, Tracked)] == [1, 2, 3]
    ledger = Ledger(tmp_path, opened("two"))
    assert head_of(tmp_path)["number"] == 5 and read_events(tmp_path) == ledger.events


def test_a_disk_that_fills_up_at_the_head_is_reported_and_the_event_is_durable(
    either: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = written(either, 2)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Segments, "replace_head", full)
    ledger.append(Tracked(id=2, run_id="r2"))
    for _ in range(2):  # it is not forgotten, though no event waits any more
        with pytest.raises(LedgerError, match=r"cannot be written \(No space left"):
            ledger.flush()
    assert read_events(either) == ledger.events and head_of(either)["number"] == 2
    monkeypatch.undo()
    ledger.flush()
    assert head_of(either)["number"] == 3 and read_events(either) == ledger.events


def test_a_refused_head_leaves_the_old_one_and_no_draft(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ledger = written(tmp_path, 2)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(LedgerError, match="No space left"):
        record(ledger, 2)
    assert sorted(path.name for path in tmp_path.iterdir()) == [*(f"{n:08d}.json" for n in (1, 2, 3)), "head.json"]
    assert head_of(tmp_path)["number"] == 2


def test_a_ledger_that_grows_while_it_is_read_is_not_taken_for_a_damaged_one(either: Path) -> None:
    ended = threading.Event()
    ledger = Ledger(either, opened("one"))

    def write() -> None:
        for number in range(25):
            record(ledger, number)
        ended.set()

    writer = threading.Thread(target=write)
    writer.start()
    reader = LedgerReader(either)
    events = reader.read_new()
    while not ended.is_set():
        events += reader.read_new()
        assert read_events(either)[: len(events)] == events
    writer.join()
    assert events + reader.read_new() == ledger.events


def test_a_head_that_appears_after_it_was_looked_for_is_not_missing(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As a reader meets it that looks for the head just before a study's first one."""
    written(folder, 2)
    answers = iter([None])
    read = Segments.read_head
    monkeypatch.setattr(Segments, "read_head", lambda self: next(answers, read(self)))
    assert len(read_events(folder)) == 2
