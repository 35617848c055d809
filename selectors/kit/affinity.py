"""How much tasks help each other: one number for each ordered pair, and whether such numbers are more than noise.

Every method that compares tasks, whether by look-ahead, gradients, representations or covariances, ends in a table of
this type, so that what turns tables into groups and subsets (``grouping.py``, ``cover.py``) is written once.

``values[r, s]`` is the effect of the source ``s`` on the recipient ``r``; higher is better. A row is one recipient's
view of all sources. The diagonal and the scale mean different things in different methods: compare numbers within one
table only.

**Affinity from random subsets** (``draw_subsets``, ``estimate_gains``). Source: D. Li, H. Ju, A. Sharma, H. Zhang,
"Boosting Multitask Learning on Graphs through Higher-Order Task Affinities", KDD 2023,
https://arxiv.org/abs/2306.14009: for recipient i and source j, the mean loss of i over the drawn subsets that hold
both. A pair is thus judged in the company of others, where TAG and trainings of pairs judge it alone.

Where we differ: a row holds the *share of i's mean loss* that j removes, 1 - mean loss with j / mean loss of i. The
order of a row's sources is the same, but rows of different tasks can now be averaged and compared; with raw losses a
task of high loss would seem close to none. If the draws miss a pair, a subset that holds it is added.

Of n tasks and subsets of size s, a pair is in a share s (s - 1) / (n (n - 1)) of the subsets: 200 subsets of a quarter
of the tasks hold each pair about twelve times. Unless every subset of a size is drawn, sources that happen to meet
often share part of each other's mean, so the table is worth fewer independent numbers (``count_independent``). The
computation is cheap and trains nothing. An effect that exists in one subset only is lost.

**Reliability** (``measure_reliability``): whether a table that was measured several times says the same each time. Two
measures of agreement are reported. *Halves* is the correlation of the mean of the odd replicates with that of the even
ones; a replicate is one probe of a run, or one run. *Full* is the correlation to expect between two means of all
replicates, 2 r / (1 + r): C. Spearman, "Correlation calculated from faulty data", and W. Brown, "Some experimental
results in the correlation of mental abilities", both British Journal of Psychology, 1910.

The test. The entries of a table are not independent: one batch's gradient enters a whole column, and the affinity of i
onto j equals that of j onto i up to a factor. No formula that counts entries is therefore right. But if there is no
effect, a replicate is as likely as its negative, however its entries depend on each other. So the signs of whole
replicates are redrawn (R. A. Fisher, "The Design of Experiments", 1935, section 21), and the squared sum of each entry,
in units of its own size, is compared with its value under the redrawn signs. ``p`` is the share of draws that reach as
much; it is exact for tables of any size if replicates are symmetric about 0. All 2^(k - 1) sign patterns of up to 10
replicates are tried, and 512 random ones of more. With fewer than 6 no pattern is rare enough; then the correlation of
the halves is tested by Fisher's z (``bound_correlation``), counting half of the free entries because of the symmetry.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from auxtune.selectors.protocol import JSON


@dataclass(frozen=True, eq=False)
class Affinity:
    """A number for each (recipient, source); ``nan`` where it is unknown. Made by ``build_affinity``."""

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

    def restrict_to(self, tasks: Sequence[str]) -> Affinity:
        """The table of these ``tasks`` only, in the order given. Raises ``ValueError`` for a task that it lacks."""
        missing = [task for task in tasks if task not in self.tasks]
        if missing:
            raise ValueError(f"tasks must be of the affinity's {', '.join(self.tasks)}, got {', '.join(missing)}")
        places = [self.tasks.index(task) for task in tasks]
        return replace(self, tasks=tuple(tasks), values=_freeze_copy(self.values[np.ix_(places, places)]))

    def average_directions(self) -> Affinity:
        """The mean of both directions, for methods without a direction; unknown if either one is."""
        return replace(self, values=_freeze_copy((self.values + self.values.T) / 2))

    def read_row(self, recipient: str) -> dict[str, float]:
        """The affinity of each other task onto ``recipient``: source -> number."""
        row = self.values[self.tasks.index(recipient)]
        return {task: float(value) for task, value in zip(self.tasks, row, strict=True) if task != recipient}

    def as_json(self) -> dict[str, JSON]:
        """For ``Selection.belief``: rows are recipients, unknown numbers are ``None``."""
        rows = [[value if np.isfinite(value) else None for value in row] for row in self.values.tolist()]
        told = {"method": self.method, "measured": self.measured, "seed": self.seed, **self.details}
        return {"tasks": list(self.tasks), "recipient_by_source": rows, **told}


def build_affinity(
    tasks: Sequence[str],
    values: np.ndarray,
    method: str,
    measured: str,
    seed: int | None = None,
    details: Mapping[str, JSON] | None = None,
) -> Affinity:
    """An affinity with a read-only copy of ``values``, (tasks, tasks), ``[recipient, source]``.

    >>> build_affinity(["a", "b"], np.array([[0, 2], [1, 0]]), "tag", "loss ratio").read_row("a")
    {'b': 2.0}

    Raises ``ValueError`` for tasks given twice, another shape, and infinite numbers.
    """
    return Affinity(tuple(tasks), _freeze_copy(values), method, measured, seed, details or {})


def _freeze_copy(values: np.ndarray) -> np.ndarray:
    copied: np.ndarray = np.array(values, dtype=float)
    copied.setflags(write=False)
    return copied


def draw_subsets(tasks: int, size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """``count`` different subsets of ``size``, (subsets, tasks) bool, in which every pair occurs at least once.

    All subsets, if there are no more than ``count``; a few more than ``count``, if the draws miss a pair. Raises
    ``ValueError`` unless 2 ≤ ``size`` ≤ ``tasks``.
    """
    if not 2 <= size <= tasks:
        raise ValueError(f"subsets must have 2 to {tasks} tasks, got {size}")
    if math.comb(tasks, size) <= count:
        return _build_masks(list(itertools.combinations(range(tasks), size)), tasks)
    drawn: dict[tuple[int, ...], None] = {}
    while len(drawn) < count:
        drawn[tuple(sorted(rng.permutation(tasks)[:size].tolist()))] = None
    masks = _build_masks(list(drawn), tasks)
    together = masks.T.astype(int) @ masks
    for one, other in itertools.combinations(range(tasks), 2):
        if not together[one, other]:
            rest = rng.permutation([task for task in range(tasks) if task not in (one, other)])
            added = _build_masks([(one, other, *rest[: size - 2].tolist())], tasks)
            masks, together = np.vstack([masks, added]), together + added.T.astype(int) @ added
    return masks


def estimate_gains(masks: np.ndarray, losses: np.ndarray) -> np.ndarray:
    """The share of each task's mean loss that each other task removes, (tasks, tasks), [recipient, source].

    ``losses``, (subsets, tasks), are read where ``masks`` is true. 0 on the diagonal; nan for a pair that is in no
    subset. A loss that is always 0 leaves nothing to gain: 0.

    >>> estimate_gains(np.array([[1, 1, 0], [1, 0, 1]], bool), np.array([[1.0, 4, 0], [3, 0, 5]])).round(2)
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


def count_independent(masks: np.ndarray) -> float:
    """The effective count of independent numbers in a table from ``masks``, (subsets, tasks), rows less their means.

    Suppose each source k has an effect of its own on recipient i. The mean over the subsets that hold i and j then
    contains the effect of k in the share of these subsets that also hold k. If the effects are pure noise, row i has
    the covariance C Cᵀ, with C these shares less their column means over j, and a correlation of two such tables varies
    like one of (Σ tr C Cᵀ)² / Σ tr (C Cᵀ)² independent numbers (F. Satterthwaite, "An Approximate Distribution of
    Estimates of Variance Components", Biometrics Bulletin, 1946). If every subset of a size is drawn, the count is
    tasks * (tasks - 2).
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


def _build_masks(subsets: list[tuple[int, ...]], tasks: int) -> np.ndarray:
    masks = np.zeros((len(subsets), tasks), dtype=bool)
    for row, subset in enumerate(subsets):
        masks[row, list(subset)] = True
    return masks


SURE = 0.95  # confidence, one-sided
FEWEST = 6  # replicates from which on a single sign pattern is rare enough
_ALL, _DRAWS = 10, 512  # replicates up to which all sign patterns are tried; patterns drawn of more


@dataclass(frozen=True)
class Reliability:
    """How far replicates agree; ``None`` if nothing can be compared. ``p`` is the probability of as much by luck."""

    halves: float | None  # correlation of odd and even replicates
    full: float | None  # of two means of all replicates, by Spearman and Brown
    p: float | None
    replicates: int

    @property
    def shown(self) -> bool:
        """Whether the measurements show more than chance."""
        return self.p is not None and self.p <= 1 - SURE

    def as_json(self) -> dict[str, JSON]:
        """For ``Selection.belief``."""
        return {**vars(self), "shown": self.shown}

    @classmethod
    def from_json(cls, told: Mapping[str, JSON]) -> Reliability:
        """The object that ``as_json`` described."""
        return cls(told["halves"], told["full"], told["p"], told["replicates"])


def compute_preferences(table: np.ndarray, own: bool = False) -> np.ndarray:
    """Each recipient's affinities less the mean of its row, (tasks * (tasks - 1),), from a table (tasks, tasks).

    With ``own`` the diagonal counts too, the effect of a task on itself: (tasks²,).
    """
    rows = table if own else table[~np.eye(len(table), dtype=bool)].reshape(len(table), -1)
    centred: np.ndarray = rows - rows.mean(axis=1, keepdims=True)
    return centred.ravel()


def measure_reliability(entries: np.ndarray, free: float, seed: int) -> Reliability:
    """The agreement of ``entries``, (replicates, entries), about 0; ``nan`` entries count as 0.

    ``free`` is the count of independent numbers among the entries, used if there are too few replicates to draw signs.
    """
    known = np.nan_to_num(entries, nan=0.0)
    replicates = len(known)
    if replicates < 2:
        return Reliability(None, None, None, replicates)
    halves = _compute_cosine(known[0::2].mean(axis=0), known[1::2].mean(axis=0))
    if halves is None:
        return Reliability(None, None, None, replicates)
    chance = _test_by_signs(known, seed) if replicates >= FEWEST else _test_by_correlation(halves, free)
    return Reliability(halves, max(2 * halves / (1 + halves), -1.0) if halves > -1 else -1.0, chance, replicates)


def bound_correlation(found: float, free: float) -> float | None:
    """The lower one-sided 95 % bound of a correlation of ``free`` independent numbers, by Fisher's z.

    ``free`` no longer counts the means. ``None`` for two numbers or fewer, which always correlate.
    """
    if free <= 2:
        return None
    from scipy.stats import norm  # half a second to import, which no start needs

    within = float(np.clip(found, 1e-9 - 1, 1 - 1e-9))
    return float(np.tanh(np.arctanh(within) - norm.ppf(SURE) / np.sqrt(free - 2)))


def _compute_cosine(one: np.ndarray, other: np.ndarray) -> float | None:
    """Correlation about 0; ``None`` if either is all zero."""
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.clip(one @ other / length, -1.0, 1.0)) if length > 0 else None


def _test_by_signs(entries: np.ndarray, seed: int) -> float:
    """The share of sign patterns of the replicates, the true one among them, whose sums are as large."""
    size = np.sqrt((entries**2).sum(axis=0))
    scaled = np.divide(entries, size, out=np.zeros_like(entries), where=size > 0)
    if len(entries) <= _ALL:  # flipping all signs changes no square, so the first replicate keeps its own
        signs = np.array([(1, *rest) for rest in itertools.product((1, -1), repeat=len(entries) - 1)])
    else:
        drawn = np.random.default_rng([seed, 23]).choice((-1, 1), size=(_DRAWS, len(entries)))
        signs = np.vstack([np.ones(len(entries)), drawn])
    reached = ((signs @ scaled) ** 2).sum(axis=1)
    return float(np.mean(reached >= reached[0] * (1 - 1e-12)))


def _test_by_correlation(halves: float, free: float) -> float | None:
    if free <= 2:
        return None
    from scipy.stats import norm

    within = float(np.clip(halves, 1e-9 - 1, 1 - 1e-9))
    return float(norm.sf(np.arctanh(within) * np.sqrt(free - 2)))
