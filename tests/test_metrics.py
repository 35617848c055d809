"""The metrics against hand calculations, and their finiteness."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest

from auxtune.trials.metrics import BUILT_IN, METRICS, score

OF_SETS = [name for name in METRICS["multi_label"] if not BUILT_IN[name].needs_probabilities]

# Two true positives, one false positive, one false negative, four true negatives.
LABELS = np.array([1, 1, 1, 0, 0, 0, 0, 0])
PREDICTIONS = np.array([1, 1, 0, 1, 0, 0, 0, 0])
SETS = np.array([[1, 1, 0], [1, 0, 1], [0, 1, 0], [0, 0, 0]], np.uint8)
GUESSED = np.array([[1, 1, 0], [1, 0, 0], [1, 0, 0], [0, 0, 0]], np.uint8)


def test_accuracy_is_the_share_that_agrees() -> None:
    assert score("accuracy", LABELS, PREDICTIONS) == 6 / 8


def test_f1_of_two_classes_is_that_of_the_last() -> None:
    assert score("f1", LABELS, PREDICTIONS) == pytest.approx(2 * 2 / (2 * 2 + 1 + 1))


def test_f1_of_three_classes_is_the_mean_over_them() -> None:
    labels, predictions = np.array([0, 0, 1, 1, 2, 2]), np.array([0, 0, 1, 0, 2, 1])
    of_each = [2 * 2 / (2 * 2 + 1 + 0), 2 * 1 / (2 * 1 + 1 + 1), 2 * 1 / (2 * 1 + 0 + 1)]
    assert score("f1", labels, predictions) == pytest.approx(sum(of_each) / 3)


def test_matthews_is_the_correlation_of_the_two_binary_vectors() -> None:
    expected = (2 * 4 - 1 * 1) / np.sqrt(3 * 3 * 5 * 5)
    assert score("matthews", LABELS, PREDICTIONS) == pytest.approx(expected)


def test_pearson_sees_lines_and_spearman_order() -> None:
    labels = np.array([1.0, 2.0, 3.0, 4.0], np.float32)
    assert score("pearson", labels, 5 - 2 * labels) == pytest.approx(-1.0)
    assert score("spearman", labels, np.exp(labels)) == pytest.approx(1.0)
    assert score("pearson", labels, np.array([1.0, 2.0, 4.0, 3.0])) == pytest.approx(4.0 / 5.0)
    # Ranks 1, 2, 4, 3 against 1, 2, 3, 4: 1 - 6 * (0 + 0 + 1 + 1) / (4 * 15).
    assert score("spearman", labels, np.array([10.0, 20.0, 40.0, 30.0])) == pytest.approx(0.8)


@pytest.mark.parametrize("metric", ["pearson", "spearman", "matthews", "f1"])
def test_a_model_that_says_the_same_of_every_row_scores_zero(metric: str) -> None:
    assert score(metric, LABELS, np.zeros_like(LABELS)) == 0.0


@pytest.mark.parametrize("metric", ["pearson", "spearman", "matthews"])
def test_labels_that_are_all_the_same_score_zero(metric: str) -> None:
    assert score(metric, np.zeros(4), np.array([0, 1, 1, 0])) == 0.0


def test_every_metric_on_offer_is_known_and_a_plain_float() -> None:
    for kind, names in METRICS.items():
        labels = {"regression": LABELS.astype(np.float32), "multi_label": SETS}.get(kind, LABELS)
        rows = np.zeros(len(labels), int)
        assert names
        tags = () if kind == "regression" else ("O", "B-a")
        for name in names:
            if BUILT_IN[name].needs_probabilities:  # tests/test_metrics_sklearn.py has them
                continue
            perfect = 1.0 if BUILT_IN[name].higher_is_better else 0.0
            assert type(score(name, labels, labels, rows, tags)) is float
            assert score(name, labels, labels, rows, tags) == pytest.approx(perfect)


def test_sets_of_labels_are_scored_label_by_label_and_whole() -> None:
    # By label: right 2, 1 and 0; true 2, 2 and 1; predicted 3, 1 and 0.
    of_each = [2 * 2 / (2 + 3), 2 * 1 / (2 + 1), 0.0]
    assert score("f1_macro", SETS, GUESSED) == pytest.approx(sum(of_each) / 3)
    assert score("f1_micro", SETS, GUESSED) == pytest.approx(2 * (2 + 1) / (5 + 4))
    assert score("accuracy", SETS, GUESSED) == 2 / 4


@pytest.mark.parametrize("metric", OF_SETS)
@pytest.mark.parametrize("labels", [SETS, SETS * 0, SETS * 0 + 1])
@pytest.mark.parametrize("answer", [0, 1])
def test_a_model_that_says_the_same_of_every_label_has_a_finite_score(
    metric: str, labels: np.ndarray, answer: int
) -> None:
    right = labels.min() == labels.max() == answer
    value = score(metric, labels, np.full_like(labels, answer))
    if right:
        assert value == (0.0 if answer == 0 and metric != "accuracy" else 1.0)
    else:
        # A label that is said of every row has been found wherever it is.
        assert 0.0 <= value < 1.0 or (metric.startswith("recall") and answer == 1 and labels.any())


def test_an_unknown_metric_and_missing_rows_are_refused() -> None:
    with pytest.raises(ValueError, match=r"unknown metric 'bleu'; expected one of accuracy, balanced_accuracy"):
        score("bleu", LABELS, PREDICTIONS)
    with pytest.raises(ValueError, match="found 7 for 8"):
        score("accuracy", LABELS, PREDICTIONS[:7])
    with pytest.raises(ValueError, match="found 0 for 0"):
        score("accuracy", LABELS[:0], PREDICTIONS[:0])


def test_the_module_loads_no_torch() -> None:
    code = "import sys, auxtune.trials.metrics; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
