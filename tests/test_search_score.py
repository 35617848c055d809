"""``search_score``: what a search is told, of the metric or of the loss, and what stays with the metric."""

from __future__ import annotations

import dataclasses
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest
from mlflow.tracking import MlflowClient
from small_study import StudyRun
from synthetic_tasks import RECIPE, TASKS, Follow, finish, single, start
from test_multi_label import words_task
from test_training import equal, lines, weights

from auxtune.orchestrator.planning.context import compute_fingerprint, find_drift
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import read_event, write_event
from auxtune.orchestrator.record.results import locate_attempt, read_result
from auxtune.orchestrator.record.scores import describe_value, label_values, name_value, show_value, sign_of_outcome
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.orchestrator.views.belief import describe_grounds
from auxtune.selectors.beliefs import BestDrawn, Expectation
from auxtune.selectors.kit.networks import NetworkRuns
from auxtune.selectors.protocol import Network, Outcome, Problem, Proposal, TaskInfo
from auxtune.trials.data import IGNORED, Kind
from auxtune.trials.encoder import load_base
from auxtune.trials.evaluation import Evaluation
from auxtune.trials.losses import compute_constant_loss, score_losses
from auxtune.trials.recipe import ModelOptions, describe_run
from auxtune.trials.tokens import EncodedSplit, EncodedTask
from auxtune.trials.training import Progress

pytestmark = pytest.mark.arithmetic

ALL = {**TASKS, "words": words_task()}
BY_LOSS = dataclasses.replace(RECIPE, search_score="loss")
BASE = load_base(ModelOptions(max_length=16))


def task(kind: Kind, train: list[object], selection: list[object], labels: tuple[str, ...] = ("x", "y")) -> EncodedTask:
    """One whose labels are all that matters."""

    def split(values: list[object]) -> EncodedSplit:
        flat, rows = np.zeros(len(values), np.int32), len(values)
        return EncodedSplit(flat, flat.astype(np.uint8), np.arange(rows + 1), np.array(values))

    return EncodedTask("t", kind, labels, ("accuracy",), {"train": split(train), "validation": split(selection)}, "")


@pytest.mark.parametrize("name", ALL)
def test_a_loss_is_the_mean_over_scored_labels_of_what_the_head_says(name: str, tmp_path: Path) -> None:
    run = start(single(name), tmp_path, tasks=ALL)
    run.advance()
    evaluation: Evaluation = run._evaluation
    _, losses = evaluation.scores_and_losses([name], "validation")
    head = run._train_step.model.head(name)
    said = evaluation.predict_by(name, "validation", lambda outputs: outputs)
    outputs, labels = said.predictions.astype(float), said.labels
    if ALL[name].kind == "regression":
        train = ALL[name].splits["train"].labels.astype(float)
        expected = np.mean((outputs.squeeze(-1) - (labels - train.mean()) / train.std()) ** 2)
    elif ALL[name].kind == "multi_label":
        expected = np.mean(np.log1p(np.exp(outputs)) - labels * outputs)
    else:
        logs = outputs - np.log(np.exp(outputs).sum(axis=-1, keepdims=True))
        expected = -np.mean(logs[np.arange(len(labels)), labels])
    assert losses == {name: pytest.approx(expected, rel=1e-4)}
    assert head.training, "evaluating must not change the mode"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        # One of each class is added: 3 and 2 of 5.
        (task("classification", [0, 0, 1], [0, 1]), -(math.log(3 / 5) + math.log(2 / 5)) / 2),
        # A class that training has not seen costs much, and not infinitely much.
        (task("classification", [0, 0, 0, 0], [1]), -math.log(1 / 6)),
        (task("token", [0, IGNORED, 0, 1], [0, IGNORED]), -math.log(3 / 5)),
        (task("token", [0, 0], [0, 0], ("only",)), 1.0),
        (task("regression", [1.0, 3.0], [2.0, 5.0], ()), (0 + 9) / 2),
        (task("multi_label", [[1, 0], [1, 0]], [[1, 1]]), -(math.log(3 / 4) + math.log(1 / 4)) / 2),
    ],
)
def test_the_loss_of_a_constant_prediction(given: EncodedTask, expected: float) -> None:
    assert compute_constant_loss(given, "validation") == pytest.approx(expected)


def test_one_loss_is_told_as_it_is_and_several_in_parts_of_a_constants() -> None:
    assert score_losses({"sign": 0.4}, TASKS, "validation") == {"sign": -0.4}
    told = score_losses({"sign": compute_constant_loss(TASKS["sign"], "validation"), "tags": 0.0}, TASKS, "validation")
    assert told == {"sign": pytest.approx(-1.0), "tags": 0.0}


def test_the_search_is_told_the_loss_of_the_weights_that_the_metric_picks(tmp_path: Path) -> None:
    recipe = dataclasses.replace(RECIPE, steps=12, evaluate_every=1, learning_rate=2e-2)
    by_metric = finish(start(recipe, tmp_path / "metric"))
    by_loss = finish(start(dataclasses.replace(recipe, search_score="loss"), tmp_path / "loss"))
    assert by_loss.score == -by_loss.losses["sign"] == by_loss.scores["sign"] < 0
    assert by_metric.score == by_metric.validation["sign"]["accuracy"] == by_metric.scores["sign"]
    kept = ("best_step", "validation", "test", "losses")
    assert all(getattr(by_loss, key) == getattr(by_metric, key) for key in kept)
    assert equal(weights(tmp_path / "loss", "best"), weights(tmp_path / "metric", "best"))
    told = lines(tmp_path / "loss")
    assert [line["score"] for line in told] == [-line["validation_loss"]["sign"] for line in told]
    best = max(told, key=lambda line: (line["validation"]["sign"]["accuracy"], -line["step"]))
    assert by_loss.best_step == best["step"]


def test_of_several_tasks_the_score_is_the_mean_of_their_relative_losses(tmp_path: Path) -> None:
    report = finish(start(dataclasses.replace(BY_LOSS, evaluate=("sign", "tags")), tmp_path))
    relative = {name: loss / compute_constant_loss(TASKS[name], "validation") for name, loss in report.losses.items()}
    assert report.scores == {name: pytest.approx(-value) for name, value in relative.items()}
    assert report.score == pytest.approx(-np.mean(list(relative.values())))


def test_what_steers_a_run_hears_losses_on_the_probe_split(tmp_path: Path) -> None:
    run = start(dataclasses.replace(BY_LOSS, steps=2, evaluate_every=2, cycle=None), tmp_path, Follow())
    report = finish(run)
    [(_, heard)] = report.rounds
    _, losses = run._evaluation.scores_and_losses(["sign"], "probe")
    assert heard == pytest.approx(-losses["sign"], rel=1e-5)  # its last weights are its best


def test_what_was_kept_before_there_was_a_choice_goes_on(tmp_path: Path) -> None:
    progress = Progress([{"score": 0.5, "step": 1}], best=0)  # as an old checkpoint has it
    assert progress.add({"score": -0.3, "metric": 0.6, "step": 2}) and not progress.add({"score": -0.1, "metric": 0.6})
    assert (
        "search_score" not in describe_run(RECIPE, TASKS, BASE) and describe_run(BY_LOSS, TASKS, BASE)["search_score"]
    )
    cost = {"wall_seconds": 1, "gpu_seconds": 0, "cpu_seconds": 1}
    (tmp_path / "result.json").write_text(json.dumps({"score": 0.5, "cost": cost, "validation": {"p": {"f1": 0.5}}}))
    old = read_result(tmp_path)
    assert old is not None and (old.losses, old.scores) == ({}, {})
    told = read_event({"event": "told", "id": 0, "attempt": 1, "time": 0, "outcome": {"score": 0.5}, "cost": cost})
    assert write_event(told)["outcome"]["scores"] == {}


STUDY = """
study: x
primary: p
tasks: {p: {path: p}, a: {path: a}}
selector: all_tasks
budget: {trials: 40}
"""


def test_the_study_says_it_and_the_fingerprint_knows_it() -> None:
    def known(*overrides: str) -> dict[str, str]:
        return compute_fingerprint(parse_study(STUDY, "study.yaml", Path(), overrides), {}, BASE)

    assert "search_score" not in known() and known("search_score=metric") == known()
    assert known("search_score=loss").keys() - known().keys() == {"search_score"}
    [opened] = [
        {
            "event": "opened",
            "session": "s",
            "time": 0,
            "study": STUDY,
            "overrides": [],
            "study_folder": "",
            "working_folder": "",
            "problem": {"tasks": [], "primary": "p"},
            "fingerprint": known(),
            "versions": {},
        }
    ]
    event = read_event(opened)
    assert event.search_score == "metric"  # type: ignore[union-attr]  # a ledger of before says nothing
    assert find_drift(Accounts([event]), known()) == ()
    assert find_drift(Accounts([event]), known("search_score=loss")) == ("search_score",)


GROUPS = ("primary=null", "objective=groups", "models=1", "selector=random_groups")


@pytest.mark.parametrize(
    ("overrides", "kind"),
    [
        ((), "metric"),
        (("search_score=loss",), "loss"),
        # Trials of groups are of other tasks, one task alone among them: their losses compare in parts of a constant's.
        (("search_score=loss", *GROUPS), "relative_loss"),
        (GROUPS, "metric"),
    ],
)
def test_it_reaches_the_recipe_and_the_outcome(overrides: tuple[str, ...], kind: str, tmp_path: Path) -> None:
    options = parse_study(STUDY, "study.yaml", Path(), overrides).options
    tasks = tuple(TaskInfo(name, "classification", 100) for name in "pa")
    translator = Translator(options, ModelOptions(), Problem(tasks, options.primary, models=options.models))
    recipe = translator.recipe(translator.execute(Proposal(("p", "a"))), "search")
    assert recipe.search_score == kind
    report = finish(start(dataclasses.replace(RECIPE, search_score=kind), tmp_path))
    assert report.score == pytest.approx(
        {
            "metric": report.validation["sign"]["accuracy"],
            "loss": -report.losses["sign"],
            "relative_loss": -report.losses["sign"] / compute_constant_loss(TASKS["sign"], "validation"),
        }[kind]
    )
    outcome = translator.outcome(report)
    assert outcome.scores == report.scores and outcome.metrics == report.validation


def test_groups_are_judged_by_the_scores_of_their_members() -> None:
    problem = Problem((TaskInfo("a", "classification", 9), TaskInfo("b", "classification", 9)), None, models=1)
    runs = NetworkRuns(problem, (Network(("a", "b")),)).add_proposal(0)
    metrics = {"a": {"accuracy": 0.9}, "b": {"accuracy": 0.7}}
    assert runs.add_outcome(0, Outcome(0.8, metrics)).scores[0] == {"a": 0.9, "b": 0.7}  # as in earlier ledgers
    assert runs.add_outcome(0, Outcome(-0.5, metrics, scores={"a": -0.4, "b": -0.6})).scores[0] == {
        "a": -0.4,
        "b": -0.6,
    }


def test_people_see_what_was_measured() -> None:
    assert (show_value(0.81234, "metric"), show_value(0.43118, "loss")) == ("0.8123", "loss 0.4312")
    assert (name_value(0.5, "metric"), name_value(0.9, "relative_loss")) == ("score 0.5000", "relative loss 0.9000")
    assert (describe_value(0.5, "metric"), describe_value(0.9, "loss")) == ("score of 0.5000", "loss of 0.9000")
    assert [label_values("f1", kind) for kind in ("metric", "loss")] == ["f1", "loss"]
    told = Outcome(-0.4, {"p": {"accuracy": 0.9}}, scores={"p": -0.4})
    assert (sign_of_outcome(told), sign_of_outcome(told, "loss")) == (1, -1)


def test_a_belief_about_losses_is_told_in_losses() -> None:
    believed = [Expectation(-0.5, -0.43118), BestDrawn(-0.25)]
    told = list(describe_grounds(believed, "p", lambda score: show_value(-score, "loss")))
    assert told == ["expects loss 0.5000 of it, seen loss 0.4312", "no belief: the best that it drew, loss 0.2500"]
    assert "expects -0.5000 of it" in next(describe_grounds(believed, "p", lambda score: show_value(score, "metric")))


@pytest.mark.slow
def test_a_study_that_searches_by_loss_says_so_and_is_not_resumed_by_the_metric(small: StudyRun) -> None:
    out = small.finish("run", "study.yaml", "--plain", "--set", "search_score=loss")
    assert re.search(r"search 0000 \(.*\) loss \d\.\d{4} in \d+ s", out), out
    for trial in small.accounts.trials.values():
        report = read_result(locate_attempt(small.folder, trial.id, len(trial.attempts)))
        assert report is not None and trial.score == -report.losses["moods"]
    best = small.accounts.best
    assert best is not None and best.score is not None
    assert f"best so far: loss {-best.score:.4f} by trial" in small.finish("status", str(small.folder))
    status = json.loads(small.finish("status", str(small.folder), "--json"))
    assert (status["best"]["score"], status["best"]["search_score"]) == (best.score, "loss")
    assert f"loss {-best.score:.4f} on the validation split" in small.finish("show", str(small.folder), str(best.id))
    assert "verified" in small.finish("status", str(small.folder), "--verify")
    runs = MlflowClient(f"sqlite:///{small.home / 'mlflow.db'}")
    run = runs.get_run(str(best.run_id))
    curve = runs.get_metric_history(str(best.run_id), "validation/moods/loss")
    assert [point.step for point in curve] == [10, 20, 30, 40] and run.data.metrics["score"] == best.score
    assert "search_score" in small.finish("run", "study.yaml", code=2)
