"""Metrics that other packages bring: found by name, refused by name where they are not in order."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from other_metrics import COST, write_package

from auxtune.orchestrator.answer.lift import estimate_paired_lift, score_resamples
from auxtune.trials import metrics
from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import load_tasks
from auxtune.trials.errors import DataError
from auxtune.trials.metrics import Answers, Metric, Predictions, find_direction, find_metric

LABELS, SAID = np.array([1, 1, 0, 0, 1]), np.array([1, 0, 1, 0, 0])


@pytest.fixture(autouse=True)
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A folder of packages, looked into by this process; what was known of it is forgotten before and after."""
    monkeypatch.syspath_prepend(tmp_path)
    metrics._find_entries.cache_clear()
    yield tmp_path
    metrics._find_entries.cache_clear()


def source(folder: Path, metric: str) -> TaskSource:
    path = folder / "rows.csv"
    path.write_text("text,label\n" + "".join(f"row {i},{['no', 'yes'][i % 2]}\n" for i in range(60)))
    return TaskSource("one", path=path, text=("text",), label="label", metrics=(metric,))


def test_a_metric_of_another_package_is_one_like_the_rest(packages: Path) -> None:
    write_package(packages)
    metric = find_metric("cost_of_errors")
    assert metric.direction == -1 and find_direction("cost_of_errors") == -1 and metric.has_values
    answers = Predictions(LABELS, SAID, np.arange(5), ("no", "yes"))
    assert answers.metric("cost_of_errors") == (5 + 1 + 5) / 5
    assert score_resamples("cost_of_errors", answers, np.array([[0, 0, 1, 1, 2]])) == pytest.approx((5 + 5 + 1) / 5)
    better = Predictions(LABELS, LABELS, np.arange(5), ("no", "yes"))
    lift = estimate_paired_lift("cost_of_errors", [better], [answers], 0)
    assert lift is not None and lift.mean == pytest.approx(11 / 5)  # less is better, so it is above 0
    assert load_tasks([source(packages, "cost_of_errors")])["one"].metrics == ("cost_of_errors",)


def test_one_without_values_is_measured_on_each_resample() -> None:
    def worst(answers: Answers) -> float:
        return float(np.abs(answers.labels - answers.predictions).max())

    metric = Metric("worst_row", ("regression",), worst)
    answers = Predictions(np.array([0.0, 1.0, 2.0]), np.array([0.0, 3.0, 2.5]), np.arange(3))
    times = np.array([[1, 1, 1], [2, 0, 1], [3, 0, 0]])
    assert metric.on_resamples(answers, times).tolist() == [2.0, 0.5, 0.0]


@pytest.mark.parametrize(
    ("name", "code", "said"),
    [
        ("accuracy", COST, "the name means the metric 'accuracy' of auxtune; rename it"),
        ("macro_f1", COST, "the name means the metric 'f1_macro' of auxtune; rename it"),
        ("other_name", COST, "expected a `Metric` of that name, found the metric 'cost_of_errors'"),
        ("cost_of_errors", "METRIC = 3", "expected a `Metric` of that name, found int"),
        ("cost_of_errors", "import nothing_like_it", "cannot be loaded: ModuleNotFoundError"),
        ("cost_of_errors", "raise SystemError('broken')", "cannot be loaded: SystemError: broken"),
        ("cost_of_errors", COST.replace('("classification",)', '("images",)'), "expected `kinds` among classification"),
        ("cost_of_errors", COST.replace("values=cost, ", ""), "expected `function`, or `values` whose mean it is"),
    ],
)
def test_one_that_is_not_in_order_is_named_with_its_package(packages: Path, name: str, code: str, said: str) -> None:
    write_package(packages, name, code, package=f"ours_{packages.name}")
    with pytest.raises(DataError) as error:
        load_tasks([source(packages, name)])
    [message] = error.value.messages
    assert f"metric {name!r}, ours_" in message and said in message


def test_a_name_that_two_packages_give_is_refused(packages: Path) -> None:
    write_package(packages, package="ours_a")
    write_package(packages, package="ours_b")
    with pytest.raises(
        DataError,
        match=r"must be given once, got ours_a:METRIC of ours_a and ours_b:METRIC of ours_b|"
        r"must be given once, got ours_b:METRIC of ours_b and ours_a:METRIC of ours_a",
    ):
        load_tasks([source(packages, "cost_of_errors")])


def test_one_of_another_kind_is_refused_and_an_unknown_name_is_told_what_there_is(packages: Path) -> None:
    write_package(packages, code=COST.replace('("classification",)', '("token",)'), package="ours_tokens")
    with pytest.raises(DataError, match="`cost_of_errors` is for token tasks, this is a classification task"):
        load_tasks([source(packages, "cost_of_errors")])
    with pytest.raises(
        DataError,
        match=r"`cost_of_error` is not a metric of classification tasks; .*cost_of_errors; "
        r"did you mean `cost_of_errors`\?",
    ):
        load_tasks([source(packages, "cost_of_error")])


def test_a_value_that_is_not_finite_is_an_error() -> None:
    metric = Metric("nothing", ("classification",), lambda answers: float("nan"))
    with pytest.raises(ValueError, match="nothing: expected a finite value whatever the predictions, found nan"):
        metric.value(Predictions(LABELS, SAID, np.arange(5)))
