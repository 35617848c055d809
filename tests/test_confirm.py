"""Confirm's arms: which trainings they are, how often one is trained, and what is held back for them."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Opened, Phase, Proposed
from auxtune.orchestrator.study_file.models import CONTROLS, StudyOptions
from auxtune.selectors.protocol import Problem, Proposal, Selection, Selector, TaskInfo
from auxtune.selectors.registry import make
from auxtune.trials.recipe import ModelOptions

ROWS = {"a": 300, "p": 100, "b": 300, "c": 300}        # the primary is not the first task


def translator(training: Mapping[str, object]) -> Translator:
    options = StudyOptions.model_validate(
        {
            "study": "x",
            "primary": "p",
            "tasks": {name: {"builtin": name} for name in ROWS},
            "selector": "random_subset",
            "training": {"steps": 100, **training},
            "budget": {"trials": 99},
        }
    )
    tasks = tuple(TaskInfo(name, "classification", rows) for name, rows in ROWS.items())
    return Translator(options, ModelOptions(), Problem(tasks, "p", seed=5))


def confirmation(controls: tuple[str, ...], seeds: int = 2, **training: object) -> Confirmation:
    made = translator(training)
    return Confirmation(made.problem, seeds, controls, made.execute)


def steps_left(controls: tuple[str, ...], accounts: Accounts, **training: object) -> list[int]:
    return [translator(training).steps(one) for one in confirmation(controls, 1, **training).left(accounts)]


def proposed(phase: Phase, *proposals: Proposal) -> Accounts:
    opened = Opened(
        session="s", time=0.0, study="", overrides=(), study_folder="", working_folder="",
        problem=translator({}).problem, fingerprint={}, versions={},
    )
    events = (Proposed(id=i, time=0.0, proposal=one, phase=phase, after=0) for i, one in enumerate(proposals))
    return Accounts([opened, *events])


def test_equal_trainings_are_equal_proposals_wherever_the_primary_stands() -> None:
    everything = Selection("mixture", tuple(ROWS))     # of which a random subset of equal size is the only one
    arms = confirmation(("all_tasks", "random_subset")).arms(everything)
    assert arms["selection"] == arms["all_tasks"] == arms["random_subset"]
    assert len(list(confirmation(("all_tasks", "random_subset")).missing(everything, Accounts()))) == 2


def test_a_random_subset_is_as_large_as_what_is_trained_of_the_selection() -> None:
    barely = Selection("mixture", ("a", "p", "b"), {"a": 0.5, "p": 0.499, "b": 0.001})
    arms = confirmation(("random_subset",), seeds=4).arms(barely)
    assert [proposal.tasks for (proposal,) in arms["selection"]] == [("a", "p")] * 4
    assert {len(proposal.tasks) for (proposal,) in arms["random_subset"]} == {2}


def test_what_was_trained_is_not_held_back_again() -> None:
    ours = confirmation(CONTROLS)
    assert len(ours.left(Accounts())) == 2 * 5
    single, everything = (ours.arms(Selection("mixture", ("p",)))[name] for name in ("single_task", "all_tasks"))
    assert len(ours.left(proposed("confirm", *single[0], *single[1], *everything[0]))) == 2 * 5 - 3


def test_arms_of_many_tasks_are_held_back_with_the_steps_they_take() -> None:
    nothing = Accounts()
    assert steps_left(("single_task", "size_proportional"), nothing) == [100, 100, 100]
    matched = {"match": "primary_examples"}
    # A tenth of the rows are the primary's; of all tasks alike it has a quarter of the steps, and no subset less.
    assert steps_left(("single_task", "size_proportional"), nothing, **matched) == [100, 1000, 400]
    assert steps_left(("random_subset",), nothing, **matched) == [400, 400]


def test_a_search_that_gives_the_primary_less_is_expected_to_select_so() -> None:
    weak = Proposal(("a", "p"), {"a": 0.9, "p": 0.1})
    assert steps_left(("single_task",), proposed("search", weak), match="primary_examples") == [100, 1000]


def test_arms_are_made_once_per_selection(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []

    def counted(name: str, options: Mapping[str, object]) -> Selector:
        made.append(name)
        return make(name, options)

    monkeypatch.setattr("auxtune.orchestrator.planning.arms.make", counted)
    ours = confirmation(CONTROLS)
    first = ours.arms(Selection("mixture", ("a", "p")))
    for _ in range(3):
        ours.left(Accounts())
        assert ours.arms(Selection("mixture", ("a", "p"))) is first
        assert ours.arms(Selection("mixture", ("p", "b"))) != first
    assert sorted(made) == ["all_tasks", "single_task"]
