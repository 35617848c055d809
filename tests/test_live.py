"""The live view: a study's numbers and no others, in every width."""

from __future__ import annotations

import io
import re
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
from reported import HOSTILE
from rich.console import Console
from simulated_study import simulated
from watched_study import FOUR, RANDOM, begun, snapshot_of

from auxtune.orchestrator.planning.budget import list_spending
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import Tracked
from auxtune.orchestrator.record.ledger import RANGE, LedgerReader, read_events
from auxtune.orchestrator.record.results import read_steps_done
from auxtune.orchestrator.study_file.models import BudgetOptions
from auxtune.orchestrator.views.live import LiveView, RunningTrial, Spent, StudySnapshot
from auxtune.orchestrator.views.monitor import StudyMonitor
from auxtune.orchestrator.views.remaining_work import format_duration
from auxtune.orchestrator.views.status import describe_status

SNAPSHOT = StudySnapshot("x", "running", "tag", {}, (), "0.5", (), "", (), "", ())


def drawn(snapshot: StudySnapshot | None, width: int = 120, height: int = 60, now: float = 0.0) -> list[str]:
    console = Console(width=width, height=height, record=True, force_terminal=True, file=io.StringIO())
    console.print(LiveView(snapshot, now))
    return [line.rstrip() for line in console.export_text().splitlines()]


# The numbers


def test_the_view_tells_what_status_tells(tmp_path: Path) -> None:
    text = FOUR.replace("{trials: 80}", "{trials: 80, wall_hours: 2, usd: 3}")
    study = simulated(tmp_path, RANDOM, text)
    begun(study, 5)
    status = describe_status(study.folder, Accounts(read_events(study.folder / "ledger")), study.study.options)
    snapshot = snapshot_of(study, "interrupted")
    assert snapshot.counts == status["trials"] and snapshot.counts["running"] == 1
    assert [trial.id for trial in snapshot.running] == [trial["trial"] for trial in status["running"]]
    assert snapshot.best.startswith(f"{status['best']['score']:.4f}, the best search score of 5, so luck is in it: ")
    assert {each.key: each.spent for each in snapshot.budget} == {
        key: status["cost"][key] for key in ("trials", "wall_hours", "usd")
    }
    assert all(each.limit == status["budget"][each.key] for each in snapshot.budget)
    assert snapshot.answer == () and snapshot.trouble == ()


def test_what_comes_next_is_counted(tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM, FOUR)
    begun(study, 5)
    # 80 trials, of which 6 have begun and 20 (5 arms, 4 seeds) are held for confirm.
    assert snapshot_of(study).remaining_work.startswith(
        "at most 54 more trials of the search, then 20 trials to confirm; at most"
    )
    begun(study, 8)  # all 8 of the search, then 5 of confirm; 2 more run
    told = read_events(study.folder / "ledger")
    begun_by_now = len(Accounts(told).in_phase("confirm"))
    owed = re.match(r"(\d+) more trials to confirm, then the answer; about ", snapshot_of(study).remaining_work)
    # Of 20 the 4 in equal shares are the selection's own, and a random subset may be that too.
    assert owed is not None and int(owed[1]) + begun_by_now in range(13, 17)
    whole = study.finish(study.session())
    assert snapshot_of(study, "done").remaining_work == "" and (whole / "selection.json").exists()


def test_a_budget_without_a_number_of_trials_says_what_ends_the_search(tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM, FOUR.replace("{trials: 80}", "{wall_hours: 2, usd: 3}"))
    begun(study, 2)
    expected = "the search continues until usd or wall_hours would not last for confirm, then 20 trials to confirm"
    assert snapshot_of(study).remaining_work == expected


def test_confirm_shows_paired_lifts_and_no_interval_before_it_is_over(tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM, FOUR)
    begun(study, 17)
    accounts = Accounts(read_events(study.folder / "ledger"))
    assert accounts.selected is not None
    told = [trial for trial in accounts.in_phase("confirm") if trial.told is not None]
    ours = {
        t.proposal.seed: t
        for t in told
        if set(t.proposal.tasks) == set(accounts.selected.selection.tasks) and len({*t.proposal.shares.values()}) == 1
    }
    alone = {t.proposal.seed: t for t in told if t.proposal.tasks == ("p",)}
    both = ours.keys() & alone.keys()
    assert both
    gains = [_accuracy(ours[seed]) - _accuracy(alone[seed]) for seed in both]
    header, first, *_ = snapshot_of(study).answer
    assert "no interval while seeds are missing" in header
    assert first == f"{sum(gains) / len(gains):+.4f} over single_task (seeds: {len(both)} of 4)"


def _accuracy(trial: Trial) -> float:
    return float(trial.told.test["p"]["accuracy"])


def test_a_finished_study_shows_its_lifts_with_intervals(tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM, FOUR)
    study.finish(study.session())
    answer = snapshot_of(study, "done").answer
    assert "over single task" in answer[0] and "95 % interval" in answer[0]
    assert [
        re.search(r"over (\w+) \(95 % interval [+-]0\.\d{4} … [+-]0\.\d{4}\)", line) is not None
        for line in answer[1:-1]
    ] == [True] * 2
    assert answer[-1] == "same_tasks_equal is the same training"
    study.session().flush()  # another session has opened the ledger
    extended = snapshot_of(study, "running").answer[0]
    assert extended == f"before this session went on: {answer[0]}"


@pytest.mark.parametrize("content", ['{"format": 99, "lift": {}}', '{"lift": ', "[]"])
def test_an_answer_that_cannot_be_read_is_none(content: str, tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM)
    study.finish(study.session())
    (study.folder / "selection.json").write_text(content)
    assert snapshot_of(study, "done").answer == ()


def test_failures_and_runs_that_mlflow_lacks_are_said(tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM, FOUR, broken={2: "out of memory", 3: "out of memory"})
    agenda = begun(study, 4)
    failed = snapshot_of(study).trouble
    assert failed == ("2 of 5 trials failed, last 0003 (error); 2 in a row, 5 end the session",)
    monitor = StudyMonitor(study.study, study.folder)
    *before, last = agenda._ledger.events
    monitor.observe([*before, replace(last, time=last.time + 100)])
    snapshot = monitor.snapshot("running", time.time())
    assert snapshot is not None and snapshot.trouble[1] == (
        "MLflow has nothing of this study yet; trials continue, and it is filled in when the server answers"
    )
    snapshot = monitor.snapshot("interrupted", time.time())
    resumed = "`auxtune resume` fills it in"
    assert snapshot is not None and snapshot.trouble[1] == f"MLflow has nothing of this study; {resumed}"
    monitor.observe([Tracked(id=None, run_id="a"), Tracked(id=0, run_id="b")])
    snapshot = monitor.snapshot("running", time.time())
    assert snapshot is not None
    assert snapshot.trouble[1] == "MLflow lacks 2 trials that ended; it is filled in when the server answers"
    snapshot = monitor.snapshot("failed", time.time())
    assert snapshot is not None and snapshot.trouble[1] == f"MLflow lacks 2 trials that ended; {resumed}"


# The drawing


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("ended", [0, 5, 17])
def test_the_view_fits_its_terminal_and_shows_all(width: int, ended: int, tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM, FOUR.replace("{trials: 80}", "{trials: 80, wall_hours: 2, usd: 3}"))
    begun(study, ended)
    snapshot = snapshot_of(study)
    lines = drawn(snapshot, width)
    assert max(map(len, lines)) <= width
    labels = [match[1] for line in lines if (match := re.match(r"(best|answer|belief|budget|next|trouble)\b", line))]
    assert labels == [*(["best"] + ["answer"] * (ended == 17)), "belief", "budget", "next"]
    text = re.sub(r"\s+", " ", " ".join(lines))
    assert all(f"{trial.id:04d} " in text for trial in snapshot.running)
    assert f"{snapshot.counts['finished']} finished" in text if ended else "no trial yet" in text or snapshot.running
    assert all(key in text for key in ("trials", "wall_hours", "usd"))


def test_names_that_look_like_markup_are_shown_as_they_are(tmp_path: Path) -> None:
    names = ("[red]p[/red]", *HOSTILE[1:])
    snapshot = StudySnapshot(
        "[b]x[/b]",
        "running",
        "[i]",
        {},
        (RunningTrial(1, "search", " + ".join(names), 1, 0.0, 3, 9),),
        f"0.5 {names[0]}",
        (names[0],),
        names[0],
        (),
        "",
        (names[0],),
    )
    text = "\n".join(drawn(snapshot, 200))
    assert text.count("[red]p[/red]") == 5 and "[b]x[/b]" in text and "3/9" in text


def test_many_trials_do_not_push_the_rest_out_of_the_terminal() -> None:
    running = tuple(RunningTrial(n, "search", "a + b", 1, 0.0, None, 100) for n in range(64))
    snapshot = StudySnapshot(
        "x", "running", "tag", {"running": 64}, running, "b", (), "c", (Spent("usd", None, 3.0),), "d", ()
    )
    lines = drawn(snapshot, height=24)
    assert len(lines) <= 24 and "and 54 more trials" in lines and any("unknown of 3" in line for line in lines)


def test_one_trial_too_many_is_one_trial() -> None:
    running = tuple(RunningTrial(n, "search", "a + b", 1, 0.0, None, 100) for n in range(11))
    lines = drawn(replace(SNAPSHOT, running=running), height=24)
    assert "and 1 more trial" in lines


def test_a_clock_that_is_ahead_makes_no_negative_time() -> None:
    lines = drawn(replace(SNAPSHOT, running=(RunningTrial(1, "search", "a + b", 1, 60.0, None, 100),)), now=58.0)
    assert lines[1].endswith(" 0 s")


def test_a_limit_that_was_overrun_is_said_as_everywhere() -> None:
    over, cost = Spent("usd", 3.2, 3.0), {"usd": 3.2}
    (line,) = list_spending(BudgetOptions(usd=3.0), cost)
    assert line == "usd 3.2 of 3, overrun by 0.2"
    assert any(drawing.endswith(line.removeprefix("usd ")) for drawing in drawn(replace(SNAPSHOT, budget=(over,))))


def test_before_a_session_has_begun_it_says_so() -> None:
    assert drawn(None) == ["preparing: data, encoder, workers"]


def test_durations_read_as_people_say_them() -> None:
    assert [format_duration(s) for s in (0.4, 89, 90, 3000, 5400, 11_100)] == [
        "0 s",
        "89 s",
        "2 min",
        "50 min",
        "1 h 30 min",
        "3 h 05 min",
    ]


# What it reads


def test_a_ledger_is_followed_over_its_merged_ranges(tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM, FOUR)
    agenda = begun(study, 2)
    reader = LedgerReader(study.folder / "ledger")
    first = reader.read_new()
    assert first == agenda._ledger.events and reader.read_new() == []
    for number in range(RANGE + 2):
        agenda.record(Tracked(id=None, run_id=str(number)))
        agenda.flush()
    assert list(study.folder.glob("ledger/*.jsonl"))
    assert first + reader.read_new() == read_events(study.folder / "ledger") == agenda._ledger.events


@pytest.mark.parametrize(
    ("written", "expected"),
    [(None, None), ("", None), ('{"step": 10}\n', 10), ('{"step": 10}\n{"step": 20}\n{"st', 20), ('{"st', None)],
)
def test_steps_are_those_of_the_last_whole_evaluation(
    written: str | None, expected: int | None, tmp_path: Path
) -> None:
    if written is not None:
        (tmp_path / "metrics.jsonl").write_text(written)
    assert read_steps_done(tmp_path) == expected


def test_its_picture_asks_nothing_of_anywhere(tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM, FOUR)
    begun(study, 5)
    script, picture = Path(__file__).parents[1] / "docs" / "live.py", tmp_path / "live.svg"
    subprocess.run([sys.executable, str(script), str(study.folder), str(picture)], check=True, timeout=120)
    svg = picture.read_text()
    assert "random_subset" in svg and "belief" in svg and "url(http" not in svg and "@font-face" not in svg


@pytest.mark.parametrize("width", [60, 80, 120])
def test_no_name_of_a_task_is_cut(width: int) -> None:
    names = [f"customer_reviews_{middle}_in_english" for middle in ("helpful", "urgent", "stars")]
    running = tuple(
        RunningTrial(number, "confirm", " + ".join(names[: number + 1]), 1, 0.0, 10, 400) for number in range(3)
    )
    snapshot = replace(SNAPSHOT, running=running, best=f"0.5000: trial 0000, {' + '.join(names)}")
    lines = drawn(snapshot, width)
    assert max(map(len, lines)) <= width
    trials = "\n".join(lines[: next(place for place, line in enumerate(lines) if line.startswith("best"))])
    assert [trials.count(name) for name in names] == [3, 2, 1] and "…" not in trials
    assert all(name in "\n".join(lines[len(trials.splitlines()) :]) for name in names)


def test_what_long_names_take_counts_as_lines() -> None:
    long = " + ".join(f"customer_reviews_{number}_in_english" for number in range(4))
    running = tuple(RunningTrial(number, "search", long, 1, 0.0, 10, 400) for number in range(6))
    lines = drawn(replace(SNAPSHOT, running=running), 80, 24)
    assert len(lines) <= 24 and sum(line.startswith("and ") for line in lines) == 1
