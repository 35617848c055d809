"""Scores and costs in the ledger are those of the trials' results; ``status --verify`` names each that is not."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from simulated_study import SPENT, SimulatedStudy, simulated
from written_study import opened

from auxtune.orchestrator.cli import main
from auxtune.orchestrator.record.events import Event, Lost, Opened, Proposed, Started, Told
from auxtune.orchestrator.record.ledger import Ledger, read_events
from auxtune.selectors.protocol import Outcome, Proposal
from auxtune.trials.result import Cost


def verify(folder: Path, *more: str) -> Result:
    return CliRunner().invoke(main, ["status", str(folder), "--verify", *more])


def forge(folder: Path, change: Callable[[Event], Event]) -> None:
    """Edit events, and give the ledger a chain and a head that fit: only what trials left tells against it."""
    first, *others = map(change, read_events(folder / "ledger"))
    assert isinstance(first, Opened)
    (folder / "ledger").rename(folder / "true ledger")
    ledger = Ledger(folder / "ledger", first)
    for event in others:
        ledger.append(event)
    ledger.flush()


@pytest.fixture
def study(tmp_path: Path) -> SimulatedStudy:
    study = simulated(tmp_path, "random_subset")
    study.broken = {2: "ValueError: no"}
    study.finish(study.session())
    return study


def test_a_ledger_that_no_one_edited_is_verified(study: SimulatedStudy) -> None:
    told = sum(isinstance(event, Told) for event in read_events(study.folder / "ledger"))
    run = verify(study.folder)
    assert run.exit_code == 0, run.output
    assert f"compared with their own results: the scores and costs of {told} attempts" in run.stdout
    found = json.loads(verify(study.folder, "--json").stdout)
    assert (found["differences"], found["compared"], found["gone"]) == ([], told, 0)


def test_every_figure_that_was_edited_is_named(study: SimulatedStudy) -> None:
    def cheaper(event: Event) -> Event:
        if isinstance(event, Told) and event.id == 1:
            better = replace(event.outcome, score=0.99)
            return replace(event, outcome=better, cost=replace(SPENT, cpu_seconds=1.0))
        if isinstance(event, Told) and event.id == 2:
            return replace(event, outcome=replace(event.outcome, why="non-finite"))
        return event

    [true] = [e.outcome.score for e in read_events(study.folder / "ledger") if isinstance(e, Told) and e.id == 1]
    forge(study.folder, cheaper)
    run = verify(study.folder)
    assert run.exit_code == 2, run.output
    said = [line for line in run.stdout.splitlines() if line.startswith("trial ")]
    left = study.folder / "trials"
    assert said == [
        f"trial 1: cost.cpu_seconds is 1.0 in the ledger, and 10.0 in {left}/0001/1/result.json",
        f"trial 1: score is 0.99 in the ledger, and {true} in {left}/0001/1/result.json",
        f"trial 2: why is non-finite in the ledger, and error in {left}/0002/1/result.json",
    ]


def test_a_test_score_that_was_edited_is_named(study: SimulatedStudy) -> None:
    def better(event: Event) -> Event:
        return replace(event, test={"p": {"accuracy": 1.0}}) if isinstance(event, Told) and event.test else event

    forge(study.folder, better)
    assert "test.p.accuracy is 1.0 in the ledger" in verify(study.folder).stdout


def test_results_that_are_gone_or_unreadable_are_said(study: SimulatedStudy) -> None:
    (study.folder / "trials/0000/1/result.json").unlink()
    run = verify(study.folder)
    assert run.exit_code == 0 and "; of 1 more the result is gone" in run.stdout
    (study.folder / "trials/0001/1/result.json").write_text("{}")
    run = verify(study.folder)
    assert run.exit_code == 2 and "trial 1: " in run.stdout and "not a readable result" in run.stdout


@pytest.mark.parametrize("value", [-1.0, float("nan"), float("inf")])
def test_a_cost_that_cannot_be_is_never_written(value: float, tmp_path: Path) -> None:
    ledger = Ledger(tmp_path / "ledger", opened("first"))
    ledger.append(Proposed(id=0, time=1.0, proposal=Proposal(("moods",)), phase="search", after=0))
    ledger.append(Started(id=0, attempt=1, time=1.0, session="first"))
    wrong = Cost(value, gpu_seconds=0.0, cpu_seconds=0.0)
    for event in (
        Lost(id=0, attempt=1, time=2.0, cost=wrong),
        Told(id=0, attempt=1, time=2.0, outcome=Outcome(0.5), cost=wrong),
        Told(id=0, attempt=1, time=2.0, outcome=Outcome(0.5), cost=SPENT, reused={"key": wrong}),
    ):
        with pytest.raises(ValueError, match="wall_seconds"):
            ledger.append(event)
    ledger.flush()
    assert [event.event for event in read_events(tmp_path / "ledger")] == ["opened", "proposed", "started"]
