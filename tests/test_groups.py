"""Groups, by hand calculation: which models an arm trains, who serves which task, and what that is worth."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from auxtune.orchestrator.answer.answer import Group
from auxtune.orchestrator.answer.lift import estimate_mean_lift, estimate_paired_lift
from auxtune.orchestrator.answer.serving import assign_tasks, form_groups
from auxtune.orchestrator.errors import BudgetTooSmall, SelectorError
from auxtune.orchestrator.planning.arms import is_same_arm
from auxtune.orchestrator.planning.budget import check_budget, confirm_trials
from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Event, Opened, Proposed, Started, Told
from auxtune.orchestrator.study_file.models import CONTROLS
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.selectors.protocol import Measure, Outcome, Problem, Proposal, Selection, TaskInfo
from auxtune.trials.metrics import Predictions
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.result import Cost

ROWS = {"d": 300, "a": 100, "c": 300, "b": 300}  # in no order of their names
SPENT = Cost(10.0, 0.0, 10.0)
STUDY = """
study: x
objective: groups
models: 2
tasks: {d: {path: d}, a: {path: a}, c: {path: c}, b: {path: b}}
training: {steps: 60}
selector: {name: random_groups, groupings: 2}
confirm: {seeds: 4}
budget: {trials: 90}
seed: 5
"""


def problem(models: int = 2, rows: Mapping[str, int] = ROWS) -> Problem:
    return Problem(tuple(TaskInfo(n, "classification", r) for n, r in rows.items()), None, seed=5, models=models)


def translator(*overrides: str, models: int = 2, rows: Mapping[str, int] = ROWS) -> Translator:
    study = parse_study(STUDY, "study.yaml", Path(), overrides)
    return Translator(study.options, ModelOptions(), problem(models, rows))


def confirmation(controls: tuple[str, ...] = CONTROLS, seeds: int = 3, models: int = 2) -> Confirmation:
    return Confirmation(problem(models), seeds, controls, translator(models=models).execute)


def groups(*each: str, serves: tuple[str, ...] | None = None) -> Selection:
    """Groups of tasks with names of one letter; each serves all of its tasks unless told otherwise."""
    served_by = serves if serves is not None else each
    answers = tuple({"tasks": [*g], "serves": [*s]} for g, s in zip(each, served_by, strict=True))
    return Selection("groups", groups=answers)


def members(trainings: tuple[Proposal, ...]) -> list[str]:
    return ["".join(proposal.tasks) for proposal in trainings]


# What an arm trains


def test_an_arm_trains_a_model_per_group_and_every_control_its_own_number() -> None:
    controls = ("single_task", "all_tasks", "size_proportional", "size_sqrt", "random_subset", "same_tasks_equal")
    arms = confirmation(controls).arms(groups("bad", "cb", serves=("ad", "cb")))
    assert [members(trainings) for trainings in arms["selection"]] == [["dab", "cb"]] * 3  # in the study's order
    assert members(arms["single_task"][0]) == ["d", "a", "c", "b"]
    assert members(arms["all_tasks"][0]) == members(arms["size_proportional"][0]) == ["dacb"]
    (by_size,) = arms["size_proportional"][0]
    assert by_size.weights == {"d": 0.3, "a": 0.1, "c": 0.3, "b": 0.3} and not by_size.cycle
    assert is_same_arm(arms["selection"], arms["same_tasks_equal"])  # the sampling rule is equal shares
    assert not is_same_arm(arms["selection"], arms["random_subset"])
    for seed in range(3):
        assert len({proposal.seed for trainings in arms.values() for proposal in trainings[seed]}) == 1
    made = translator()
    assert {made.steps(proposal) for arm in arms.values() for trainings in arm for proposal in trainings} == {60}


def test_equal_shares_of_the_same_groups_differ_where_the_sampling_rule_has_others() -> None:
    made = translator("training.sampling=proportional")
    question = Confirmation(problem(), 2, ("same_tasks_equal",), made.execute)
    arms = question.arms(groups("da", "cb"))
    assert [members(trainings) for trainings in arms["same_tasks_equal"]] == [["da", "cb"]] * 2
    assert [model.weights for model in arms["same_tasks_equal"][0]] == [{"d": 0.5, "a": 0.5}, {"c": 0.5, "b": 0.5}]
    assert arms["selection"][0][0].weights == {"d": 0.75, "a": 0.25}
    assert not is_same_arm(arms["selection"], arms["same_tasks_equal"])
    assert len(question.left(Accounts())) == 2 * (2 + 2)


def test_random_groups_are_as_many_as_large_and_as_overlapping_and_have_every_task() -> None:
    chosen = groups("dac", "cb", "b", serves=("da", "c", "b"))
    arm = confirmation(("random_subset",), seeds=100, models=3).arms(chosen)["random_subset"]
    for trainings in arm:
        drawn = members(trainings)
        assert [len(group) for group in drawn] == [3, 2, 1]
        times = Counter("".join(drawn))
        assert set(times) == set("dacb") and sorted(times.values()) == [1, 1, 2, 2]
    # 24 ways to shuffle four names, but two of them are in the same groups: 12 groupings, each of equal chance.
    assert len({tuple(members(trainings)) for trainings in arm}) == 12
    assert confirmation(("random_subset",), seeds=100, models=3).arms(chosen)["random_subset"] == arm


def test_equal_trainings_of_different_arms_are_trained_once() -> None:
    question, chosen = confirmation(("single_task", "all_tasks"), seeds=2), groups("dac", "b")
    arms = question.arms(chosen)
    assert arms["selection"][1][1] == arms["single_task"][1][3]  # b alone
    missing = [proposal for _, proposal in question.missing(chosen, Accounts())]
    assert len(missing) == 2 * (2 + 4 + 1 - 1)
    assert [proposal.seed for proposal in missing] == sorted((p.seed for p in missing), key=missing[0].seed.__ne__)


def test_a_group_that_serves_nothing_is_not_trained_and_one_given_twice_is_one() -> None:
    arms = confirmation((), models=2).arms(groups("da", "cb", "dc", "ad", serves=("d", "cb", "", "a")))
    assert members(arms["selection"][0]) == ["da", "cb"]


@pytest.mark.parametrize(
    ("chosen", "said"),
    [
        (groups("da", "cb", serves=("da", "c")), "b in none"),
        (groups("da", "cb", serves=("dab", "c")), "'serves': \\['d', 'a', 'b'\\]"),
        (groups("d", "a", "cb"), "at most 2 groups"),
        (Selection("mixture", ("d", "a", "c", "b")), "d, a, c, b in none"),
    ],
)
def test_what_is_no_answer_is_refused(chosen: Selection, said: str) -> None:
    with pytest.raises(SelectorError, match=said):
        confirmation().arms(chosen)


def test_no_task_is_rounded_out_of_its_group() -> None:
    made = translator("training.sampling=proportional", rows={**ROWS, "a": 1})
    trained = made.execute(Proposal(("d", "a")))
    assert trained.tasks == ("d", "a") and not trained.cycle
    assert trained.weights == {"d": pytest.approx(300 / 301), "a": pytest.approx(1 / 301)}
    assert made.execute(Proposal(("d", "c"))).cycle


def test_no_task_is_rounded_out_of_what_is_measured() -> None:
    """With a primary as well: a joint run must tell of all tasks that it was asked about."""
    made = translator("training.sampling=proportional", rows={**ROWS, "a": 1})
    primary = replace(made, problem=replace(made.problem, primary="d"))
    measured = Proposal(("d", "a"), measure=(Measure("lookahead"),))
    assert primary.execute(replace(measured, measure=())).tasks == ("d",)
    assert primary.execute(measured).tasks == ("d", "a") and not primary.execute(measured).cycle


def test_a_model_is_scored_and_reported_on_all_its_tasks() -> None:
    made = translator()
    recipe = made.recipe(made.execute(Proposal(("d", "c"))), "confirm")
    assert recipe.evaluate == recipe.test == ("d", "c")
    assert made.recipe(made.execute(Proposal(("d", "c"))), "search").test == ()


# What it takes


@pytest.mark.parametrize("models", [1, 2, 4, 9])
def test_confirm_is_held_back_and_counted_at_its_most(models: int) -> None:
    most = min(models, 4)  # more models than tasks would serve nothing
    options = parse_study(STUDY, "study.yaml", Path(), (f"models={models}",)).options
    held = confirmation(seeds=4, models=models).left(Accounts())
    assert confirm_trials(options) == len(held) == 4 * (most + 4 + 1 + most)  # equal shares are the same training
    arms = confirmation(seeds=4, models=models).arms(groups(*"dacb"[: most - 1], "dacb"[most - 1 :]))
    assert sum(len(trainings) for arm in arms.values() for trainings in arm) == len(held) + 4 * most
    other = parse_study(STUDY, "study.yaml", Path(), (f"models={models}", "training.sampling=size^0.5")).options
    held = Confirmation(problem(models), 4, CONTROLS, translator("training.sampling=size^0.5").execute).left(Accounts())
    assert confirm_trials(other) == len(held) == 4 * (most + 4 + 1 + most + most)


def test_a_budget_below_confirm_is_refused_with_its_models() -> None:
    options = parse_study(STUDY, "study.yaml", Path(), ("budget.trials=35",)).options
    with pytest.raises(BudgetTooSmall, match=r"takes 36 \(4 seeds × 9 models in 5 arms\) .* set it to 36 .* models$"):
        check_budget(options, fewest=0)


# Who serves which task


def account(*trained: tuple[Proposal, dict[str, float] | None]) -> Accounts:
    """Confirm trials with their accuracies on the validation split; ``None``: it failed."""
    opened = Opened(
        session="s",
        time=0.0,
        study="",
        overrides=(),
        study_folder="",
        working_folder="",
        problem=problem(),
        fingerprint={},
        versions={},
    )
    events: list[Event] = [opened]
    for number, (proposal, scores) in enumerate(trained):
        outcome = Outcome(None, why="error")
        if scores is not None:
            outcome = Outcome(0.5, {task: {"accuracy": score} for task, score in scores.items()})
        events.append(Proposed(id=number, time=0.0, proposal=proposal, phase="confirm", after=0))
        events.append(Started(id=number, attempt=1, time=0.0, session="s"))
        events.append(Told(id=number, attempt=1, time=1.0, outcome=outcome, cost=SPENT))
    return Accounts(events)


ACCURACY = dict.fromkeys(ROWS, "accuracy")
ARM = confirmation((), seeds=2).arms(groups("dac", "acb"))["selection"]


def test_each_seed_serves_by_its_own_scores_and_the_answer_by_their_mean() -> None:
    (left, right), (other_left, other_right) = ARM
    accounts = account(
        (left, {"d": 0.5, "a": 0.9, "c": 0.7}),
        (right, {"a": 0.8, "c": 0.7, "b": 0.4}),
        (other_left, {"d": 0.5, "a": 0.3, "c": 0.5}),
        (other_right, {"a": 0.6, "c": 0.8, "b": 0.4}),
    )
    first, second = (assign_tasks(accounts, trainings, ACCURACY) for trainings in ARM)
    assert {task: trial.id for task, trial in first.items()} == {"d": 0, "a": 0, "c": 0, "b": 1}  # c: a tie
    assert {task: trial.id for task, trial in second.items()} == {"d": 2, "a": 3, "c": 3, "b": 3}
    assert form_groups(accounts, ARM, ACCURACY) == (  # a: 0.6 on the left, 0.7 on the right; c: 0.6 and 0.75
        Group(("d", "a", "c"), ("d",)),
        Group(("a", "c", "b"), ("a", "c", "b")),
    )


def test_where_a_model_failed_another_serves_if_it_can() -> None:
    accounts = account((ARM[0][0], None), (ARM[0][1], {"a": 0.1, "c": 0.2, "b": 0.3}))
    assert {task: trial.id for task, trial in assign_tasks(accounts, ARM[0], ACCURACY).items()} == {
        "a": 1,
        "c": 1,
        "b": 1,
    }
    assert form_groups(accounts, ARM, ACCURACY)[0] == Group(("d", "a", "c"), ("d",))  # nobody else has it


# Lift


def answers(labels: np.ndarray, accuracy: float, seed: int) -> Predictions:
    wrong = np.random.default_rng(seed).random(len(labels)) >= accuracy
    return Predictions(labels, np.where(wrong, 1 - labels, labels), np.arange(len(labels)))


LABELS = {name: np.random.default_rng(rows).integers(2, size=rows) for name, rows in (("a", 800), ("b", 200))}
TWO = {"a": "accuracy", "b": "accuracy"}


def test_identical_seeds_leave_only_the_doubt_of_every_tasks_own_rows() -> None:
    pair = {name: (answers(LABELS[name], 0.8, 1), answers(LABELS[name], 0.7, 2)) for name in TWO}
    lift = estimate_mean_lift(TWO, [pair] * 4, models=2, seed=0)
    assert lift is not None and lift.high is not None and (lift.metric, lift.models, lift.seeds) == ("mean", 2, 4)
    per_row = {n: (a.predictions == a.labels).astype(float) - (b.predictions == b.labels) for n, (a, b) in pair.items()}
    assert lift.mean == pytest.approx(np.mean([rows.mean() for rows in per_row.values()]))
    errors = [rows.std() / np.sqrt(len(rows)) for rows in per_row.values()]
    assert lift.high - lift.mean == pytest.approx(1.96 * np.hypot(*errors) / 2, rel=0.1)
    for name, (ours, theirs) in pair.items():
        assert lift.tasks[name] == estimate_paired_lift("accuracy", [ours] * 4, [theirs] * 4, seed=0)


def test_rows_without_doubt_leave_only_the_spread_of_the_seeds_means() -> None:
    ones, rows = np.ones(400, dtype=int), np.arange(400)
    right, wrong = Predictions(ones, ones, rows), Predictions(ones, ones * 0, rows)
    won, lost = (right, wrong), (wrong, wrong)
    pairs = [{"a": won, "b": lost}, {"a": lost, "b": won}, {"a": won, "b": won}, {"a": won, "b": lost}]
    lift = estimate_mean_lift(TWO, pairs, models=1, seed=0)
    assert lift is not None and lift.high is not None
    assert lift.mean == pytest.approx(np.mean([0.5, 0.5, 1, 0.5]))
    half = stats.t.ppf(0.975, 3) * np.std([0.5, 0.5, 1, 0.5], ddof=1) / 2
    assert lift.high - lift.mean == pytest.approx(half)
    assert (lift.tasks["a"].mean, lift.tasks["b"].mean) == (0.75, 0.5)


def test_the_mean_is_over_seeds_that_have_every_task_and_a_tasks_own_over_those_that_have_it() -> None:
    pair = {name: (answers(LABELS[name], 0.8, 1), answers(LABELS[name], 0.7, 2)) for name in TWO}
    lift = estimate_mean_lift(TWO, [pair, pair, {"b": pair["b"]}], models=1, seed=0)
    assert lift is not None
    assert (lift.seeds, lift.tasks["a"].seeds, lift.tasks["b"].seeds) == (2, 2, 3)
    assert lift.low is None and lift.tasks["b"].low is not None
    assert estimate_mean_lift(TWO, [{"b": pair["b"]}], models=1, seed=0) is None
