"""Confirm's arms: which trainings they are, how often one is trained, and what is held back for them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace

import pytest

from auxtune.orchestrator.planning.arms import is_same_arm, is_same_training
from auxtune.orchestrator.planning.confirm import Confirmation, build_confirmation
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Opened, Phase, Proposed
from auxtune.orchestrator.study_file.models import CONTROLS, ConfirmOptions, StudyOptions
from auxtune.selectors.protocol import Kept, Problem, Proposal, Selection, Selector, TaskInfo
from auxtune.selectors.registry import make
from auxtune.trials.recipe import ModelOptions

ROWS = {"a": 300, "p": 100, "b": 300, "c": 300}  # the primary is not the first task


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
        session="s",
        time=0.0,
        study="",
        overrides=(),
        study_folder="",
        working_folder="",
        problem=translator({}).problem,
        fingerprint={},
        versions={},
    )
    events = (Proposed(id=i, time=0.0, proposal=one, phase=phase, after=0) for i, one in enumerate(proposals))
    return Accounts([opened, *events])


def test_equal_trainings_are_equal_proposals_wherever_the_primary_stands() -> None:
    everything = Selection("mixture", tuple(ROWS))  # of which a random subset of equal size is the only one
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


# Controls that are made of the selection

SHARES = {"a": 0.2, "p": 0.5, "b": 0.3}


def test_a_random_subset_has_the_shares_of_the_selection_and_the_primary_keeps_its_own() -> None:
    chosen = Selection("mixture", tuple(SHARES), SHARES)
    arms = confirmation(("random_subset",), seeds=40).arms(chosen)
    drawn = [proposal for (proposal,) in arms["random_subset"]]
    for proposal in drawn:
        assert proposal.weights is not None and proposal.weights["p"] == pytest.approx(0.5)
        assert sorted(proposal.weights.values()) == pytest.approx([0.2, 0.3, 0.5])
        assert list(proposal.weights) == list(proposal.tasks)
    # Of 3 auxiliaries 2, in either order: 6 ways, and 40 draws have them all.
    assert len({tuple(sorted(proposal.shares.items())) for proposal in drawn}) == 6


def test_a_random_subset_has_the_factors_of_losses_too_and_the_rows_of_the_primary_alone() -> None:
    kept = {name: Kept({"by": "hand"}, 100, 50, "f" * 64) for name in ("p", "a")}
    chosen = Selection("mixture", tuple(SHARES), SHARES, weighting="loss", instances=kept)
    for (proposal,) in confirmation(("random_subset",), seeds=8).arms(chosen)["random_subset"]:
        assert proposal.weighting == "loss" and sorted(proposal.shares.values()) == [0.2, 0.3, 0.5]
        assert proposal.shares["p"] == 0.5 and set(proposal.rows) == {"p"}


def test_the_same_tasks_in_equal_shares() -> None:
    arms = confirmation(("same_tasks_equal",)).arms(Selection("mixture", tuple(SHARES), SHARES))
    ((proposal,), _) = arms["same_tasks_equal"]
    assert proposal.weights == pytest.approx(dict.fromkeys(SHARES, 1 / 3)) and proposal.weighting == "sampling"
    assert not is_same_arm(arms["selection"], arms["same_tasks_equal"])


def test_size_sqrt_is_by_the_root_of_the_rows_whatever_was_chosen() -> None:
    ((proposal,), _) = confirmation(("size_sqrt",)).arms(Selection("mixture", ("p",)))["size_sqrt"]
    total = 10 + 3 * math.sqrt(300)
    assert proposal.weights == pytest.approx({name: math.sqrt(rows) / total for name, rows in ROWS.items()})


@pytest.mark.parametrize(
    ("chosen", "controls"),
    [
        (Selection("mixture", ("p",)), ("single_task", "random_subset", "same_tasks_equal")),
        (Selection("mixture", ("p",), {"p": 1.0}, weighting="loss"), ("single_task", "same_tasks_equal")),
        (Selection("mixture", ("c", "b", "p", "a")), ("all_tasks", "random_subset", "same_tasks_equal")),
        (Selection("mixture", ("b", "p", "a"), dict.fromkeys("bpa", 1 / 3)), ("same_tasks_equal",)),
        (Selection("mixture", tuple(ROWS), dict.fromkeys(ROWS, 0.25), weighting="loss"), ("all_tasks",)),
    ],
)
def test_what_trains_as_the_selection_does_is_not_trained_again(chosen: Selection, controls: tuple[str, ...]) -> None:
    question = confirmation(controls)
    arms = question.arms(chosen)
    assert all(is_same_arm(arms["selection"], arms[name]) for name in controls)
    assert [proposal for _, proposal in question.missing(chosen, Accounts())] == [arm for (arm,) in arms["selection"]]


def test_other_shares_rows_or_factors_are_another_training() -> None:
    (equal,) = confirmation(("all_tasks",)).arms(Selection("mixture", ("p",)))["all_tasks"][0]
    others = (
        replace(equal, weights={**equal.shares, "a": 0.3, "b": 0.2}),
        replace(equal, seed=equal.seed + 1),
        replace(equal, rows={"a": Kept({}, 100, 50, "f" * 64)}),
        replace(equal, cycle=False),
        replace(equal, weights={"a": 0.4, "p": 0.2, "b": 0.2, "c": 0.2}, weighting="loss"),
    )
    assert not any(is_same_training(equal, other) for other in others)
    assert is_same_training(equal, replace(equal, tasks=equal.tasks[::-1]))


def test_one_auxiliary_leaves_nothing_to_draw() -> None:
    two = Problem((TaskInfo("p", "classification", 100), TaskInfo("a", "classification", 300)), "p", seed=5)
    made = replace(translator({}), problem=two)
    question = Confirmation(two, 3, CONTROLS, made.execute)
    arms = question.arms(Selection("mixture", ("p", "a"), {"p": 0.75, "a": 0.25}))
    assert is_same_arm(arms["selection"], arms["random_subset"])
    assert len(list(question.missing(Selection("mixture", ("p", "a")), Accounts()))) == 2 * 3


def test_a_study_that_an_earlier_version_finished_owes_nothing() -> None:
    """Its random subsets had the shares of the sampling rule, and by default it had size_proportional."""
    made, chosen = translator({}), Selection("mixture", tuple(SHARES), SHARES)
    now = build_confirmation(ConfirmOptions(seeds=2), made.problem, made.execute)
    old = Confirmation(made.problem, 2, ("single_task", "all_tasks", "size_proportional"), made.execute)
    draws = now._arms.former(chosen)["random_subset"]
    assert all(set(p.shares.values()) == {1 / 3} and p not in now.arms(chosen)["random_subset"] for (p,) in draws)
    trained = [proposal for arm in (*old.arms(chosen).values(), draws) for (proposal,) in arm]
    accounts = proposed("confirm", *trained)
    known = now.recalling(accounts)
    assert list(known.arms(chosen)) == ["selection", "single_task", "all_tasks", "random_subset", "size_proportional"]
    assert known.arms(chosen)["random_subset"] == draws
    assert list(known.missing(chosen, accounts)) == []
    # One that was cut short goes on by the rules of now.
    cut = now.recalling(proposed("confirm", *trained[:-3]))
    assert cut.arms(chosen)["random_subset"] == now.arms(chosen)["random_subset"]


def test_controls_that_are_asked_for_by_name_are_never_replaced() -> None:
    made = translator({})
    by_size = Confirmation(made.problem, 2, ("size_proportional",), made.execute).arms(Selection("mixture", ("p",)))
    accounts = proposed("confirm", *(proposal for arm in by_size.values() for (proposal,) in arm))
    asked = ConfirmOptions(seeds=2, controls=("same_tasks_equal",))
    known = build_confirmation(asked, made.problem, made.execute).recalling(accounts)
    assert list(known.arms(Selection("mixture", ("p",)))) == ["selection", "same_tasks_equal"]


def test_the_tasks_of_a_selection_are_trained_in_the_studys_order() -> None:
    """In the transfer schedule one task after the other is trained, so an order of the selector's would be another."""
    chosen = Selection("mixture", ("b", "p", "a"), {"b": 0.3, "p": 0.5, "a": 0.2})
    ((proposal,), _) = confirmation(()).arms(chosen)["selection"]
    assert proposal.tasks == ("a", "p", "b") == tuple(proposal.shares)
    assert proposal.weights == pytest.approx({"a": 0.2, "p": 0.5, "b": 0.3})
    # An earlier version kept the selector's order: what it trained counts.
    before = replace(proposal, tasks=("b", "p", "a"))
    assert Confirmation.find(proposed("confirm", before), proposal) is not None
