"""A metric of which lower is better: searched by minus its value, kept and shown as it is, lifted upwards."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from synthetic_tasks import TASKS, finish, single, start

from auxtune.orchestrator.answer.lift import estimate_mean_lift, estimate_paired_lift, load_predictions
from auxtune.orchestrator.record.scores import sign_of, sign_of_outcome
from auxtune.orchestrator.report.charts import Point, find_front
from auxtune.selectors.protocol import Outcome
from auxtune.trials.metrics import Predictions

METRICS = ("log_loss", "accuracy", "roc_auc")


def test_the_weights_of_the_lowest_loss_are_kept_and_the_search_hears_of_minus_the_loss(tmp_path: Path) -> None:
    task = dataclasses.replace(TASKS["sign"], metrics=METRICS)
    # Fast enough to overshoot, so that the last weights are not the best.
    recipe = dataclasses.replace(single("sign", steps=60, evaluate_every=5, learning_rate=3e-2), test=("sign",))
    report = finish(start(recipe, tmp_path, tasks={"sign": task}))
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    losses = [line["validation"]["sign"]["log_loss"] for line in lines]
    assert min(losses) > 0 and len(set(losses)) > 3
    assert [line["score"] for line in lines] == [-loss for loss in losses]
    best = losses.index(min(losses))
    assert (report.score, report.best_step) == (-min(losses), lines[best]["step"])
    assert report.validation["sign"]["log_loss"] == min(losses)
    kept = load_predictions(tmp_path / "predictions.npz", "sign")
    assert kept.probabilities is not None and kept.probabilities.dtype == np.float32
    assert (kept.probabilities.argmax(axis=1) == kept.predictions).all()
    assert report.test["sign"] == {name: pytest.approx(kept.metric(name)) for name in METRICS}


def test_predictions_hold_probabilities_only_where_a_metric_needs_them(tmp_path: Path) -> None:
    finish(start(dataclasses.replace(single("sign", steps=4), test=("sign",)), tmp_path))
    assert load_predictions(tmp_path / "predictions.npz", "sign").probabilities is None


def sure(confidence: float) -> Predictions:
    """Answers that are right and as sure as that."""
    labels = np.arange(40) % 2
    shares = np.where(np.eye(2)[labels] == 1, confidence, 1 - confidence).astype(np.float32)
    return Predictions(labels, labels, np.arange(40), ("no", "yes"), shares)


def test_a_lower_loss_is_a_positive_lift_alone_and_in_a_mean_over_tasks() -> None:
    better, worse = sure(0.9), sure(0.6)
    expected = -np.log(0.6) + np.log(0.9)
    lift = estimate_paired_lift("log_loss", [better] * 4, [worse] * 4, 0)
    assert lift is not None and lift.metric == "log_loss" and lift.mean == pytest.approx(expected, abs=1e-6)
    loss = estimate_paired_lift("log_loss", [worse] * 4, [better] * 4, 0)
    assert loss is not None and loss.mean == pytest.approx(-expected, abs=1e-6)
    both = [{"a": (better, worse), "b": (better, worse)}] * 4
    mean = estimate_mean_lift({"a": "log_loss", "b": "accuracy"}, both, 2, 0)
    assert mean is not None and mean.mean == pytest.approx(expected / 2, abs=1e-6)


def test_the_sign_of_a_score_is_that_of_its_main_metrics() -> None:
    assert [sign_of(mains) for mains in (["log_loss"], ["accuracy"], ["log_loss", "accuracy"], [])] == [-1, 1, 1, 1]
    told = Outcome(-0.3, {"a": {"log_loss": 0.2, "accuracy": 0.9}, "b": {"mean_absolute_error": 0.4}})
    assert sign_of_outcome(told) == -1
    assert sign_of_outcome(Outcome(0.3, {"a": {"what a recorded table calls it": 0.3}})) == 1


def test_the_front_of_a_loss_is_below() -> None:
    points = [Point(1, 0.7), Point(2, 0.5), Point(3, 0.6), Point(4, 0.4)]
    assert [point.quality for point in find_front(points, direction=-1)] == [0.7, 0.5, 0.4]
