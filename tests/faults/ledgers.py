"""Faults of a study's own files: its ledger damaged at random, by a disk or by hand, and two that write to it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import numpy as np
from click.testing import CliRunner
from faults.rows import Census, Count, Fault, Ground
from test_ledger_chain import record, rewritten
from written_study import opened

from auxtune.orchestrator.cli import main
from auxtune.orchestrator.record.events import Event, Tracked
from auxtune.orchestrator.record.ledger import Ledger, read_events
from auxtune.orchestrator.record.ledger import _digest as digest_segment
from auxtune.trials.durable import _name_draft as name_draft

SEGMENTS = 8
Damage = Callable[[Path, np.random.Generator], None]


def damage_ledger(ground: Ground, times: int) -> Count:
    """Each kind of damage at random places of a ledger: reading it must be refused, by name, and change nothing."""
    total = Count()
    ground.home.mkdir(parents=True, exist_ok=True)
    study = ground.home / "written"
    ledger = Ledger(study / "ledger", opened("one"))
    for number in range(1, SEGMENTS):
        record(ledger, number)
    kinds = list(DAMAGES.items())
    for number in range(times):
        name, damage = kinds[number % len(kinds)]
        copy = ground.home / f"copy{number}"
        shutil.copytree(study, copy)
        damage(copy / "ledger", ground.rng)
        before = {file.name: file.read_bytes() for file in (copy / "ledger").iterdir()}
        said = CliRunner().invoke(main, ["status", str(copy)])
        total.require(said.exit_code == 2, f"{name}: exit {said.exit_code}: {said.output[-200:]}")
        total.require(str(copy / "ledger") in said.output.replace("\n", ""), f"{name}: not named: {said.output[-200:]}")
        total.require(not isinstance(said.exception, Exception), f"{name}: {said.exception!r}")
        after = {file.name: file.read_bytes() for file in (copy / "ledger").iterdir()}
        total.require(before == after, f"{name}: the ledger was changed")
        total.end("refused by name, nothing changed")
        shutil.rmtree(copy)
    return total


def cut_last_write(ground: Ground, times: int) -> Count:
    """A crash while the next segment is written leaves a draft: all before it is read, and the next session goes on."""
    total = Count()
    ground.home.mkdir(parents=True, exist_ok=True)
    for number in range(times):
        folder = ground.home / f"cut{number}" / "ledger"
        ledger = Ledger(folder, opened("one"))
        for step in range(1, SEGMENTS):
            record(ledger, step)
        known: list[Event] = read_events(folder)
        whole = (folder / f"{SEGMENTS:08d}.json").read_bytes()
        draft = name_draft(folder / f"{SEGMENTS + 1:08d}.json")
        draft.write_bytes(whole[: int(ground.rng.integers(len(whole)))])
        total.lost += len(known) - len(read_events(folder))
        ledger = Ledger(folder, opened("two"))
        ledger.append(Tracked(id=9, run_id="later"))
        ledger.flush()
        total.require(len(read_events(folder)) == len(known) + 2, "the next session did not go on")
        total.end("all before is read, the next session goes on")
    return total


def start_second_writer(ground: Ground, times: int) -> Count:
    """A second driver is refused, and goes on where it takes over by force: then the first one is fenced off."""
    total = Count()
    for _ in range(times):
        run = ground.make_study()
        census = Census(run)
        process = run.start()
        run.wait_for(run.trains, process)
        os.kill(process.pid, signal.SIGSTOP)
        run.finish(code=4)
        (run.folder / "heartbeat.json").unlink()
        second = run.start()
        run.wait_for(lambda: len(run.accounts.sessions) == 2, second)  # noqa: B023  # called before the next round
        census.note()
        os.kill(process.pid, signal.SIGCONT)
        out, err = process.communicate(timeout=120)
        total.require_exit(process, out + err, 4)
        out, err = second.communicate(timeout=300)
        total.require_exit(second, out + err, 0)
        census.close(total, ground.whole)
        total.end("refused with 4; after a takeover the former is fenced off with 4")
    return total


def _choose(folder: Path, rng: np.random.Generator) -> Path:
    """A segment of the ledger."""
    return folder / f"{int(rng.integers(1, SEGMENTS + 1)):08d}.json"


def _tear(folder: Path, rng: np.random.Generator) -> None:
    file = _choose(folder, rng)
    file.write_bytes(file.read_bytes()[: int(rng.integers(1, len(file.read_bytes()) - 1))])


def _empty(folder: Path, rng: np.random.Generator) -> None:
    _choose(folder, rng).write_bytes(b"")


def _flip(folder: Path, rng: np.random.Generator) -> None:
    file = _choose(folder, rng)
    content = bytearray(file.read_bytes())
    content[int(rng.integers(len(content) - 1))] ^= 1 << int(rng.integers(8))  # but for the last line feed
    file.write_bytes(content)


def _remove(folder: Path, rng: np.random.Generator) -> None:
    _choose(folder, rng).unlink()


def _cut(folder: Path, rng: np.random.Generator) -> None:
    for number in range(int(rng.integers(2, SEGMENTS + 1)), SEGMENTS + 1):
        (folder / f"{number:08d}.json").unlink()


def _edit(folder: Path, rng: np.random.Generator) -> None:
    rewritten(folder, int(rng.integers(2, SEGMENTS + 1)))


def _raise_version(folder: Path, rng: np.random.Generator) -> None:
    file = _choose(folder, rng)
    document = {**json.loads(file.read_text()), "format": 99}
    document.pop("sha256")
    file.write_text(json.dumps({**document, "sha256": digest_segment(document)}) + "\n")


def _lose_head(folder: Path, rng: np.random.Generator) -> None:
    (folder / "head.json").unlink()


DAMAGES: dict[str, Damage] = {
    "torn": _tear,
    "emptied": _empty,
    "a bit flipped": _flip,
    "a gap": _remove,
    "the tail cut": _cut,
    "edited, its checksum put right": _edit,
    "another version": _raise_version,
    "the head lost": _lose_head,
}
FAULTS = (
    Fault(
        "ledger",
        f"a ledger {', '.join(DAMAGES)}, at random places",
        "refused by name, nothing changed",
        damage_ledger,
        400,
    ),
    Fault(
        "draft",
        "a crash while a segment is written",
        "all before it is read, the next session goes on",
        cut_last_write,
        50,
    ),
    Fault(
        "writers",
        "two writers",
        "the second is refused; after a takeover the first is fenced off",
        start_second_writer,
        2,
    ),
)
