"""``training.epochs``: passes over the primary's rows, what they come to in steps, and where they are said."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from auxtune.orchestrator.errors import StudyFileError
from auxtune.orchestrator.planning.context import build_problem, represent_training
from auxtune.orchestrator.planning.translate import Translator, count_whole_steps, describe_epochs
from auxtune.orchestrator.study_file.models import StudyOptions, TrainingOptions
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.selectors.protocol import Inner, Problem, Proposal, TaskInfo
from auxtune.trials.batches import TaskBatches
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.tokens import EncodedSplit

pytestmark = pytest.mark.arithmetic

STUDY = """
study: x
primary: p
tasks: {p: {path: p}, a: {path: a}, b: {path: b}}
selector: all_tasks
training: {TRAINING}
budget: {trials: 40}
"""
ROWS = {"p": 70, "a": 900, "b": 9}
PROBLEM = Problem(tuple(TaskInfo(name, "classification", rows) for name, rows in ROWS.items()), "p")


def options(training: str, *overrides: str) -> StudyOptions:
    return parse_study(STUDY.replace("TRAINING", training), "study.yaml", Path(), overrides).options


def steps(training: str, **weights: float) -> int:
    translator = Translator(options(training), ModelOptions(), PROBLEM)
    return translator.recipe(translator.execute(Proposal(tuple(weights), weights)), "search").steps


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ("epochs: 1, batch_size: 32", 3),  # 32, 32 and 6 rows
        ("epochs: 3, batch_size: 32", 9),
        ("epochs: 0.5, batch_size: 32", 2),
        ("epochs: 0.001, batch_size: 32", 1),
        ("epochs: 3, batch_size: 32, accumulate: 2", 5),
        ("epochs: 2, batch_size: 70", 2),
        ("epochs: 2, batch_size: 500", 2),
        ("steps: 50", 50),
        ("batch_size: 32", 600),
    ],
)
def test_alone_the_primary_takes_as_many_steps_as_its_passes(given: str, expected: int) -> None:
    assert count_whole_steps(options(given).training, PROBLEM) == expected == steps(given, p=1.0)


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 70])
def test_so_many_batches_hold_every_row_once(rows: int) -> None:
    split = EncodedSplit(np.zeros(rows, np.int32), np.zeros(rows, np.uint8), np.arange(rows + 1), np.zeros(rows, int))
    batches, count = (
        TaskBatches("p", split, 32, 0),
        count_whole_steps(TrainingOptions(epochs=1), Problem((TaskInfo("p", "classification", rows),), "p")),
    )
    seen = np.concatenate([batches.next_rows() for _ in range(count)])
    assert sorted(seen) == list(range(rows)) and batches.epoch == 0


def test_beside_auxiliaries_the_primary_passes_as_often_at_its_share() -> None:
    assert steps("epochs: 4, batch_size: 35", p=1.0) == 8
    assert steps("epochs: 4, batch_size: 35", p=0.5, a=0.5) == 16
    assert steps("epochs: 4, batch_size: 35", p=0.25, a=0.5, b=0.25) == 32
    assert steps("epochs: 4, batch_size: 35, match: primary_examples", p=0.5, a=0.5) == 16


def test_with_match_steps_all_trainings_are_as_long_as_the_primarys_alone() -> None:
    assert steps("epochs: 4, batch_size: 35, match: steps", p=0.5, a=0.5) == 8


@pytest.mark.parametrize(
    ("training", "examples", "primary_examples"),
    [
        ("steps: 50, batch_size: 16, accumulate: 2", 1600, None),
        ("epochs: 4, batch_size: 35, match: steps", 280, None),
        ("epochs: 4, batch_size: 35", None, 280),
        ("steps: 50, batch_size: 16, match: primary_examples", None, 800),
    ],
)
def test_a_selector_knows_how_many_examples_a_training_sees(
    training: str, examples: int | None, primary_examples: int | None
) -> None:
    study = parse_study(STUDY.replace("TRAINING", training), "study.yaml", Path(), ())
    splits = {name: {"train": range(rows), "probe": (), "validation": ()} for name, rows in ROWS.items()}
    tasks: dict[str, Any] = {
        name: SimpleNamespace(name=name, kind="classification", splits=parts, inputs="")
        for name, parts in splits.items()
    }
    problem = build_problem(study, tasks)
    assert (problem.examples, problem.primary_examples) == (examples, primary_examples)


def test_what_steers_itself_keeps_its_own_length() -> None:
    translator = Translator(options("epochs: 4, batch_size: 35"), ModelOptions(), PROBLEM)
    steered = Proposal(("p", "a"), inner=Inner("thompson_rounds", {}, 0, rounds=7, round_steps=3))
    assert translator.steps(steered) == 21


@pytest.mark.parametrize(
    ("training", "change", "said"),
    [
        ("epochs: 3, steps: 20", (), "expected either `steps` or `epochs`, found both"),
        ("steps: 20", ("training.epochs=3",), "expected either `steps` or `epochs`, found both"),
        ("epochs: 0", (), "expected a number > 0 or null, found 0"),
        (
            "epochs: 3",
            ("primary=null", "objective=groups", "models=2", "selector=tag", "confirm.leave_one_out=false"),
            "counts passes over the rows of a `primary`, and groups have none",
        ),
    ],
)
def test_what_cannot_be_meant_is_refused_at_its_key(training: str, change: tuple[str, ...], said: str) -> None:
    with pytest.raises(StudyFileError) as caught:
        options(training, *change)
    [mistake] = caught.value.mistakes
    assert mistake.key == "training.epochs" and said in str(caught.value)


def test_what_it_comes_to_is_said() -> None:
    def words(training: str) -> str | None:
        return describe_epochs(options(training).training, PROBLEM)

    assert words("steps: 5") is None
    assert words("epochs: 4, batch_size: 35") == (
        "epochs: 4 times over the 70 training rows of p is 8 steps where it is trained alone; beside auxiliaries it "
        "gets as many at its share, so at a half a trial takes 16 steps"
    )
    assert "beside auxiliaries 8 steps too (`match: steps`)" in str(words("epochs: 4, batch_size: 35, match: steps"))
    assert str(words("epochs: 1")).startswith("epochs: once over the 70 training rows of p is 3 steps")


def test_studies_that_count_in_steps_mean_what_they_meant_before() -> None:
    assert "epochs" not in represent_training(options("steps: 5").training)
    assert represent_training(options("epochs: 2.5").training)["epochs"] == 2.5
