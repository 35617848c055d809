"""Every metric against scikit-learn's or SciPy's own call, on resamples against the metric, and at its limits."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics as sk

from auxtune.orchestrator.answer.lift import score_resamples
from auxtune.trials.data import Kind
from auxtune.trials.metrics import ALIASES, BUILT_IN, METRICS, MISSED, Answers, Predictions, find_metric, score

RNG = np.random.default_rng(11)
ROWS = 60
NAMES: Mapping[int, tuple[str, ...]] = {2: ("no", "yes"), 4: ("a", "b", "c", "d")}


def of_classes(classes: int, rows: int = ROWS, seed: int = 0) -> Predictions:
    """Classes and probabilities that know something of them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(classes, size=rows)
    logits = rng.normal(size=(rows, classes)) + 1.2 * np.eye(classes)[labels]
    shares = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    return Predictions(labels, shares.argmax(axis=1), np.arange(rows), NAMES[classes], shares)


def of_labels(rows: int = ROWS, seed: int = 0) -> Predictions:
    """Sets of four labels, one of them rare."""
    rng = np.random.default_rng(seed)
    labels = (rng.random((rows, 4)) < [0.06, 0.3, 0.5, 0.8]).astype(np.uint8)
    shares = (1 / (1 + np.exp(-(rng.normal(size=(rows, 4)) + 2 * labels - 1)))).astype(np.float32)
    return Predictions(labels, (shares > 0.5).astype(np.uint8), np.arange(rows), NAMES[4], shares)


def of_values(rows: int = ROWS, seed: int = 0) -> Predictions:
    """Values with ties, and predictions that follow them."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(6, size=rows).astype(np.float32)
    return Predictions(labels, (labels + rng.normal(size=rows).round(1)).astype(np.float32), np.arange(rows))


def of_tokens(seed: int = 0) -> Predictions:
    """Tags of words, one to five in a row, some of them missed."""
    rng, names = np.random.default_rng(seed), ("O", "B-a", "I-a", "B-b", "I-b")
    rows = np.repeat(np.arange(ROWS), rng.integers(1, 6, size=ROWS))
    labels = rng.integers(5, size=len(rows))
    logits = rng.normal(size=(len(rows), 5)) + 2 * np.eye(5)[labels]
    shares = (np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)).astype(np.float32)
    predictions = shares.argmax(axis=1)
    missed = rng.random(len(rows)) < 0.15
    predictions[missed], shares[missed] = MISSED, 0.2
    return Predictions(labels, predictions, rows, names, shares)


def cases() -> list[tuple[Kind, Predictions]]:
    """Some answers of each kind."""
    return [
        ("classification", of_classes(2)),
        ("classification", of_classes(4)),
        ("regression", of_values()),
        ("token", of_tokens()),
        ("multi_label", of_labels()),
    ]


EVERY = [
    pytest.param(metric, answers, id=f"{kind}-{len(answers.names)}-{metric}")
    for kind, answers in cases()
    for metric in METRICS[kind]
]

Direct = Callable[[np.ndarray, np.ndarray, np.ndarray], float]
OF_TWO: Mapping[str, Direct] = {
    "accuracy": lambda y, p, s: sk.accuracy_score(y, p),
    "balanced_accuracy": lambda y, p, s: sk.balanced_accuracy_score(y, p),
    "matthews": lambda y, p, s: sk.matthews_corrcoef(y, p),
    "log_loss": lambda y, p, s: sk.log_loss(y, s),
    "brier_score": lambda y, p, s: sk.brier_score_loss(y, s[:, 1]),
    "roc_auc": lambda y, p, s: sk.roc_auc_score(y, s[:, 1]),
    "roc_auc_ovr_weighted": lambda y, p, s: sk.roc_auc_score(y, s[:, 1]),
    "average_precision": lambda y, p, s: sk.average_precision_score(y, s[:, 1]),
    "f1": lambda y, p, s: sk.f1_score(y, p),
    "precision": lambda y, p, s: sk.precision_score(y, p),
    "recall": lambda y, p, s: sk.recall_score(y, p),
}
OF_MORE: Mapping[str, Direct] = {
    "brier_score": lambda y, p, s: ((s - np.eye(s.shape[1])[y]) ** 2).sum(axis=1).mean(),
    "roc_auc": lambda y, p, s: sk.roc_auc_score(y, s, multi_class="ovr"),
    "roc_auc_ovr_weighted": lambda y, p, s: sk.roc_auc_score(y, s, multi_class="ovr", average="weighted"),
    "average_precision": lambda y, p, s: sk.average_precision_score(np.eye(s.shape[1])[y], s),
    "f1": lambda y, p, s: sk.f1_score(y, p, average="macro"),
    "precision": lambda y, p, s: sk.precision_score(y, p, average="macro"),
    "recall": lambda y, p, s: sk.recall_score(y, p, average="macro"),
}
OF_SETS: Mapping[str, Direct] = {
    "accuracy": lambda y, p, s: sk.accuracy_score(y, p),
    "log_loss": lambda y, p, s: np.mean([sk.log_loss(y[:, n], s[:, n]) for n in range(y.shape[1])]),
    "brier_score": lambda y, p, s: np.mean([sk.brier_score_loss(y[:, n], s[:, n]) for n in range(y.shape[1])]),
    "roc_auc": lambda y, p, s: sk.roc_auc_score(y, s),
    "roc_auc_ovr_weighted": lambda y, p, s: sk.roc_auc_score(y, s, average="weighted"),
    "average_precision": lambda y, p, s: sk.average_precision_score(y, s),
}
OF_VALUES: Mapping[str, Callable[[np.ndarray, np.ndarray], float]] = {
    "spearman": lambda y, p: stats.spearmanr(y, p).statistic,
    "pearson": lambda y, p: stats.pearsonr(y, p).statistic,
    "r2": sk.r2_score,
    "mean_absolute_error": sk.mean_absolute_error,
    "mean_squared_error": sk.mean_squared_error,
    "root_mean_squared_error": sk.root_mean_squared_error,
}


def direct(metric: str, labels: np.ndarray, predictions: np.ndarray, shares: np.ndarray) -> float:
    """What scikit-learn says."""
    special = OF_SETS if labels.ndim == 2 else OF_TWO if shares.shape[1] == 2 else OF_TWO | OF_MORE
    if metric in special:
        return float(special[metric](labels, predictions, shares))
    measure, average = metric.split("_")
    functions = {"f1": sk.f1_score, "precision": sk.precision_score, "recall": sk.recall_score}
    return float(functions[measure](labels, predictions, average=average, zero_division=0.0))


@pytest.mark.parametrize("answers", [of_classes(2), of_classes(4), of_labels()], ids=["two", "four", "sets"])
def test_what_is_predicted_of_labels_is_scored_as_by_scikit_learn(answers: Predictions) -> None:
    assert answers.probabilities is not None
    kind: Kind = "multi_label" if answers.labels.ndim == 2 else "classification"
    for metric in METRICS[kind]:
        expected = direct(metric, answers.labels, answers.predictions, answers.probabilities)
        assert answers.metric(metric) == pytest.approx(expected, abs=1e-6), metric


def test_values_are_scored_as_by_scikit_learn() -> None:
    answers = of_values()
    assert METRICS["regression"] == tuple(OF_VALUES)
    for metric, function in OF_VALUES.items():
        expected = function(answers.labels.astype(float), answers.predictions.astype(float))
        assert answers.metric(metric) == pytest.approx(float(expected), abs=1e-9), metric


@pytest.mark.parametrize(("metric", "answers"), EVERY)
def test_many_resamples_at_once_give_what_the_metric_gives_on_each(metric: str, answers: Predictions) -> None:
    draws = np.random.default_rng(2).integers(ROWS, size=(40, ROWS))
    expected = []
    for draw in draws:
        chosen = [np.flatnonzero(answers.rows == row) for row in draw]
        places = np.concatenate(chosen)
        again = np.repeat(np.arange(ROWS), [len(each) for each in chosen])  # a row that is drawn twice is two rows
        shares = None if answers.probabilities is None else answers.probabilities[places]
        one = Answers(answers.labels[places], answers.predictions[places], again, answers.names, shares)
        expected.append(find_metric(metric).value(one))
    assert len(set(expected)) > 3
    # scikit-learn takes the log of float32 probabilities in float32.
    tolerance = 1e-6 if metric == "log_loss" else 1e-9
    assert score_resamples(metric, answers, draws) == pytest.approx(np.array(expected), abs=tolerance)


@pytest.mark.parametrize(("metric", "answers"), EVERY)
@pytest.mark.parametrize("labels", ["all the same", "one row"])
@pytest.mark.parametrize("said", ["the same of all", "what is right", "as it is"])
def test_every_metric_is_finite_whatever_is_said_and_in_sight(
    metric: str, answers: Predictions, labels: str, said: str
) -> None:
    size = 1 if labels == "one row" else len(answers.labels)
    true = np.repeat(answers.labels[:1], size, axis=0)
    predicted = {"the same of all": np.zeros_like(true), "what is right": true, "as it is": answers.predictions[:size]}
    shares = None if answers.probabilities is None else answers.probabilities[:size]
    if shares is not None and said == "the same of all":
        shares = np.zeros_like(shares) + np.eye(shares.shape[1], dtype=np.float32)[0]  # quite sure, and wrong at that
    degenerate = Predictions(true, predicted[said], answers.rows[:size], answers.names, shares)
    assert np.isfinite(degenerate.metric(metric))
    rows = int(degenerate.rows.max()) + 1
    times = np.random.default_rng(0).integers(rows, size=(8, rows))
    assert np.isfinite(score_resamples(metric, degenerate, times)).all()
    if BUILT_IN[metric].has_values and said == "what is right" and shares is None:
        assert degenerate.metric(metric) == (1.0 if BUILT_IN[metric].higher_is_better else 0.0)


def test_where_one_class_is_in_sight_the_curves_say_nothing() -> None:
    one = np.ones(5, int)
    shares = np.full((5, 2), 0.5, np.float32)
    assert score("roc_auc", one, one, names=NAMES[2], probabilities=shares) == 0.5
    assert score("average_precision", one, one, names=NAMES[2], probabilities=shares) == 1.0
    assert score("average_precision", one * 0, one, names=NAMES[2], probabilities=shares) == 0.0
    # Of three classes the one out of sight is left out, for every model alike.
    labels = np.array([0, 0, 1, 1])
    sure = np.array([[0.8, 0.1, 0.1], [0.7, 0.2, 0.1], [0.1, 0.8, 0.1], [0.6, 0.3, 0.1]])
    assert score("roc_auc", labels, labels, names=("a", "b", "c"), probabilities=sure) == 1.0


def test_a_probability_of_nothing_costs_no_more_than_float32_can_tell() -> None:
    labels, shares = np.array([1, 1]), np.array([[1, 0], [1, 0]], np.float32)
    expected = -np.log(np.finfo(np.float32).eps)
    assert score("log_loss", labels, labels, names=NAMES[2], probabilities=shares) == pytest.approx(expected, rel=1e-5)


def test_f1_goes_by_the_classes_of_the_task_and_not_by_those_in_sight() -> None:
    labels = np.array([0] * 50 + [1] * 50)  # of three classes, the third does not occur
    never, once = labels.copy(), labels.copy()
    never[:10] = once[:10] = 1
    once[99] = 2
    names = ("a", "b", "c")
    of_never = [2 * 40 / (50 + 40), 2 * 50 / (50 + 60), 0.0]
    of_once = [2 * 40 / (50 + 40), 2 * 49 / (50 + 59), 0.0]
    assert score("f1", labels, never, names=names) == pytest.approx(sum(of_never) / 3)
    assert score("f1", labels, once, names=names) == pytest.approx(sum(of_once) / 3)
    draws = np.arange(100)[None]
    for predictions, expected in ((never, of_never), (once, of_once)):
        answers = Predictions(labels, predictions, np.arange(100), names)
        assert score_resamples("f1", answers, draws) == pytest.approx(sum(expected) / 3)
    # And of a task of two classes of which one is in sight it stays that of the second.
    assert score("f1", labels * 0, never * 0, names=("no", "yes")) == 0.0
    assert score("f1", labels * 0 + 1, never * 0 + 1, names=("no", "yes")) == 1.0


@pytest.mark.parametrize("metric", ["f1", "precision", "recall", "f1_macro", "f1_weighted", "balanced_accuracy"])
def test_resamples_without_a_class_are_measured_like_the_rest(metric: str) -> None:
    labels = np.array([0, 1, 1, 2])
    answers = Predictions(labels, np.array([0, 1, 0, 2]), np.arange(4), ("a", "b", "c"))
    draws = np.array([[0, 0, 1, 1], [1, 2, 1, 2], [0, 1, 2, 3]])  # without c, only b, all
    expected = [score(metric, labels[d], answers.predictions[d], names=answers.names) for d in draws]
    assert score_resamples(metric, answers, draws) == pytest.approx(np.array(expected))


def test_words_that_the_model_was_not_shown_are_misses() -> None:
    labels, predictions = np.array([0, 1, 1, 2]), np.array([0, 1, MISSED, MISSED])
    names, rows = ("O", "B-x", "I-x"), np.array([0, 0, 1, 1])
    shares = np.array([[1, 0, 0], [0, 1, 0], [1 / 3] * 3, [1 / 3] * 3], np.float32)
    assert score("accuracy", labels, predictions, rows, names) == 2 / 4
    assert score("f1_macro", labels, predictions, rows, names) == pytest.approx((1 + 2 * 1 / (2 + 1) + 0) / 3)
    assert score("f1_micro", labels, predictions, rows, names) == pytest.approx(2 * 2 / (4 + 2))
    assert score("precision_macro", labels, predictions, rows, names) == pytest.approx((1 + 1 + 0) / 3)
    assert score("balanced_accuracy", labels, predictions, rows, names) == pytest.approx((1 + 1 / 2 + 0) / 3)
    assert score("span_f1", labels, predictions, rows, names) == pytest.approx(2 * 1 / (2 + 1))
    loss = score("log_loss", labels, predictions, rows, names, shares)
    assert loss == pytest.approx(2 * np.log(3) / 4, abs=1e-6)
    assert score("brier_score", labels, predictions, rows, names, shares) == pytest.approx(2 * (2 / 3) / 4)


def test_what_others_call_a_metric_is_that_metric() -> None:
    labels, predictions = np.array([0, 1, 2, 1]), np.array([0, 1, 1, 1])
    for alias in ("macro_f1", "Macro-F1", "macro f1"):
        assert score(alias, labels, predictions) == score("f1_macro", labels, predictions)
    assert not set(ALIASES) & set(BUILT_IN)
    assert set(ALIASES.values()) <= set(BUILT_IN)
    for alias in (
        "macro_f1",
        "weighted_f1",
        "micro_f1",
        "entity_f1",
        "slot_f1",
        "mcc",
        "matthews_corrcoef",
        "mae",
        "rmse",
        "mse",
        "acc",
        "auc",
        "roc_auc_ovr",
        "neg_log_loss",
    ):
        assert find_metric(alias).name in BUILT_IN


def test_probabilities_that_were_not_written_are_asked_for() -> None:
    with pytest.raises(ValueError, match="roc_auc: expected the probability of each label, found none"):
        score("roc_auc", np.array([0, 1]), np.array([0, 1]))
