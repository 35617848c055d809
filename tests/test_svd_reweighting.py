"""SVD reweighting: which inputs it takes, what it makes of labels, and how its factors reach the losses."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.errors import SelectorError
from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.planning.context import build_problem, count_fewest_trials
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.views.progress import describe_mixture
from auxtune.orchestrator.views.summary import _build_shares_table
from auxtune.orchestrator.views.terminal import render_terminal
from auxtune.selectors.methods.svd_reweighting import SVDReweighting
from auxtune.selectors.protocol import Measure, Outcome, Problem, Proposal, TaskInfo
from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import load_tasks
from auxtune.trials.recipe import ModelOptions


def problem(names, primary="p", inputs="same"):
    return Problem(tuple(TaskInfo(name, "classification", 100, inputs=inputs) for name in names), primary, seed=4)


def answer(moments, selector=None, failed=()):
    """The selection once ``moments``, task -> θ (width, columns), are known."""
    selector = selector or SVDReweighting()
    state, number = selector.start(problem(tuple(moments))), 0
    while isinstance(asked := selector.propose(state, {}), Proposal):
        assert not asked.trains and asked.measure == (Measure("label_moments"),) and asked.seed == 4
        state = selector.proposed(state, number, asked)
        (task,) = asked.tasks
        outcome = Outcome(None, why="error") if task in failed else Outcome(0.5, evidence={"label_moments": task})
        state = selector.told(state, number, outcome)
        number += 1
    assert number == len(moments) == selector.fewest(problem(tuple(moments)))
    return selector.select(state, {task: {"moments": np.array(held, float)} for task, held in moments.items()})


def test_weights_are_in_proportion_to_alpha_and_are_factors_of_losses():
    selection = answer({"p": [[1], [0], [0]], "a": [[1], [0], [0]], "b": [[0], [0.5], [0]]}, SVDReweighting(r=2))
    assert selection.belief["alpha"] == pytest.approx({"p": 1.0, "a": 1.0, "b": 0.5})
    assert selection.weighting == "loss"
    assert selection.weights == pytest.approx({"p": 0.4, "a": 0.4, "b": 0.2})


def test_a_task_that_goes_its_own_way_weighs_nothing_where_one_direction_is_shared():
    selection = answer({"p": [[3], [0]], "a": [[0], [1]]}, SVDReweighting(r=1))
    assert selection.weights == pytest.approx({"p": 1.0, "a": 0.0})


def test_the_weight_of_several_columns_is_their_root_mean_square():
    selection = answer({"p": [[3, 0], [0, 4]], "a": [[0], [1]]}, SVDReweighting(r=2))
    assert selection.belief["alpha"] == pytest.approx({"p": np.sqrt((9 + 16) / 2), "a": 1.0})


def test_two_columns_of_opposite_sign_count_as_the_one_they_are():
    theta = np.random.default_rng(0).normal(size=(6, 4))
    once = answer({name: theta[:, [i]] for i, name in enumerate("pabc")})
    twice = answer({name: theta[:, [i, i]] * [1, -1] for i, name in enumerate("pabc")})
    assert twice.weights == pytest.approx(dict(once.weights))
    projected = answer({name: theta[:, [i]] for i, name in enumerate("pabc")}, SVDReweighting(r=2))
    assert once.weights == pytest.approx(dict(projected.weights)), "by default half of the rank, here of 4"


def test_a_task_that_was_not_measured_counts_like_the_mean():
    selection = answer({"p": [[3], [0]], "a": [[0], [1]], "b": [[5], [5]]}, SVDReweighting(r=2), failed=("b",))
    assert selection.weights == pytest.approx({"p": 0.5, "a": 1 / 6, "b": 1 / 3})
    assert selection.belief["not_measured"] == ["b"]
    nothing = answer({"p": [[3]], "a": [[1]]}, failed=("p", "a"))
    assert nothing.weights == {"p": 0.5, "a": 0.5}


def test_labels_that_say_nothing_weigh_alike():
    assert answer({"p": [[0], [0]], "a": [[0], [0]]}).weights == {"p": 0.5, "a": 0.5}


def test_tasks_with_different_inputs_are_refused_with_the_reason():
    asked = problem(("p", "a", "b"))
    odd = replace(asked, tasks=(*asked.tasks[:2], replace(asked.tasks[2], inputs="others")))
    with pytest.raises(ValueError, match="same training rows in the same order, and those of b are not p's; label"):
        SVDReweighting().start(odd)


def options(tasks, **training):
    return StudyOptions.model_validate(
        {
            "study": "x",
            "primary": "p",
            "tasks": {name: {"builtin": "mood"} for name in tasks},
            "selector": "svd_reweighting",
            "training": {"steps": 40, **training},
            "budget": {"trials": 99},
        }
    )


def shared_file(folder: Path) -> Path:
    rng = np.random.default_rng(0)
    lines = [
        {
            "text": f"words {i} {rng.integers(9)}",
            "good": int(rng.integers(2)),
            "long": int(rng.integers(3)),
            "tags": [f"t{k}" for k in range(4) if rng.random() < 0.5],
        }
        for i in range(1200)
    ]
    (folder / "rows.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    return folder / "rows.jsonl"


def test_columns_of_one_file_are_tasks_with_the_same_inputs(tmp_path: Path):
    path = shared_file(tmp_path)
    columns = {"p": ("good", "classification"), "long": ("long", "classification"), "tags": ("tags", "multi_label")}
    sources = [
        TaskSource(name, path=path, text=("text",), label=column, kind=kind) for name, (column, kind) in columns.items()
    ]
    tasks = load_tasks(sources)
    study = StudyFile(options(columns), text="", path=path, folder=tmp_path, working_folder=tmp_path)
    asked = build_problem(study, tasks)
    assert asked.tasks[0].inputs and len({task.inputs for task in asked.tasks}) == 1
    assert count_fewest_trials(options(columns), asked) == 3
    fewer = load_tasks([*sources[:2], replace(sources[2], rows=300)])
    with pytest.raises(SelectorError, match=r"selector svd_reweighting: .* those of tags are not p's"):
        count_fewest_trials(options(columns), build_problem(study, fewer))


def test_factors_are_one_on_average_and_every_arm_of_confirm_keeps_them():
    names = ("p", "a", "b")
    selection = answer({"p": [[2], [0]], "a": [[1], [0]], "b": [[1], [0]]}, SVDReweighting(r=1))
    translator = Translator(options(names), ModelOptions(), problem(names))
    confirmation = Confirmation(problem(names), 1, ("all_tasks",), translator.execute, leave_one_out=True)
    arms = confirmation.arms(selection)
    recipes = {name: translator.recipe(arm[0][0], "confirm") for name, arm in arms.items()}
    chosen = recipes["selection"]
    assert chosen.loss_weights == pytest.approx({"p": 1.5, "a": 0.75, "b": 0.75})
    assert chosen.shares == pytest.approx({"p": 1 / 3, "a": 1 / 3, "b": 1 / 3})
    assert chosen.cycle == {"p": 1, "a": 1, "b": 1}
    assert recipes["without a"].loss_weights == pytest.approx({"p": 4 / 3, "b": 2 / 3})
    assert recipes["all_tasks"].loss_weights is None
    assert describe_mixture(arms["selection"][0][0]) == "p ×1.50 + a ×0.75 + b ×0.75"


def test_a_summary_shows_factors_and_not_shares():
    answer = Answer(primary="p", weights={"p": 0.75, "a": 0.25}, weighting="loss")
    with (console := Console(width=80)).capture() as shown:
        console.print(render_terminal([_build_shares_table(answer)]))
    assert "factor of the loss" in shown.get() and "1.50" in shown.get() and "%" not in shown.get()


def test_matched_examples_count_steps_and_not_factors():
    names = ("p", "a")
    translator = Translator(options(names, match="primary_examples"), ModelOptions(), problem(names))
    weighed = Proposal(names, {"p": 0.9, "a": 0.1}, weighting="loss")
    assert translator.steps(translator.execute(weighed)) == 80


def test_label_columns_of_one_file_are_of_the_same_rows_and_those_of_another_are_not(tmp_path: Path) -> None:
    """Each class column divides its rows for itself, but what one holds out no other trains on."""
    rng = np.random.default_rng(0)
    for name in ("one", "other"):
        lines = [f"{name} {row},{rng.integers(2)},{rng.integers(3)},{rng.random():.3f}" for row in range(400)]
        (tmp_path / f"{name}.csv").write_text("\n".join(["text,a,b,c", *lines]) + "\n")
    columns = [TaskSource(name, path=tmp_path / "one.csv", text=("text",), label=name) for name in "abc"]
    assert len({task.inputs for task in load_tasks(columns).values()}) == 1
    other = TaskSource("d", path=tmp_path / "other.csv", text=("text",), label="a")
    assert len({task.inputs for task in load_tasks([*columns, other]).values()}) == 2
