"""What training on any subset of tasks would come to, from one model trained on all: fits in its projected gradients.

Source: Li, Sharma and Zhang, "Scalable Multitask Learning Using Gradient-based Estimation of Task Affinity", KDD 2024.
Near the weights θ* of the joint run each row's margin is linear in a move of the weights, m + g · w with g the row's
projected gradient. So training the shared weights on the tasks S is a regularised logistic regression in a few hundred
numbers, with the margins at θ* as offsets:

    minimise over w    Σ_i∈S share_i · mean over rows of i of ℓ(m + g · w)  +  ½ · regularisation · s · |w|²

with ℓ(m) = log(1 + exp(-m)), for regression, where m is what the prediction lacks, m². What it comes to is the same
mean loss on rows that were not fitted. If the model is linear in its weights and the projection orthogonal, that is
what training would give, exactly.

Where we differ. Each task counts by its share and not by its rows, as in our runs. s, the mean over the tasks of
|g|², makes ``regularisation`` a number that means the same for any encoder; the paper's is in the units of its model.

The fit is Newton's method with a line search, in float64. A fit of r rows and k numbers takes some six times
r k² + k³/3 multiplications: 10 ms for 768 rows and 200 numbers. Do not use it for learning rates or numbers of steps
that take a model far from θ*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

_STEPS, _HALVINGS = 100, 40  # Newton needs about six; the rest is for hopeless numbers
_PRECISION = 1e-14  # of the objective, what another step could still win


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of all tasks: margins and their gradients, and which are of regressions, where the loss is the square."""

    gradients: np.ndarray  # (rows, k) float64
    margins: np.ndarray  # (rows,) float64
    squared: np.ndarray  # (rows,) bool
    task: np.ndarray  # (rows,) int, the place of each row's task, in rising order

    def moved(self, w: np.ndarray) -> np.ndarray:
        """The margins after a move, (rows,)."""
        after: np.ndarray = self.margins + self.gradients @ w
        return after

    def losses(self, w: np.ndarray) -> np.ndarray:
        """The loss of each row after a move, (rows,)."""
        margins = self.moved(w)
        return np.where(self.squared, margins**2, np.logaddexp(0.0, -margins))

    def taken(self, kept: np.ndarray) -> Rows:
        """Those rows that ``kept``, (rows,) bool, marks."""
        return Rows(self.gradients[kept], self.margins[kept], self.squared[kept], self.task[kept])

    def half(self, which: int) -> Rows:
        """Every other row of each task; ``which`` is 0 or 1."""
        starts = np.searchsorted(self.task, self.task)
        return self.taken((np.arange(len(self.task)) - starts) % 2 == which)


@dataclass(frozen=True, eq=False)
class Linearised:
    """The model near θ*: rows to fit on, rows to judge by, and the penalty on |w|² / 2."""

    tasks: tuple[str, ...]
    train: Rows
    probe: Rows
    penalty: float

    def losses(self, shares: Mapping[str, float]) -> np.ndarray:
        """The mean loss of *every* task, (tasks,), after training those of ``shares``, which need not sum to 1.

        Raises ``ValueError`` for tasks that are none of the model's, and for no task.
        """
        return self.after(self._moved(shares))

    def row_losses(self, shares: Mapping[str, float], task: str) -> np.ndarray:
        """The loss of each row that ``task`` is judged by, (rows,), after training those of ``shares``; as above."""
        own: np.ndarray = self.probe.losses(self._moved(shares))[self.probe.task == self.tasks.index(task)]
        return own

    def after(self, w: np.ndarray) -> np.ndarray:
        """The mean loss of each task after a move, (tasks,); nan for one without rows."""
        counts = np.bincount(self.probe.task, minlength=len(self.tasks))
        sums = np.bincount(self.probe.task, self.probe.losses(w), len(self.tasks))
        means: np.ndarray = sums / np.where(counts == 0, np.nan, counts)
        return means

    def _moved(self, shares: Mapping[str, float]) -> np.ndarray:
        weights = np.zeros(len(self.tasks))
        for task, share in shares.items():
            weights[self.tasks.index(task)] = share
        total = weights.sum()
        if total <= 0:
            raise ValueError(f"a fit needs a task with a share above 0, got {dict(shares)}")
        return fitted(self.train, weights / total, self.penalty)

    def halves(self) -> tuple[Linearised, Linearised]:
        """The same of one half of each task's rows, and of the other: nothing in common but θ*."""
        one, other = (replace(self, train=self.train.half(i), probe=self.probe.half(i)) for i in (0, 1))
        return one, other


def linearised(arrays: Mapping[str, np.ndarray], regularisation: float) -> Linearised:
    """Of the arrays of the probe ``output_gradients``."""
    tasks = tuple(str(task) for task in arrays["tasks"])
    regression = np.array([str(kind) == "regression" for kind in arrays["kinds"]])
    train, probe = (
        Rows(
            np.asarray(arrays[f"{part}_gradients"], float),
            np.asarray(arrays[f"{part}_margins"], float),
            regression[arrays[f"{part}_task"]],
            np.asarray(arrays[f"{part}_task"], int),
        )
        for part in ("train", "probe")
    )
    lengths = np.square(train.gradients).sum(axis=1)
    counts = np.bincount(train.task, minlength=len(tasks))
    scale = float((np.bincount(train.task, lengths, len(tasks)) / counts).mean())
    # Where nothing depends on the encoder any penalty gives the same answer: no move.
    return Linearised(tasks, train, probe, regularisation * (scale or 1.0))


def fitted(rows: Rows, shares: np.ndarray, penalty: float) -> np.ndarray:
    """The best move w, (k,), for tasks that count by ``shares``, (tasks,); ``penalty`` is above 0."""
    used = rows.taken(shares[rows.task] > 0)
    weights = shares[used.task] / np.bincount(used.task, minlength=len(shares))[used.task]

    def objective(w: np.ndarray) -> float:
        return float(weights @ used.losses(w) + penalty / 2 * w @ w)

    w = np.zeros(used.gradients.shape[1])
    value = objective(w)
    for _ in range(_STEPS):
        slopes, bends = _derivatives(used, w)
        slope = used.gradients.T @ (weights * slopes) + penalty * w
        bend = used.gradients.T @ ((weights * bends)[:, None] * used.gradients)
        bend[np.diag_indices_from(bend)] += penalty
        step = -cho_solve(cho_factor(bend), slope)
        promised = -float(slope @ step)
        if promised <= _PRECISION * max(value, 1e-300):
            break
        for halving in range(_HALVINGS):
            reached = w + step / 2**halving
            lower = objective(reached)
            if lower <= value - promised / 2**halving / 4:
                break
        else:
            break  # what is left is below the rounding of the objective
        w, value = reached, lower
    return w


def _derivatives(rows: Rows, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative of each row's loss by its margin, (rows,) each."""
    margins = rows.moved(w)
    wrong = expit(-margins)
    slopes = np.where(rows.squared, 2 * margins, -wrong)
    return slopes, np.where(rows.squared, 2.0, wrong * (1 - wrong))
