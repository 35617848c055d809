"""How much tasks do for each other: one number for each pair, with a direction and with where it comes from.

No source of its own. Every method that compares tasks, by look-ahead, gradients, representations or covariances, ends
in such a table, so that what makes groups and subsets of it (``grouping.py``, ``cover.py``) is
written once and can be swapped.

``values[r, s]`` is what the source ``s`` does for the recipient ``r``; higher is better. A row is a recipient's view of
all sources. What the diagonal means differs between methods, and so do scales: compare numbers within one table only.

What a task does for another on average beside all others: affinity from the losses of random subsets of tasks.

Source: Li, Ju, Sharma and Zhang, "Boosting Multitask Learning on Graphs through Higher-Order Task Affinities", KDD 2023
(https://arxiv.org/abs/2306.14009): for recipient i and source j the mean of what i came to in the drawn subsets that
hold both. A pair is thus judged beside others, where TAG and pairs trained alone judge it by itself.

Where we differ: a row is the *share of i's mean loss* that j takes away, 1 - mean loss with j / mean loss of i, and not
the mean itself. Which sources a task prefers is the same; but rows of different tasks can be averaged and compared,
where otherwise a task of high loss would seem near to nobody. Every pair is drawn: where subsets happen to miss one, a
subset is added for it.

Of n tasks and subsets of s a pair is in a share of s (s - 1) / (n (n - 1)) of them: 200 subsets of a quarter of the
tasks hold each pair about twelve times. Where not every subset of a size is drawn, sources that happen to meet often
have part of each other's mean, so that the table is worth fewer independent numbers (``independent``). Nothing here is
trained or costly. What holds only for one subset is lost.

Whether a table of pairs that was measured several times says the same each time, or is noise.

Two measures of agreement are reported. *Halves* is the correlation of the mean of the odd replicates with that of the
even ones, a replicate being one probe of a run, or a run of its own. *Full* is what two means of all replicates would
correlate by, 2 r / (1 + r): C. Spearman, "Correlation calculated from faulty data", and W. Brown, "Some experimental
results in the correlation of mental abilities", both British Journal of Psychology, 1910.

The test. The entries of a table are not independent: one batch's gradient is in a whole column, and the affinity of i
onto j is up to a factor that of j onto i. So no formula that counts entries fits. But if there is nothing to be found,
a replicate is as likely as its negative, whatever depends on what within it. The signs of whole replicates are
therefore drawn anew (R. A. Fisher, "The Design of Experiments", 1935, section 21), and the squared sum of each entry,
in units of its own size, is compared with what is then found. The share of the draws that come to as much is ``p``:
exact for any size of table where replicates are symmetric about 0. All 2^(k - 1) signs of up to 10 replicates are tried
and 512 random ones of more. Under 6 none could be rare enough; then the correlation of the halves is tested by Fisher's
z (``correlation_bound``), with half of the free entries for the symmetry.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.stats import norm

from auxtune.selectors.protocol import JSON


@dataclass(frozen=True, eq=False)
class Affinity:
    """A number for each (recipient, source); ``nan`` where it is not known. Made by ``make_affinity``."""

    tasks: tuple[str, ...]
    values: np.ndarray  # (tasks, tasks) float64, [recipient, source], not to be written
    method: str  # the selector that made it
    measured: str  # what the numbers are, for people to read
    seed: int | None = None  # of the runs measured, where all have one
    details: Mapping[str, JSON] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if len(set(self.tasks)) != len(self.tasks) or not self.tasks:
            raise ValueError(f"an affinity's tasks must be one at least, each once; got {self.tasks}")
        if self.values.shape != (len(self.tasks),) * 2:
            raise ValueError(f"an affinity of {len(self.tasks)} tasks must be square, got shape {self.values.shape}")
        if np.isinf(self.values).any():
            raise ValueError(f"an affinity must be finite, or nan where it is not known; got {self.values.tolist()}")

    @property
    def known(self) -> bool:
        """Whether every number off the diagonal is known."""
        return bool(np.isfinite(self.values[~np.eye(len(self.tasks), dtype=bool)]).all())

    def among(self, tasks: Sequence[str]) -> Affinity:
        """The same of some ``tasks``, in the order given. Raises ``ValueError`` for a task that is not in it."""
        strange = [task for task in tasks if task not in self.tasks]
        if strange:
            raise ValueError(f"tasks must be of the affinity's {', '.join(self.tasks)}, got {', '.join(strange)}")
        places = [self.tasks.index(task) for task in tasks]
        return replace(self, tasks=tuple(tasks), values=_frozen(self.values[np.ix_(places, places)]))

    def symmetrised(self) -> Affinity:
        """The mean of both directions, for methods that know none; not known where one of them is not."""
        return replace(self, values=_frozen((self.values + self.values.T) / 2))

    def onto(self, recipient: str) -> dict[str, float]:
        """What each other task does for ``recipient``: source -> number."""
        row = self.values[self.tasks.index(recipient)]
        return {task: float(value) for task, value in zip(self.tasks, row, strict=True) if task != recipient}

    def as_json(self) -> dict[str, JSON]:
        """For ``Selection.belief``: rows are recipients, what is not known is ``None``."""
        rows = [[value if np.isfinite(value) else None for value in row] for row in self.values.tolist()]
        told = {"method": self.method, "measured": self.measured, "seed": self.seed, **self.details}
        return {"tasks": list(self.tasks), "recipient_by_source": rows, **told}


def make_affinity(
    tasks: Sequence[str],
    values: np.ndarray,
    method: str,
    measured: str,
    seed: int | None = None,
    details: Mapping[str, JSON] | None = None,
) -> Affinity:
    """An affinity with a copy of ``values``, (tasks, tasks), ``[recipient, source]``, that nobody can write to.

    >>> make_affinity(["a", "b"], np.array([[0, 2], [1, 0]]), "tag", "loss ratio").onto("a")
    {'b': 2.0}

    Raises ``ValueError`` for tasks given twice, another shape, and infinite numbers.
    """
    return Affinity(tuple(tasks), _frozen(values), method, measured, seed, details or {})


def _frozen(values: np.ndarray) -> np.ndarray:
    copied: np.ndarray = np.array(values, dtype=float)
    copied.setflags(write=False)
    return copied


def draw_subsets(tasks: int, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Different subsets of ``size``, (subsets, tasks) bool, in which every pair is together at least once.

    All there are, if these are no more than ``count``. Raises ``ValueError`` unless 2 ≤ ``size`` ≤ ``tasks``.
    """
    if not 2 <= size <= tasks:
        raise ValueError(f"subsets must have 2 to {tasks} tasks, got {size}")
    if math.comb(tasks, size) <= count:
        return _masks(list(itertools.combinations(range(tasks), size)), tasks)
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < count:
        drawn[tuple(sorted(rng.permutation(tasks)[:size].tolist()))] = None
    masks = _masks(list(drawn), tasks)
    together = masks.T.astype(int) @ masks
    for one, other in itertools.combinations(range(tasks), 2):
        if not together[one, other]:
            rest = rng.permutation([task for task in range(tasks) if task not in (one, other)])
            added = _masks([(one, other, *rest[: size - 2].tolist())], tasks)
            masks, together = np.vstack([masks, added]), together + added.T.astype(int) @ added
    return masks


def average_gains(masks: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """The share of its mean loss that each task is spared beside each other, (tasks, tasks), [recipient, source].

    ``losses``, (subsets, tasks), are read where ``masks`` is true. 0 on the diagonal; nan for a pair that is in no
    subset. A loss that is 0 throughout leaves nothing to gain: 0.

    >>> average_gains(np.array([[1, 1, 0], [1, 0, 1]], bool), np.array([[1.0, 4, 0], [3, 0, 5]])).round(2)
    array([[ 0. ,  0.5, -0.5],
           [ 0. ,  0. ,  nan],
           [ 0. ,  nan,  0. ]])
    """
    held = np.where(masks, losses, 0.0)
    together = masks.T.astype(float) @ masks  # (recipient, source): in how many subsets
    with np.errstate(invalid="ignore", divide="ignore"):
        beside = (held.T @ masks) / together
        own = np.diag(beside)[:, None]
        gains: np.ndarray = np.where(own == 0, beside, 1 - beside / np.where(own == 0, 1.0, own))
    return gains


def independent(masks: np.ndarray) -> float:
    """As many independent numbers as the table of ``masks``, (subsets, tasks), is worth, rows less their means.

    If in recipient i's row each source k has an effect of its own on i, the mean over the subsets that hold i and j
    has source k's effect in the share of them that hold k as well. Of effects that are pure noise the row therefore has
    the covariance C Cᵀ, C these shares less their column means over j, and a correlation of two such tables varies like
    one of (Σ tr C Cᵀ)² / Σ tr (C Cᵀ)² numbers (F. Satterthwaite, "An Approximate Distribution of Estimates of Variance
    Components", Biometrics Bulletin, 1946). Where every subset of a size is drawn these are tasks * (tasks - 2).
    """
    total = squares = 0.0
    for recipient in range(masks.shape[1]):
        beside = np.delete(masks[masks[:, recipient]], recipient, axis=1).astype(float)
        shares = (beside.T @ beside) / beside.sum(axis=0)[:, None]
        centred = shares - shares.mean(axis=0)
        covariance = centred @ centred.T
        total += float(np.trace(covariance))
        squares += float((covariance**2).sum())
    return total**2 / squares if squares > 0 else 0.0


def _masks(subsets: list[tuple[int, ...]], tasks: int) -> np.ndarray:
    masks = np.zeros((len(subsets), tasks), dtype=bool)
    for row, subset in enumerate(subsets):
        masks[row, list(subset)] = True
    return masks


SURE = 0.95  # one-sided
FEWEST = 6  # replicates of which one sign pattern is rare enough
_ALL, _DRAWS = 10, 512


@dataclass(frozen=True)
class Reliability:
    """How far replicates agree; ``None`` where there is nothing to compare. ``p`` is the chance of as much by luck."""

    halves: float | None  # correlation of odd and even replicates
    full: float | None  # of two means of all replicates, by Spearman and Brown
    p: float | None
    replicates: int

    @property
    def shown(self) -> bool:
        """Whether there is more than chance in what was measured."""
        return self.p is not None and self.p <= 1 - SURE

    def as_json(self) -> dict[str, JSON]:
        """For ``Selection.belief``."""
        return {**vars(self), "shown": self.shown}

    @classmethod
    def from_json(cls, told: Mapping[str, JSON]) -> Reliability:
        """What ``as_json`` told."""
        return cls(told["halves"], told["full"], told["p"], told["replicates"])


def preferences(table: np.ndarray, own: bool = False) -> np.ndarray:
    """What each recipient's sources do for it, less the mean of its row: (tasks * (tasks - 1),) of (tasks, tasks).

    With ``own`` the diagonal counts as well, what a task does for itself: (tasks²,).
    """
    rows = table if own else table[~np.eye(len(table), dtype=bool)].reshape(len(table), -1)
    centred: np.ndarray = rows - rows.mean(axis=1, keepdims=True)
    return centred.ravel()


def reliability_of(entries: np.ndarray, free: float, seed: int) -> Reliability:
    """The agreement of ``entries``, (replicates, entries), about 0; ``nan`` in one says nothing.

    ``free`` is how many independent numbers the entries are worth where there are too few replicates to draw signs.
    """
    known = np.nan_to_num(entries, nan=0.0)
    replicates = len(known)
    if replicates < 2:
        return Reliability(None, None, None, replicates)
    halves = _cosine(known[0::2].mean(axis=0), known[1::2].mean(axis=0))
    if halves is None:
        return Reliability(None, None, None, replicates)
    chance = _by_signs(known, seed) if replicates >= FEWEST else _by_correlation(halves, free)
    return Reliability(halves, max(2 * halves / (1 + halves), -1.0) if halves > -1 else -1.0, chance, replicates)


def correlation_bound(found: float, free: float) -> float | None:
    """The lower one-sided 95 % bound of a correlation of ``free`` independent numbers, by Fisher's z.

    Their means are already counted off. ``None`` of two or fewer, which always correlate.
    """
    if free <= 2:
        return None
    within = float(np.clip(found, 1e-9 - 1, 1 - 1e-9))
    return float(np.tanh(np.arctanh(within) - norm.ppf(SURE) / np.sqrt(free - 2)))


def _cosine(one: np.ndarray, other: np.ndarray) -> float | None:
    """Correlation about 0; ``None`` where either is 0 throughout."""
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.clip(one @ other / length, -1.0, 1.0)) if length > 0 else None


def _by_signs(entries: np.ndarray, seed: int) -> float:
    """The share of all signs of the replicates, the true ones among them, under which the sums are as large."""
    size = np.sqrt((entries**2).sum(axis=0))
    scaled = np.divide(entries, size, out=np.zeros_like(entries), where=size > 0)
    if len(entries) <= _ALL:  # a sign for all says nothing: the first keeps its own
        signs = np.array([(1, *rest) for rest in itertools.product((1, -1), repeat=len(entries) - 1)])
    else:
        drawn = np.random.default_rng([seed, 23]).choice((-1, 1), size=(_DRAWS, len(entries)))
        signs = np.vstack([np.ones(len(entries)), drawn])
    reached = ((signs @ scaled) ** 2).sum(axis=1)
    return float(np.mean(reached >= reached[0] * (1 - 1e-12)))


def _by_correlation(halves: float, free: float) -> float | None:
    if free <= 2:
        return None
    within = float(np.clip(halves, 1e-9 - 1, 1 - 1e-9))
    return float(norm.sf(np.arctanh(within) * np.sqrt(free - 2)))
