"""Lift and its interval, against hand calculations."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from auxtune.orchestrator.answer.lift import (
    bootstrap,
    estimate_half_width,
    estimate_paired_lift,
    estimate_row_doubt,
    load_predictions,
    score_resamples,
)
from auxtune.trials.metrics import BUILT_IN, METRICS, Predictions, score


def arm(labels: np.ndarray, accuracy: float, seed: int) -> Predictions:
    rng = np.random.default_rng(seed)
    wrong = rng.random(len(labels)) >= accuracy
    return Predictions(labels, np.where(wrong, 1 - labels, labels), np.arange(len(labels)))


LABELS = np.random.default_rng(0).integers(2, size=800)


def test_the_mean_is_the_mean_of_the_paired_differences() -> None:
    ours = [arm(LABELS, 0.8, seed) for seed in range(5)]
    theirs = [arm(LABELS, 0.7, 100 + seed) for seed in range(5)]
    lift = estimate_paired_lift("accuracy", ours, theirs, seed=0)
    expected = np.mean(
        [np.mean(a.predictions == LABELS) - np.mean(b.predictions == LABELS) for a, b in zip(ours, theirs, strict=True)]
    )
    assert lift is not None
    assert lift.mean == pytest.approx(expected)
    assert lift.low is not None and lift.high is not None
    assert lift.low < lift.mean < lift.high
    assert lift.mean - lift.low == pytest.approx(lift.high - lift.mean)


def test_identical_seeds_leave_only_the_doubt_of_the_rows() -> None:
    ours, theirs = [arm(LABELS, 0.8, 1)] * 4, [arm(LABELS, 0.7, 2)] * 4
    lift = estimate_paired_lift("accuracy", ours, theirs, seed=0)
    per_row = (ours[0].predictions == LABELS).astype(float) - (theirs[0].predictions == LABELS)
    assert lift is not None and lift.high is not None
    assert lift.high - lift.mean == pytest.approx(1.96 * per_row.std() / np.sqrt(len(LABELS)), rel=0.1)


def test_rows_without_doubt_leave_only_the_spread_of_the_seeds() -> None:
    always = np.ones(400, dtype=int)
    rows = np.arange(400)
    right, wrong = Predictions(always, always, rows), Predictions(always, always * 0, rows)
    ours, theirs = [right, right, right, wrong], [wrong, wrong, wrong, wrong]
    lift = estimate_paired_lift("accuracy", ours, theirs, seed=0)
    spread = np.std([1, 1, 1, 0], ddof=1)
    assert lift is not None and lift.high is not None
    assert lift.mean == pytest.approx(0.75)
    assert lift.high - lift.mean == pytest.approx(stats.t.ppf(0.975, 3) * spread / 2)


def test_under_three_seeds_there_is_no_interval_and_without_a_common_seed_no_lift() -> None:
    ours, theirs = [arm(LABELS, 0.8, s) for s in range(3)], [arm(LABELS, 0.7, 9 + s) for s in range(3)]
    two, three = (estimate_paired_lift("accuracy", ours[:count], theirs[:count], seed=0) for count in (2, 3))
    assert two is not None and three is not None
    assert (two.low, two.high, two.seeds) == (None, None, 2)
    assert three.low is not None and three.low < three.mean
    assert estimate_paired_lift("accuracy", [], [], seed=0) is None


def test_the_noise_of_seeds_on_single_rows_counts_once() -> None:
    """Against the mean squares of the crossed layout, computed from the differences row by row."""
    ours, theirs = [arm(LABELS, 0.8, seed) for seed in range(4)], [arm(LABELS, 0.7, 9 + seed) for seed in range(4)]
    per_row = np.stack(
        [(a.predictions == LABELS).astype(float) - (b.predictions == LABELS) for a, b in zip(ours, theirs, strict=True)]
    )  # (seeds, rows)
    seeds, rows = per_row.shape
    mean, of_seed, of_row = per_row.mean(), per_row.mean(axis=1, keepdims=True), per_row.mean(axis=0)
    by_row = seeds * ((of_row - mean) ** 2).sum() / (rows - 1)
    by_both = ((per_row - of_seed - of_row + mean) ** 2).sum() / ((seeds - 1) * (rows - 1))
    draws = bootstrap("accuracy", tuple(ours), 0) - bootstrap("accuracy", tuple(theirs), 0)
    doubt = estimate_row_doubt(draws)
    # A standard deviation from 1,000 draws is off by 2.2 % (one standard error), a mean of four of them by less.
    assert doubt.error == pytest.approx(np.sqrt(by_row / (seeds * rows)), rel=0.1)
    assert doubt.shared == pytest.approx(np.sqrt(by_both / (seeds * rows)), rel=0.1)
    lift = estimate_paired_lift("accuracy", ours, theirs, seed=0)
    assert lift is not None and lift.high is not None
    spread = stats.t.ppf(0.975, 3) * of_seed.std(ddof=1) / 2
    among = max(spread, 1.96 * np.sqrt(by_both / (seeds * rows)))
    expected = np.sqrt(among**2 + 1.96**2 * max(0.0, by_row - by_both) / (seeds * rows))
    assert lift.high - lift.mean == pytest.approx(expected, rel=0.1)


def test_seeds_that_agree_by_chance_leave_the_whole_doubt_of_the_rows() -> None:
    assert estimate_half_width(0.0, 0.02, 0.02, seeds=3) == pytest.approx(stats.norm.ppf(0.975) * 0.02)
    assert estimate_half_width(0.0, 0.03, 0.02, seeds=3) == pytest.approx(stats.norm.ppf(0.975) * 0.03)
    assert estimate_half_width(0.01, 0.0, 0.0, seeds=3) == pytest.approx(stats.t.ppf(0.975, 2) * 0.01)
    assert estimate_half_width(0.01, 0.02, 0.01, 3, level=0.99) > estimate_half_width(0.01, 0.02, 0.01, 3)


@pytest.mark.parametrize(("seeds", "rows"), [(3, 50), (3, 200), (4, 200), (8, 200)])
def test_the_interval_holds_the_true_lift_as_often_as_it_says(seeds: int, rows: int) -> None:
    """Normal differences with effects of seeds, of rows and of both together, of which the truth is 0."""
    rng, count = np.random.default_rng(seeds * rows), 4000
    for of_seeds, of_rows in ((0.0, 0.0), (0.1, 0.3), (0.3, 0.0)):
        values = rng.normal(size=(count, seeds, rows))
        values += of_seeds * rng.normal(size=(count, seeds, 1)) + of_rows * rng.normal(size=(count, 1, rows))
        of_seed, of_row, mean = values.mean(axis=2), values.mean(axis=1), values.mean(axis=(1, 2))
        spread = of_seed.std(axis=1, ddof=1) / np.sqrt(seeds)
        error = of_row.std(axis=1, ddof=1) / np.sqrt(rows)
        rest = values - of_seed[:, :, None] - of_row[:, None, :] + mean[:, None, None]
        shared = np.sqrt((rest**2).sum(axis=(1, 2)) / ((seeds - 1) * (rows - 1) * seeds * rows))
        held = np.mean(np.abs(mean) <= estimate_half_width(spread, error, shared, seeds))
        assert held > 0.95 - 4 * np.sqrt(0.05 * 0.95 / count)  # four standard errors of this simulation


@pytest.mark.parametrize("classes", [2, 5])
@pytest.mark.parametrize("metric", ["accuracy", "f1", "matthews"])
def test_counting_gives_what_the_metric_gives_on_every_resample(metric: str, classes: int) -> None:
    rng = np.random.default_rng(3)
    rows = np.repeat(np.arange(40), rng.integers(1, 5, size=40))  # tokens of 40 sentences
    labels, predictions = rng.integers(classes, size=(2, len(rows)))
    draws = rng.integers(40, size=(50, 40))
    expected = []
    for draw in draws:
        chosen = np.concatenate([np.flatnonzero(rows == row) for row in draw])
        expected.append(score(metric, labels[chosen], predictions[chosen]))
    assert score_resamples(metric, Predictions(labels, predictions, rows), draws) == pytest.approx(np.array(expected))


@pytest.mark.parametrize("metric", [name for name in METRICS["multi_label"] if not BUILT_IN[name].needs_probabilities])
def test_counting_labels_gives_what_the_metric_gives_on_every_resample(metric: str) -> None:
    rng = np.random.default_rng(3)
    labels, predictions = (rng.random((2, 40, 5)) < [0.0, 0.03, 0.3, 0.5, 0.9]).astype(np.uint8)
    labels[:, 0] = 0  # never there, sometimes out of sight, mostly there
    draws = rng.integers(40, size=(50, 40))
    expected = [score(metric, labels[draw], predictions[draw]) for draw in draws]
    assert len(set(expected)) > 10 or metric == "accuracy"
    answers = Predictions(labels, predictions, np.arange(40))
    assert score_resamples(metric, answers, draws) == pytest.approx(np.array(expected))


def test_counting_spans_gives_what_the_metric_gives_on_every_resample() -> None:
    rng, names = np.random.default_rng(3), ("O", "B-a", "I-a", "B-b", "I-b")
    rows = np.repeat(np.arange(39), rng.integers(1, 6, size=39))  # the last of 40 rows has lost all its words
    labels = rng.integers(5, size=len(rows))
    predictions = np.where(rng.random(len(rows)) < 0.7, labels, rng.integers(5, size=len(rows)))
    draws = rng.integers(40, size=(50, 40))
    expected = []
    for draw in draws:
        chosen = [np.flatnonzero(rows == row) for row in draw]
        again = np.repeat(np.arange(40), [len(tokens) for tokens in chosen])  # a row that is drawn twice is two rows
        tokens = np.concatenate(chosen)
        expected.append(score("span_f1", labels[tokens], predictions[tokens], again, names))
    answers = Predictions(labels, predictions, rows, names)
    assert score_resamples("span_f1", answers, draws) == pytest.approx(np.array(expected))
    assert len(set(expected)) > 10


def test_predictions_are_read_with_the_names_of_the_labels_if_they_have_them(tmp_path: Path) -> None:
    arrays = {"t/labels": np.array([1, 2]), "t/predictions": np.array([1, 0]), "t/rows": np.array([0, 0])}
    np.savez(tmp_path / "old.npz", **arrays)
    np.savez(tmp_path / "new.npz", **arrays, **{"t/names": np.array(["O", "B-a", "I-a"])})
    assert load_predictions(tmp_path / "old.npz", "t").names == ()
    assert load_predictions(tmp_path / "new.npz", "t").metric("span_f1") == 0.0
    assert load_predictions(tmp_path / "old.npz", "t").metric("accuracy") == 0.5


def test_many_classes_take_memory_in_proportion_and_no_more() -> None:
    rows, classes = 300, 200
    labels, predictions = np.random.default_rng(5).integers(classes, size=(2, rows))
    draws = np.random.default_rng(6).integers(rows, size=(10, rows))
    tracemalloc.start()
    score_resamples("f1", Predictions(labels, predictions, np.arange(rows)), draws)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10 * 8 * rows * classes  # a column for each pair of classes would be 200 times as much


def test_correlations_are_resampled_by_row() -> None:
    rng = np.random.default_rng(4)
    labels = rng.normal(size=60)
    answers = Predictions(labels, labels + rng.normal(size=60), np.arange(60))
    draws = rng.integers(60, size=(20, 60))
    expected = [np.corrcoef(labels[d], answers.predictions[d])[0, 1] for d in draws]
    assert score_resamples("pearson", answers, draws) == pytest.approx(np.array(expected))


def test_both_arms_are_drawn_the_same_rows() -> None:
    same, copy = (arm(LABELS, 0.8, 1),), (arm(LABELS, 0.8, 1),)
    assert np.array_equal(bootstrap("accuracy", same, 7), bootstrap("accuracy", copy, 7))
    twin = estimate_paired_lift("f1", same * 4, copy * 4, seed=7)
    assert twin is not None
    assert (twin.mean, twin.low, twin.high) == (0, 0, 0)
