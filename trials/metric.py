"""A metric, and the answers that it is computed from. Loads no torch."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import get_args

import numpy as np

from auxtune.trials.encoded import Kind
from auxtune.trials.resamples import resample_mean

MISSED = -1  # the prediction for a labelled word that the model did not see


@dataclass(frozen=True, eq=False)
class Answers:
    """A model's predictions on a split and the labels, an element per row or, for a token task, per labelled word.

    ``rows``, ascending, is the row of each element. ``names`` are the task's labels in the order of their ids; there
    are none for values and in files of early versions. A word that was cut off, or for which the tokenizer has no
    token, has the prediction ``MISSED`` and the same probability for each label.
    """

    labels: np.ndarray  # (elements,) or, for a multi-label task, (elements, labels)
    predictions: np.ndarray  # likewise
    rows: np.ndarray  # (elements,)
    names: tuple[str, ...] = ()
    probabilities: np.ndarray | None = None  # (elements, labels) float32, if a metric needs them


@dataclass(frozen=True)
class Metric:
    """One metric. A score is its value times its ``direction``, so that a higher score is always better.

    ``kinds`` are the kinds of tasks it is for. ``function`` computes its natural value, finite whatever the
    predictions. If the metric is the mean of a value per element, ``values`` computes these, (elements,), and
    ``function`` may be omitted. ``resampled`` computes it on many resamples at once, ``(answers, times) ->
    (resamples,)``, with ``times`` (resamples, rows) how often each row was drawn; without it and ``values``, each
    resample is built and measured. Raises ``ValueError`` for a metric without a function or with unknown kinds.
    """

    name: str
    kinds: tuple[Kind, ...]
    function: Callable[[Answers], float] | None = None
    values: Callable[[Answers], np.ndarray] | None = None
    resampled: Callable[[Answers, np.ndarray], np.ndarray] | None = None
    higher_is_better: bool = True
    needs_probabilities: bool = False
    needs_spans: bool = False  # only for BIO tags

    def __post_init__(self) -> None:
        if self.function is None and self.values is None:
            raise ValueError(f"metric {self.name!r}: expected `function`, or `values` whose mean it is, found neither")
        wrong = [kind for kind in self.kinds if kind not in get_args(Kind)]
        if wrong or not self.kinds:
            found = repr(wrong[0]) if wrong else "none"
            raise ValueError(f"metric {self.name!r}: expected `kinds` among {', '.join(get_args(Kind))}, found {found}")

    @property
    def direction(self) -> int:
        """1 if higher is better, else −1."""
        return 1 if self.higher_is_better else -1

    @property
    def has_values(self) -> bool:
        """Whether it is the mean of a value per element."""
        return self.values is not None

    def value(self, answers: Answers) -> float:
        """Its natural value. Raises ``ValueError`` for no elements, for unequal lengths, and if it is not finite."""
        if len(answers.labels) == 0 or len(answers.labels) != len(answers.predictions):
            raise ValueError(
                f"{self.name}: expected one prediction per label and some labels, "
                f"found {len(answers.predictions)} for {len(answers.labels)}"
            )
        if self.needs_probabilities and answers.probabilities is None:
            raise ValueError(
                f"{self.name}: expected the probability of each label, found none; they are written "
                "where a metric of the task needs them"
            )
        if self.function is not None:
            value = float(self.function(answers))
        else:
            value = float(np.mean(self.values(answers))) if self.values else math.nan
        if not math.isfinite(value):
            raise ValueError(f"{self.name}: expected a finite value whatever the predictions, found {value}")
        return value

    def on_resamples(self, answers: Answers, times: np.ndarray) -> np.ndarray:
        """Its natural values, (resamples,), when each row is drawn as often as ``times`` (resamples, rows) says."""
        if self.resampled is not None:
            return self.resampled(answers, times)
        if self.values is not None:
            return resample_mean(self.values(answers), answers.rows, times)
        return np.array([self.value(_repeat_rows(answers, each)) for each in times])


def _repeat_rows(answers: Answers, times: np.ndarray) -> Answers:
    """The answers of a resample, ``times`` (rows,): a row that is drawn twice becomes two rows."""
    order = np.argsort(answers.rows, kind="stable")
    members = np.split(order, np.searchsorted(answers.rows[order], np.arange(1, len(times))))
    chosen = [members[row] for row in np.repeat(np.arange(len(times)), times)]
    places = np.concatenate(chosen)
    return Answers(
        answers.labels[places],
        answers.predictions[places],
        np.repeat(np.arange(len(chosen)), [len(each) for each in chosen]),
        answers.names,
        None if answers.probabilities is None else answers.probabilities[places],
    )
