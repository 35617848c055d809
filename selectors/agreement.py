"""Whether a table of pairs that was measured several times says the same each time, or is noise.

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
from dataclasses import dataclass

import numpy as np
from scipy.stats import norm

from auxtune.selectors.protocol import JSON

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
