"""A transfer: the sources are trained first, then the primary alone, each with a learning rate of its own."""

from __future__ import annotations

import dataclasses
import itertools
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from synthetic_tasks import BASE, RECIPE, TASKS, finish, start

from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.study_file.rules import check_rules
from auxtune.selectors.protocol import Continuation, Inner, Measure, Problem, Proposal, TaskInfo
from auxtune.trials.batches import build_schedule
from auxtune.trials.recipe import ModelOptions, Recipe
from auxtune.trials.train_step import compute_learning_rate

pytestmark = pytest.mark.arithmetic

TRANSFER = dataclasses.replace(RECIPE, source_tasks=("share.of", "tags"), steps=24)  # sign has half of the steps
STUDY: dict[str, Any] = {
    "study": "x",
    "primary": "p",
    "tasks": {name: {"builtin": name} for name in "apb"},
    "selector": "random_subset",
    "training": {"steps": 80, "schedule": "transfer"},
    "budget": {"trials": 99},
}


def order(recipe: Recipe, interrupted: int | None = None) -> list[str]:
    """The task of every step; ``interrupted`` says after which one the schedule was saved and loaded."""
    schedule, tasks = build_schedule(recipe), []
    for step in range(recipe.steps):
        if step == interrupted:
            saved = json.loads(json.dumps(schedule.save()))
            schedule = build_schedule(recipe)
            schedule.load(saved)
        tasks.append(schedule.next_task())
    return tasks


def translator(**training: object) -> Translator:
    options = StudyOptions.model_validate({**STUDY, "training": {**STUDY["training"], **training}})
    tasks = tuple(TaskInfo(name, "classification", 100) for name in "apb")
    return Translator(options, ModelOptions(), Problem(tasks, "p"))


@pytest.mark.parametrize("interrupted", [None, 1, 11, 12, 13, 23])
def test_the_sources_take_their_share_of_the_steps_and_the_rest_is_the_primarys(interrupted: int | None) -> None:
    tasks = order(TRANSFER, interrupted)
    assert tasks == ["share.of", "tags"] * 6 + ["sign"] * 12


def test_drawn_tasks_keep_to_their_phase() -> None:
    drawn = dataclasses.replace(TRANSFER, cycle=None, steps=400)
    tasks = order(drawn)
    assert set(tasks[:200]) == {"share.of", "tags"} and set(tasks[200:]) == {"sign"}
    assert 60 < tasks.count("tags") < 140  # half of 200, give or take 5 standard deviations
    assert tasks == order(drawn, interrupted=150)


@pytest.mark.parametrize(
    ("share", "steps", "turn"), [(0.5, 24, 12), (0.25, 10, 8), (0.01, 10, 9), (1.0, 10, 0), (0.5, 1, 0)]
)
def test_the_primary_has_at_least_the_last_step(share: float, steps: int, turn: int) -> None:
    shares = {"sign": share, "tags": 1 - share}
    recipe = dataclasses.replace(RECIPE, tasks=tuple(shares), shares=shares, source_tasks=("tags",), steps=steps)
    assert recipe.transfer_step == turn
    assert dataclasses.replace(recipe, source_tasks=()).transfer_step == 0


def test_the_learning_rate_of_a_fine_tuning_rises_and_falls_anew() -> None:
    shares = {"a": 0.5, "p": 0.5}
    recipe = Recipe(("a", "p"), shares, ("p",), source_tasks=("a",), steps=20, warmup=0.2, learning_rate=1.0)
    alone = dataclasses.replace(recipe, source_tasks=(), steps=10)
    once = [compute_learning_rate(alone, step) for step in range(10)]
    assert [compute_learning_rate(recipe, step) for step in range(20)] == once + once


def test_nothing_is_scored_before_the_primary_was_trained(tmp_path: Path) -> None:
    run = start(TRANSFER, tmp_path)
    seen = []
    while not run.finished:
        run.advance()
        seen += [] if run.score is None else [run.step]
    assert seen == [16, 20, 24]  # of every fourth step, and the turn is at 12
    report = run.result()
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    assert [line["step"] for line in lines] == seen and report.best_step in seen
    assert set(lines[0]["loss"]) == set(TASKS) and set(lines[1]["loss"]) == {"sign"}


def test_each_phase_trains_its_own_heads_and_the_encoder(tmp_path: Path) -> None:
    run = start(TRANSFER, tmp_path)

    def parts() -> dict[str, torch.Tensor]:
        state = run._train_step.model.state_dict()
        word = state["encoder.module.embeddings.word_embeddings.weight"]
        return {"encoder": word.clone(), **{n: state[f"heads.{i}.linear.weight"].clone() for i, n in enumerate(TASKS)}}

    at = [parts()]
    for end in (12, 24):
        while run.step < end:
            run.advance()
        at.append(parts())
    changed = [{name for name in TASKS if not torch.equal(a[name], b[name])} for a, b in itertools.pairwise(at)]
    assert changed == [{"share.of", "tags"}, {"sign"}]
    assert not torch.equal(at[1]["encoder"], at[2]["encoder"])


def test_the_fine_tuning_begins_without_the_moments_of_the_sources(tmp_path: Path) -> None:
    run = start(TRANSFER, tmp_path)
    while run.step < 13:
        run.advance()
    assert {float(state["step"]) for state in run._train_step.optimiser.state.values()} == {1.0}


def test_a_task_alone_is_trained_as_ever(tmp_path: Path) -> None:
    asked = Proposal(("p",), {"p": 1.0})
    assert translator().recipe(asked, "search") == translator(schedule="joint").recipe(asked, "search")


def test_a_study_fine_tunes_its_primary_last() -> None:
    made = translator()
    executed = made.execute(Proposal(("a", "p", "b")))
    recipe = made.recipe(executed, "confirm")
    assert recipe.source_tasks == ("a", "b") and recipe.evaluate == ("p",)
    assert recipe.transfer_step == round(80 * 2 / 3)
    assert order(recipe)[recipe.transfer_step :] == ["p"] * (80 - recipe.transfer_step)
    assert translator(schedule="joint").recipe(executed, "confirm").source_tasks == ()


@pytest.mark.parametrize(
    "proposal",
    [
        Proposal(("a", "p"), inner=Inner("beta_bandit", {}, 0, rounds=4, round_steps=5)),
        Proposal(("a", "p"), continuation=Continuation(20)),
        Proposal(("a", "p"), measure=(Measure("lookahead"),)),
    ],
    ids=["steered", "leg", "measured"],
)
def test_what_steers_or_measures_a_run_trains_jointly(proposal: Proposal) -> None:
    assert translator().recipe(proposal, "search").source_tasks == ()


def test_matched_examples_of_the_primary_are_all_in_the_second_phase() -> None:
    made = translator(match="primary_examples")
    recipe = made.recipe(made.execute(Proposal(("a", "p", "b"))), "search")
    assert recipe.steps - recipe.transfer_step == 80


@pytest.mark.parametrize(
    ("first", "message"),
    [
        (("sign",), "recipe.source_tasks: expected tasks that are not evaluated, found 'sign'"),
        (("other",), "recipe.source_tasks: expected some of sign, share.of, tags, found 'other'"),
    ],
)
def test_a_transfer_without_a_target_is_refused(first: tuple[str, ...], message: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=message):
        start(dataclasses.replace(RECIPE, source_tasks=first), tmp_path)


def test_a_study_without_a_primary_cannot_transfer() -> None:
    groups = {**STUDY, "primary": None, "objective": "groups", "models": 2}
    found = dict(check_rules(groups))
    assert "needs a `primary`" in found["training", "schedule"]
    stopped = {**STUDY, "training": {"schedule": "transfer", "early_stopping": "asha"}}
    assert [key for key, _ in check_rules(stopped)] == [("training", "early_stopping")]
    assert not list(check_rules(STUDY))


def test_only_the_primary_is_aligned(tmp_path: Path) -> None:
    recipe = dataclasses.replace(TRANSFER, model=dataclasses.replace(RECIPE.model, alignment="covariance"))
    run = start(recipe, tmp_path, base=BASE)
    finish(run)
    names = {name for name in run._train_step.model.state_dict() if name.startswith("alignments.")}
    assert names == {f"alignments.{list(TASKS).index('sign')}"}
