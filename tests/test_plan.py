"""``auxtune plan``: from nothing, from a smoke test, and from the study's own trials; never from thin air."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner, Result
from small_study import StudyRun

from auxtune.orchestrator.cli import main
from auxtune.orchestrator.planning.slots import describe_this_machine
from auxtune.orchestrator.record.events import Event, Opened, Proposed, Selected, Started, Told
from auxtune.orchestrator.record.ledger import Ledger
from auxtune.orchestrator.session.forecast import build_forecast, list_comparison_arms
from auxtune.orchestrator.session.prepare import load_study_data
from auxtune.orchestrator.session.smoke import (
    FILE,
    SmokedTask,
    SmokeRecord,
    describe_conditions,
    read_smoke,
    write_smoke,
)
from auxtune.orchestrator.study_file.reading import read_study
from auxtune.selectors.protocol import Outcome, Selection
from auxtune.trials.result import Cost, SmokeFigures

STEPS = 40


@pytest.fixture
def home(small: StudyRun, monkeypatch: pytest.MonkeyPatch) -> StudyRun:
    """The small study, with the working directory in it."""
    monkeypatch.chdir(small.home)
    return small


def typed(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["plan", "study.yaml", *arguments])


def plan(*overrides: str) -> dict[str, Any]:
    result = typed("--json", *(word for one in overrides for word in ("--set", one)))
    assert result.exit_code == 0, result.output
    content: dict[str, Any] = json.loads(result.stdout)
    return content


def smoke_of(home: StudyRun, **differing: str) -> None:
    """A smoke test in which every task takes 0.1 s a step (0.05 to 0.2) and 1 s an evaluation."""
    study = read_study(home.home / "study.yaml")
    tasks, _ = load_study_data(study)
    home.folder.mkdir(parents=True, exist_ok=True)
    smoked = {
        name: SmokedTask(SmokeFigures(0.1, 0.05, 0.2, 1.0, len(task.splits["validation"]), None, None, 1))
        for name, task in tasks.items()
    }
    seen = build_forecast(study, describe_this_machine())
    now = describe_conditions(seen.context, seen.slots)
    write_smoke(home.folder, SmokeRecord({**now, **differing}, smoked))


def trained(home: StudyRun, *seconds: float, selected: bool = False) -> None:
    """A ledger of search trials that took ``seconds`` each on one CPU, and perhaps of the answer after them."""
    study = read_study(home.home / "study.yaml")
    seen = build_forecast(study, describe_this_machine())
    opened = Opened(
        session="s",
        time=0.0,
        study=study.text,
        overrides=(),
        study_folder=str(study.folder),
        working_folder=str(study.working_folder),
        problem=seen.context.problem,
        fingerprint=seen.context.fingerprint,
        versions={},
    )
    ledger = Ledger(home.folder / "ledger", opened)
    for number, (took, proposal) in enumerate(zip(seconds, seen.upcoming_trials().proposals, strict=False)):
        cost = Cost(wall_seconds=took, gpu_seconds=0.0, cpu_seconds=took)
        told: list[Event] = [
            Proposed(id=number, time=0.0, proposal=proposal, phase="search", after=2 * number),
            Started(id=number, attempt=1, time=0.0, session="s", cpus=1.0, gpus=0.0),
            Told(id=number, attempt=1, time=sum(seconds), outcome=Outcome(0.5), cost=cost),
        ]
        for event in told:
            ledger.append(event)
    if selected:
        limits = study.options.budget.model_dump(mode="json")
        answer = Selection("mixture", ("moods", "echoes"))
        ledger.append(Selected(time=sum(seconds), selection=answer, after=2 * len(seconds), budget=limits))
    ledger.flush()


def test_without_measurements_the_work_is_known_and_its_cost_is_not(home: StudyRun) -> None:
    content = plan()
    kinds = content["search"].pop("kinds")
    assert content["search"] == {"selector": "random_subset", "fewest": 1, "most": 2, "ends": "selector"}
    assert sum(kind["trials"] for kind in kinds) == 2 and {kind["steps"] for kind in kinds} == {STEPS}
    selection, single = content["confirm"]
    assert (selection["arm"], selection["missing"], selection["tasks"]) == ("selection", 1, None)
    assert (single["arm"], single["steps"], single["weights"]) == ("single_task", STEPS, {"moods": 1.0})
    assert content["cost"] == {"search": None, "confirm": None, "total": None}
    assert content["pace"] == {"source": None, "trials": 0, "seconds_per_step": None}
    shown = typed().stdout
    assert "unknown" not in shown and "USD" not in shown and shown.count("auxtune validate --smoke") == 1
    assert content["trials"] == {"limit": 8, "trained": 0, "confirm": 2, "search": 6}
    assert "budget.trials: 8 trials: 2 confirm, 6 search\n" in shown


def test_a_smoke_test_gives_the_cost(home: StudyRun) -> None:
    smoke_of(home)
    content = plan()
    assert content["pace"]["source"] == "smoke" and content["notes"] == []
    # 40 steps of 0.1 s and 4 evaluations of 1 s; confirm scores the 250 test rows too, the validation split has
    # `rows` of them in one second.
    search = content["cost"]["search"]
    assert search["trials"] == 2 and search["wall_hours"]["mean"] == pytest.approx(2 * 8 / 3600)
    assert search["cpu_hours"]["low"] == pytest.approx(2 * 6 / 3600)
    assert search["cpu_hours"]["high"] == pytest.approx(2 * 12 / 3600)
    assert search["usd"]["mean"] == pytest.approx(0.04 * 2 * 8 / 3600) and search["gpu_hours"]["mean"] == 0
    rows = len(load_study_data(read_study(home.home / "study.yaml"))[0]["moods"].splits["validation"])
    assert content["cost"]["confirm"]["cpu_hours"]["mean"] == pytest.approx(2 * (8 + 250 / rows) / 3600)
    total = content["cost"]["total"]
    assert total["trials"] == 4 and total["wall_hours"]["mean"] == pytest.approx((32 + 500 / rows) / 3600)
    assert "estimated from the last smoke test" in typed().stdout


def test_a_limit_in_hours_ends_the_search_where_it_is_met_first(home: StudyRun) -> None:
    smoke_of(home)
    # Room for confirm (under 20 s) and for one trial of 8 s.
    content = plan("budget.wall_hours=0.009", "selector.trials=null")
    rooms = {room["limit"]: room["trials"] for room in content["budget"]}
    assert rooms["trials"] == 6 and content["search"]["ends"] == "wall_hours"
    assert content["search"]["most"] == rooms["wall_hours"] and 1 <= rooms["wall_hours"] <= 2


def test_a_limit_in_hours_of_unknown_room_leaves_the_end_unknown(home: StudyRun) -> None:
    pulls = "selector={name: thompson, mode: trials}"
    content = plan("budget={wall_hours: 1}", pulls)
    assert content["search"]["most"] is None and content["search"]["ends"] is None
    assert content["search"]["kinds"] == [{"trials": 1, "steps": 100, "tasks": 1, "rounds": None}]
    assert "at most an unknown number more trials" in typed("--set", "budget={wall_hours: 1}", "--set", pulls).stdout


def test_stages_searches_and_what_is_left_out_are_planned(home: StudyRun) -> None:
    stages = plan("selector=[{name: random_subset, trials: 1}, {name: gp_mixing, samples: 4}]", "budget.trials=30")
    assert stages["search"]["selector"] == "random_subset + gp_mixing"
    assert any("after these trials" in note for note in stages["notes"])
    searches = plan("selector={name: thompson, seeds: 1}", "search_seeds=3", "budget.trials=30")
    assert searches["search"]["fewest"] == searches["search"]["most"] == 3
    arms = {arm["arm"]: arm["missing"] for arm in plan("confirm.leave_one_out=true", "budget.trials=30")["confirm"]}
    assert {name for name in arms if name.startswith("without ")} == {"without echoes", "without noises"}


def test_what_cannot_be_foreseen_is_priced_between_the_kinds_of_trials(home: StudyRun) -> None:
    smoke_of(home)
    content = plan("selector={name: autosem, rounds: 100, round_steps: 20, seeds: 1, samples: 9}", "budget.trials=20")
    hours, kinds = content["cost"]["search"]["cpu_hours"], content["search"]["kinds"]
    assert [kind["steps"] for kind in kinds] == [2000] and content["search"]["most"] > 2
    # One run of 2,000 steps and others of 40: as if all were of 2,000 is beyond the spread's low end by far.
    assert hours["low"] < hours["high"] / 2


def test_a_selector_that_is_done_by_itself_ends_the_search(home: StudyRun) -> None:
    content = plan("budget={wall_hours: 1}", "selector={name: thompson}")
    assert content["search"]["most"] == 2 and content["search"]["ends"] is None
    assert content["search"]["kinds"] == [{"trials": 2, "steps": 2000, "tasks": 3, "rounds": 200}]


def test_no_more_trials_are_foreseen_than_the_search_may_have(home: StudyRun) -> None:
    content = plan("budget={trials: 10}", "selector=auto", "confirm.controls=[single_task, equal_cost_random]")
    most = content["search"]["most"]
    assert most == 3  # 10, less confirm's 3, and half of the rest is the control's
    assert sum(kind["trials"] for kind in content["search"]["kinds"]) == most


def test_a_limit_on_what_trials_do_not_use_is_said_to_bound_nothing(home: StudyRun) -> None:
    smoke_of(home)
    content = plan("budget={gpu_hours: 1}", "selector.trials=null")
    assert content["budget"] == [] and "budget.gpu_hours never ends the search" in content["notes"][0]
    assert (content["search"]["most"], content["search"]["ends"]) == (3, "selector")  # all subsets of two auxiliaries


@pytest.mark.parametrize("differing", [{"host": "elsewhere"}, {"tasks.echoes": "0"}])
def test_a_stale_smoke_test_is_ignored_and_said(home: StudyRun, differing: dict[str, str]) -> None:
    smoke_of(home, **differing)
    content = plan()
    assert content["cost"]["total"] is None and content["pace"]["source"] is None
    [note] = content["notes"]
    assert f"differs in {next(iter(differing))};" in note and "auxtune validate --smoke" in note


def test_a_changed_batch_size_makes_figures_stale_and_a_changed_number_of_steps_does_not(home: StudyRun) -> None:
    smoke_of(home)
    assert plan("training.steps=80")["cost"]["search"]["cpu_hours"]["mean"] == pytest.approx(2 * 16 / 3600)
    assert "differs in training;" in plan("training.batch_size=8")["notes"][0]


def test_a_damaged_smoke_test_is_ignored_and_said(home: StudyRun) -> None:
    smoke_of(home)
    (home.folder / FILE).write_text("{")
    content = plan()
    assert content["cost"]["total"] is None and "not a readable smoke test" in content["notes"][0]


def test_a_task_that_failed_its_smoke_test_leaves_the_cost_unknown(home: StudyRun) -> None:
    smoke_of(home)
    record = read_smoke(home.folder)
    assert record is not None
    failed = {**record.tasks, "echoes": SmokedTask(None, "non-finite", "NaN")}
    write_smoke(home.folder, SmokeRecord(record.true_of, failed))
    content = plan()
    assert content["cost"]["total"] is None
    assert content["notes"] == ["echoes failed the last smoke test (non-finite): NaN"]


def test_the_studys_own_trials_are_believed_before_a_smoke_test(home: StudyRun) -> None:
    smoke_of(home)
    trained(home, 4.0, 8.0)
    content = plan("budget.trials=9")
    assert content["pace"] == {"source": "trials", "trials": 2, "seconds_per_step": pytest.approx(6 / STEPS)}
    assert content["spent"]["trials"] == 2
    assert (content["search"]["most"], content["search"]["ends"]) == (0, "selector")
    confirm = content["cost"]["confirm"]
    assert confirm["trials"] == 2 and confirm["wall_hours"] == {
        "mean": pytest.approx(12 / 3600),
        "low": pytest.approx(8 / 3600),
        "high": pytest.approx(16 / 3600),
    }
    assert content["cost"]["total"]["trials"] == 2


def test_one_trial_shows_no_spread(home: StudyRun) -> None:
    trained(home, 4.0)
    content = plan()
    assert content["search"]["most"] == 1
    assert content["cost"]["search"]["cpu_hours"] == {"mean": pytest.approx(4 / 3600), "low": None, "high": None}
    assert "spread unknown" in typed().stdout


def test_trials_on_other_resources_say_nothing(home: StudyRun) -> None:
    trained(home, 4.0, 8.0)
    assert plan("resources.cpus=0.5")["pace"]["source"] is None


def test_the_ledger_of_another_question_is_left_aside_and_said(home: StudyRun) -> None:
    trained(home, 4.0, 8.0)
    content = plan("seed=9")
    assert content["spent"]["trials"] == 0 and content["pace"]["source"] is None
    assert "differs in seed" in content["notes"][0] and "would refuse" in content["notes"][0]


def test_after_the_search_the_arms_are_known(home: StudyRun) -> None:
    trained(home, 4.0, 8.0, selected=True)
    content = plan()
    assert (content["search"]["most"], content["search"]["ends"]) == (0, "selected")
    assert [(arm["arm"], arm["missing"], arm["tasks"]) for arm in content["confirm"]] == [
        ("selection", 1, ["moods", "echoes"]),
        ("single_task", 1, ["moods"]),
    ]


def test_what_was_begun_and_has_not_ended_is_still_to_be_trained(home: StudyRun) -> None:
    trained(home, 4.0, 8.0, selected=True)
    study = read_study(home.home / "study.yaml")
    seen = build_forecast(study, describe_this_machine())
    [begun] = list_comparison_arms(seen.context.confirmation, seen.context.accounts, searched=True)[0].missing
    opened = seen.context.accounts.sessions[0].opened
    ledger = Ledger(home.folder / "ledger", replace(opened, session="t"))
    ledger.append(Proposed(id=2, time=12.0, proposal=begun, phase="confirm", after=4))
    ledger.append(Started(id=2, attempt=1, time=12.0, session="t", cpus=1.0, gpus=0.0))
    ledger.flush()
    content = plan()
    assert [arm["missing"] for arm in content["confirm"]] == [1, 1]
    assert content["budget"] == [{"limit": "trials", "trials": 4, "few": 4, "many": 4}]  # of 8: 2 done, 2 held


def test_a_selector_that_cannot_answer_says_so(home: StudyRun) -> None:
    result = typed("--set", "selector.size=9")
    assert result.exit_code == 2 and "selector.size must be at most 2" in result.stderr


def test_a_budget_below_the_least_is_shown_and_refused(home: StudyRun) -> None:
    result = typed("--set", "budget.trials=2")
    assert result.exit_code == 2 and "budget.trials: 2" in result.stderr and "single_task" in result.stdout


def test_planning_writes_nothing(home: StudyRun) -> None:
    plan()
    assert not home.folder.exists()
