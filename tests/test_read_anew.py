"""A study whose answer was recorded when its selector read the same trials in an older way: report, plan and resume."""

from __future__ import annotations

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from reported import material_of, told
from rich.console import Console
from simulated_study import STUDY, SimulatedStudy

from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.confirm import find_new_reading
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.record.events import Selected, read_event, write_event
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.session.forecast import Forecast, _apply_new_reading
from auxtune.orchestrator.session.session import Result
from auxtune.orchestrator.views.summary import list_summary_blocks
from auxtune.orchestrator.views.terminal import render_terminal
from auxtune.selectors.extensions import find_reading
from auxtune.selectors.kit.pipeline import Pipeline
from auxtune.selectors.kit.searches import Searches
from auxtune.selectors.methods.auto import Auto
from auxtune.selectors.methods.autosem import AutoSeM
from auxtune.selectors.methods.controls import RandomSubset
from auxtune.selectors.methods.gp_mixing import GPMixing
from auxtune.selectors.methods.thompson import Thompson
from auxtune.selectors.protocol import Outcome, Problem, Selection, TaskInfo

FORMS = ["{name: thompson, rounds: 24}", "{name: thompson, mode: trials, rounds: 24}"]


@dataclass
class OlderStudy(SimulatedStudy):
    """A study as it was run when the answer was read out of the last posterior: all else is as it is now."""

    def session(self) -> Agenda:
        agenda = super().session()
        fold = agenda._fold
        fold._selector = replace(fold._selector, released=True)
        return agenda


def older(home: Path, form: str, seed: int = 5, limit: int = 80) -> Path:
    """The folder of a finished one."""
    text = STUDY.replace("SELECTOR", form).replace("seed: 5", f"seed: {seed}").replace("trials: 80", f"trials: {limit}")
    study = OlderStudy(home / "x", text=text)
    return study.finish(study.session())


def readings(folder: Path) -> tuple[Selection, Selection]:
    """The recorded choice, and what the selector reads out of the same trials now."""
    material = material_of(folder)
    assert material.accounts.selected is not None
    return material.accounts.selected.selection, material.fold.select()


def find_older(home: Path, form: str, differs: Callable[[Selection, Selection], bool], limit: int = 80) -> Path:
    """The first of some studies whose two readings compare as wanted."""
    for seed in range(40):
        folder = older(home / str(seed), form, seed, limit)
        if differs(*readings(folder)):
            return folder
    raise AssertionError("none of 40 studies has readings like that")


def is_another(recorded: Selection, now: Selection) -> bool:
    return set(recorded.tasks) != set(now.tasks)


def again(folder: Path, *overrides: str) -> SimulatedStudy:
    """The study in ``folder``, to go on with as it is now."""
    text = read_events(folder / "ledger")[0].study
    return SimulatedStudy(folder, text=text, overrides=overrides)


def answer_of(folder: Path) -> dict[str, object]:
    content: dict[str, object] = json.loads((folder / "selection.json").read_text())
    return content


def test_an_answer_without_a_reading_was_read_in_the_first_way() -> None:
    event = Selected(time=1.0, selection=Selection("mixture", ("p",)), after=1, budget={}, reading=2)
    stored = write_event(event)
    assert read_event(stored) == event
    del stored["reading"]
    assert read_event(stored) == replace(event, reading=1)


def test_a_selector_says_how_it_reads_its_answer() -> None:
    problem = Problem(tuple(TaskInfo(name, "classification", 1000) for name in "pabc"), "p")

    def reading(selector: object) -> int:
        return find_reading(selector, selector.start(problem))

    assert reading(RandomSubset()) == reading(Auto()) == reading(Thompson(released=True)) == 1
    assert reading(Thompson()) == reading(Thompson(mode="trials")) == reading(Searches(Thompson(), 3)) == 2
    assert reading(GPMixing()) == 2
    assert (reading(AutoSeM()), reading(AutoSeM(released=True))) == (2, 1)
    assert reading(Pipeline((("first", RandomSubset()), ("then", Thompson())))) == 1


def test_of_a_pipeline_only_the_stage_under_way_is_read_anew() -> None:
    """What the first stage handed on has been trained on since."""
    problem = Problem(tuple(TaskInfo(name, "classification", 1000) for name in "pabc"), "p")
    selector = Pipeline((("thompson", Thompson(rounds=4, seeds=1)), ("random_subset", RandomSubset())))
    state = selector.start(problem)
    state = selector.proposed(state, 0, selector.propose(state, {}))
    rounds = (("p", 0.5), ("a", 0.6), ("b", 0.7), ("c", 0.6))
    state = selector.told(state, 0, Outcome(0.5, rounds=rounds))
    assert find_reading(selector, state) == 2
    state = selector.proposed(state, 1, selector.propose(state, {}))
    assert (state.stage, find_reading(selector, state)) == (1, 1)
    assert "interval" in state.beliefs["thompson"]


@pytest.mark.parametrize("form", FORMS)
def test_the_report_says_what_would_be_chosen_and_keeps_to_what_was_confirmed(form: str, tmp_path: Path) -> None:
    folder = find_older(tmp_path, form, is_another)
    before, (recorded, now) = answer_of(folder), readings(folder)
    page = told(folder)
    said = page["answer"]["said"]
    assert f"the same trials choose {' + '.join(now.tasks)}." in said
    assert f"The recorded answer is {' + '.join(recorded.tasks)}: lift," in said
    assert "`auxtune resume x` confirms the new choice" in said
    # Selection and lift are what was measured; what the selector holds true is of the new reading.
    assert dict(page["selection"]["tables"]["Trained together"]) == before["weights"]
    lifts = {row[0]: row[1] for row in next(iter(page["lift"]["tables"].values())) if isinstance(row[1], float)}
    assert lifts and lifts == {over: before["lift"][over]["mean"] for over in lifts}
    (rates,) = page["search"]["tables"].values()
    assert {row[0]: row[2] for row in rates} == now.belief["utility"]
    assert material_of(folder).belief == now.belief != before["belief"]
    assert answer_of(folder) == before


@pytest.mark.parametrize("form", FORMS)
def test_resume_confirms_the_new_choice_and_trains_only_what_is_missing(form: str, tmp_path: Path) -> None:
    folder = find_older(tmp_path, form, is_another)
    (_, now), former = readings(folder), len(material_of(folder).accounts.trials)
    material = material_of(folder)
    assert material.new_reading is not None and material.new_reading.owed
    study = again(folder)
    agenda = study.session()
    assert not agenda.finished and agenda.unpaid is None
    study.finish(agenda)
    after = material_of(folder)
    new = [trial for number, trial in after.accounts.trials.items() if number >= former]
    assert {trial.phase for trial in new} == {"confirm"} and len(new) == len(material.new_reading.owed)
    answer = answer_of(folder)
    assert list(answer["weights"]) == list(now.tasks) and answer["belief"] == now.belief
    assert after.new_reading is None and "Read again" not in told(folder)["answer"]["said"]
    assert again(folder).session().finished


def test_without_the_budget_for_it_the_answer_stands_and_resume_says_what_it_takes(tmp_path: Path) -> None:
    # One search trial per run, and confirm takes no more than its five arms.
    folder = find_older(tmp_path, "{name: thompson, rounds: 24}", is_another, limit=7)
    before, needed = answer_of(folder), material_of(folder)
    assert needed.new_reading is not None
    trials = needed.accounts.trained + len(needed.new_reading.owed)
    assert trials > 7
    study = again(folder)
    agenda = study.session()
    assert agenda.finished and agenda.unpaid is not None
    study.finish(agenda)
    assert (answer_of(folder)["weights"], answer_of(folder)["lift"]) == (before["weights"], before["lift"])
    assert f"`auxtune resume x --set budget.trials={trials}` confirms" in told(folder)["answer"]["said"]
    line = agenda.unpaid.describe(folder, agenda.accounts.trained, 7)
    answer = material_of(folder).answer
    assert answer is not None
    result = Result(folder, answer, agenda.accounts, None, None, line)
    printed = io.StringIO()
    blocks = list_summary_blocks(result, study.study.options.budget, "sqlite:///x")
    Console(width=100, file=printed).print(render_terminal(blocks), soft_wrap=True)
    assert line in " ".join(printed.getvalue().split())
    raised = again(folder, f"budget.trials={trials}")
    raised.finish(raised.session())
    assert list(answer_of(folder)["weights"]) == list(needed.new_reading.now.tasks)


def test_the_same_choice_is_read_anew_without_another_trial(tmp_path: Path) -> None:
    folder = find_older(tmp_path, FORMS[0], lambda recorded, now: not is_another(recorded, now))
    former = len(material_of(folder).accounts.trials)
    assert "choose the same tasks" in told(folder)["answer"]["said"]
    study = again(folder)
    agenda = study.session()
    assert agenda.finished
    study.finish(agenda)
    assert len(material_of(folder).accounts.trials) == former
    assert "interval" in answer_of(folder)["belief"]


def test_interrupted_in_confirm_it_goes_on_with_the_new_choice(tmp_path: Path) -> None:
    for seed in range(40):
        text = STUDY.replace("SELECTOR", FORMS[0]).replace("seed: 5", f"seed: {seed}")
        study = OlderStudy(tmp_path / str(seed) / "x", text=text)
        agenda = study.session()
        study.run(agenda, at_most=3)  # two runs, and the first trial of confirm
        folder = study.close(agenda, "interrupted")
        if is_another(*readings(folder)):
            break
    _, now = readings(folder)
    page = told(folder)
    assert [row[0] for row in page["selection"]["tables"]["Trained together"]] == list(now.tasks)
    assert "It had chosen otherwise" in page["selection"]["said"] and "Read again" not in page["answer"]["said"]
    resumed = again(folder)
    resumed.finish(resumed.session())
    assert list(answer_of(folder)["weights"]) == list(now.tasks)


def test_a_plan_is_of_what_resume_would_confirm(tmp_path: Path) -> None:
    folder = find_older(tmp_path, FORMS[0], is_another)
    material, events = material_of(folder), read_events(folder / "ledger")
    ground = Forecast(StudyContext.from_events(material.study, events, folder), None, events)
    seen = _apply_new_reading(ground)
    assert seen.context.accounts.selected is not None
    assert seen.context.accounts.selected.selection.tasks == readings(folder)[1].tasks
    assert "auxtune resume" in seen.notes[0]


def test_a_search_that_goes_on_is_not_read_anew(tmp_path: Path) -> None:
    folder = find_older(tmp_path, FORMS[0], is_another)
    study = again(folder, "budget.trials=90")
    agenda = study.session()
    assert agenda.unpaid is None and len(agenda.accounts.trials) == len(material_of(folder).accounts.trials)
    study.finish(agenda)
    assert list(answer_of(folder)["weights"]) == list(readings(folder)[1].tasks)


def test_what_is_read_as_it_was_recorded_stays(tmp_path: Path) -> None:
    study = SimulatedStudy(tmp_path / "x", text=STUDY.replace("SELECTOR", FORMS[0]))
    folder = study.finish(study.session())
    material = material_of(folder)
    fold = SelectorFold(material.selector, material.problem, {})
    for event in material.events:
        fold.add(event)
    assert find_new_reading(material.accounts, fold, material.confirmation) is None
    assert again(folder).session().finished
