"""How a score depends on which tasks were trained: fitted to the memberships of subsets and checked on held-out ones.

Notation. U (trials, tasks) is 1 where a task was in a trial's subset and else 0; f (trials,) are the scores. The
coefficients are linear in f, w = A f. Predictions of held-out trials are then a matrix product too, which makes it
cheap to see how well chance would do (``skill.py``).

Sources: D. Li, H. L. Nguyen, H. R. Zhang, "Identification of Negative Transfers in Multitask Learning Using Surrogate
Models", TMLR 2023, https://arxiv.org/abs/2303.14582, for the least-squares fit f ~ b + U w; and by the same authors
"Boosting Multitask Learning on Graphs through Higher-Order Task Affinities", KDD 2023,
https://arxiv.org/abs/2306.14009, for the average score of the subsets that hold a task.

With subsets of one size, coefficients and intercept trade off: adding c to every w and subtracting c times the size
from b fits equally well. With an intercept the fit of least norm is taken, whose coefficients sum to 0 over tasks, so
that 0 is an average task; without one, the coefficients carry the level too. Both rank the tasks alike.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

Estimator: TypeAlias = Literal["least_squares", "average"]

_FOLDS = 10


@dataclass(frozen=True, eq=False)
class Fit:
    """The fitted coefficients of tasks, which predict the score of any subset."""

    estimator: Estimator
    weights: np.ndarray  # (tasks,), the coefficient of each task
    level: float  # mean score
    centre: np.ndarray  # (tasks,), mean membership

    def predict(self, members: np.ndarray) -> np.ndarray:
        """Predicted scores of subsets, (trials,), from their memberships (trials, tasks)."""
        predicted: np.ndarray = self.level + _build_design(members, self.centre, self.estimator) @ self.weights
        return predicted


def fit_memberships(
    members: np.ndarray, scores: np.ndarray, estimator: Estimator = "least_squares", ridge: float = 0.0
) -> Fit:
    """The fit, with intercept, of ``scores`` (trials,) to ``members`` (trials, tasks); at least one trial."""
    weights = build_coefficient_map(members, estimator, ridge) @ scores
    return Fit(estimator, weights, float(scores.mean()), members.mean(axis=0))


def build_coefficient_map(
    members: np.ndarray, estimator: Estimator = "least_squares", ridge: float = 0.0, intercept: bool = True
) -> np.ndarray:
    """A (tasks, trials), so that ``A @ scores`` are the coefficients. A task that was in no trial gets 0.

    ``ridge`` is added to the sum of squares of each task, for least squares only; 0 gives the fit of least norm.

    >>> pairs = np.array([[1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 1], [0, 1, 1, 0], [0, 1, 0, 1], [0, 0, 1, 1]])
    >>> (build_coefficient_map(pairs, "average", intercept=False) @ [0.5, 1.0, 1.5, 1.5, 2.0, 2.5]).round(2).tolist()
    [1.0, 1.33, 1.67, 2.0]
    """
    if estimator == "average":
        counts = members.sum(axis=0)
        mean: np.ndarray = np.divide(members, counts, out=np.zeros(members.shape), where=counts > 0).T
        return mean - ((counts > 0) / len(members))[:, None] if intercept else mean
    design = members - members.mean(axis=0) if intercept else members
    if ridge == 0:
        inverse: np.ndarray = np.linalg.pinv(design)
        return inverse
    solved: np.ndarray = np.linalg.solve(design.T @ design + ridge * np.eye(design.shape[1]), design.T)
    return solved


def predict_held_out(members: np.ndarray, estimator: Estimator, ridge: float) -> np.ndarray:
    """H (trials, trials): ``H @ scores`` predicts each trial's score beyond the mean from those of other folds alone.

    Ten folds, or each trial by itself if there are fewer than ten trials. The means of the folds are left out: the mean
    of the other trials is low exactly where a trial is high, which would hide any skill.
    """
    trials, centre = len(members), members.mean(axis=0)
    prediction = np.zeros((trials, trials))
    folds = np.arange(trials) % _FOLDS
    for fold in range(min(_FOLDS, trials) if trials > 1 else 0):
        out, rest = folds == fold, folds != fold
        design = _build_design(members[out], centre, estimator)
        prediction[np.ix_(out, rest)] = design @ build_coefficient_map(members[rest], estimator, ridge)
    return prediction


def _build_design(members: np.ndarray, centre: np.ndarray, estimator: Estimator) -> np.ndarray:
    """The matrix that multiplies the coefficients: equal shares of a subset for averages, else centred memberships."""
    shares = members / np.maximum(members.sum(axis=1, keepdims=True), 1)
    design: np.ndarray = shares if estimator == "average" else members - centre
    return design
