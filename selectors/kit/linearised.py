"""The result of training any subset of tasks, estimated from one model trained on all: fits in its projected gradients.

Source: D. Li, A. Sharma, H. Zhang, "Scalable Multitask Learning Using Gradient-based Estimation of Task Affinity", KDD
2024, https://arxiv.org/abs/2409.06091. Near the weights θ* of the joint run, each row's margin is linear in a move of
the weights: m + g · w, with g the row's projected gradient. Training the shared weights on the tasks S is therefore
close to a regularised logistic regression in a few hundred numbers, with the margins at θ* as offsets:

    minimise over w    Σ_i∈S share_i · mean over rows of i of ℓ(m + g · w)  +  ½ · regularisation · s · |w|²

with ℓ(m) = log(1 + exp(-m)); for regression m is the residual and ℓ(m) = m². The estimate is the same mean loss on rows
that were not fitted. If the model is linear in its weights and the projection orthogonal, the estimate is exact.

Where we differ. Each task counts by its share and not by its number of rows, as in our runs. s, the mean over the tasks
of |g|², makes ``regularisation`` mean the same for any encoder; the paper's is in the units of its model.

The fit is Newton's method with a line search, in float64. With r rows and k numbers it takes some six times
r k² + k³/3 multiplications: 10 ms for 768 rows and 200 numbers. Do not use it for learning rates or numbers of steps
that take a model far from θ*.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from scipy.linalg import cho_factor, cho_solve
from scipy.special import expit

_STEPS, _HALVINGS = 100, 40  # Newton needs about six steps; the rest is for ill-conditioned rows
_PRECISION = 1e-14  # of the objective: stop if another step could gain no more


@dataclass(frozen=True, eq=False)
class Rows:
    """Rows of all tasks: margins, their gradients, and which rows are of regressions, whose loss is the square."""

    gradients: np.ndarray  # (rows, k) float64
    margins: np.ndarray  # (rows,) float64
    squared: np.ndarray  # (rows,) bool
    task: np.ndarray  # (rows,) int, the position of each row's task, ascending

    def move_margins(self, w: np.ndarray) -> np.ndarray:
        """The margins after the move ``w`` (k,), (rows,)."""
        after: np.ndarray = self.margins + self.gradients @ w
        return after

    def compute_losses(self, w: np.ndarray) -> np.ndarray:
        """The loss of each row after the move ``w``, (rows,)."""
        margins = self.move_margins(w)
        return np.where(self.squared, margins**2, np.logaddexp(0.0, -margins))

    def keep(self, kept: np.ndarray) -> Rows:
        """The rows that the mask ``kept``, (rows,) bool, marks."""
        return Rows(self.gradients[kept], self.margins[kept], self.squared[kept], self.task[kept])

    def take_half(self, which: int) -> Rows:
        """Every other row of each task; ``which`` is 0 or 1."""
        starts = np.searchsorted(self.task, self.task)
        return self.keep((np.arange(len(self.task)) - starts) % 2 == which)


@dataclass(frozen=True, eq=False)
class Linearised:
    """The model near θ*: rows to fit on, rows to evaluate on, and the penalty on |w|² / 2."""

    tasks: tuple[str, ...]
    train: Rows
    probe: Rows
    penalty: float

    def estimate_losses(self, shares: Mapping[str, float]) -> np.ndarray:
        """The mean loss of *every* task, (tasks,), after training the tasks in ``shares``, which need not sum to 1.

        Raises ``ValueError`` for tasks that the model lacks, and for no task.
        """
        return self.average_losses(self._fit_move(shares))

    def estimate_row_losses(self, shares: Mapping[str, float], task: str) -> np.ndarray:
        """The loss of each evaluation row of ``task``, (rows,), after training the tasks in ``shares``; as above."""
        own: np.ndarray = self.probe.compute_losses(self._fit_move(shares))[self.probe.task == self.tasks.index(task)]
        return own

    def average_losses(self, w: np.ndarray) -> np.ndarray:
        """The mean loss of each task after the move ``w``, (tasks,); nan for a task without rows."""
        counts = np.bincount(self.probe.task, minlength=len(self.tasks))
        sums = np.bincount(self.probe.task, self.probe.compute_losses(w), len(self.tasks))
        means: np.ndarray = sums / np.where(counts == 0, np.nan, counts)
        return means

    def _fit_move(self, shares: Mapping[str, float]) -> np.ndarray:
        weights = np.zeros(len(self.tasks))
        for task, share in shares.items():
            weights[self.tasks.index(task)] = share
        total = weights.sum()
        if total <= 0:
            raise ValueError(f"a fit needs a task with a share above 0, got {dict(shares)}")
        return fit_move(self.train, weights / total, self.penalty)

    def split_halves(self) -> tuple[Linearised, Linearised]:
        """Two models, each from one half of every task's rows: they have nothing in common but θ*."""
        one, other = (replace(self, train=self.train.take_half(i), probe=self.probe.take_half(i)) for i in (0, 1))
        return one, other


def build_linearised(arrays: Mapping[str, np.ndarray], regularisation: float) -> Linearised:
    """The model from the arrays of the probe ``output_gradients``; ``regularisation`` is relative to |g|²."""
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
    # If nothing depends on the encoder, any penalty gives the same answer: no move.
    return Linearised(tasks, train, probe, regularisation * (scale or 1.0))


def fit_move(rows: Rows, shares: np.ndarray, penalty: float) -> np.ndarray:
    """The move w, (k,), that minimises the objective above for ``shares`` (tasks,); ``penalty`` is above 0.

    Newton's method: each step solves H d = -∇ with H = Gᵀ diag(share · ℓ'') G + penalty · I, which is positive definite
    since ℓ is convex. Steps are halved until the objective falls by a quarter of the promised decrease (Armijo).
    """
    used = rows.keep(shares[rows.task] > 0)
    weights = shares[used.task] / np.bincount(used.task, minlength=len(shares))[used.task]

    def objective(w: np.ndarray) -> float:
        return float(weights @ used.compute_losses(w) + penalty / 2 * w @ w)

    w = np.zeros(used.gradients.shape[1])
    value = objective(w)
    for _ in range(_STEPS):
        slopes, bends = _compute_derivatives(used, w)
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
            break  # no shorter step helps: the remaining gain is below the rounding of the objective
        w, value = reached, lower
    return w


def _compute_derivatives(rows: Rows, w: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """First and second derivative of each row's loss by its margin, (rows,) each."""
    margins = rows.move_margins(w)
    wrong = expit(-margins)
    slopes = np.where(rows.squared, 2 * margins, -wrong)
    return slopes, np.where(rows.squared, 2.0, wrong * (1 - wrong))
