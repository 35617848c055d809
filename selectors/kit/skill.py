"""Whether predictions are worth acting on, and how good a predicted ranking of sources turned out to be.

**Skill** (``compare_with_chance``, ``measure_rank_skill``): held-out predictions against chance. No source; the test is
Fisher's permutation test. Held-out predictions look independent and are not: where trial i helps to predict trial j,
j helps to predict i, so that agreement by luck counts twice. The textbook interval of a correlation ignores this and
finds skill in pure noise two to four times as often as it admits. Here the scores are permuted among the trials and
everything is predicted again; the results are chance. The lower bound is the value found, less the distance from the
mean of chance to what chance reaches in one of forty permutations. It exceeds 0 on noise in at most 2.5 % of studies,
and hardly ever with fewer than six trials.

A selector acts on its predictions only if ``Skill.shown``. Do not use it to compare two methods: that both beat chance
says nothing about their difference.

**Quality of a ranking** (``compute_ndcg``, ``compute_regret``), given what each source was worth to the target in the
end. Sources. NDCG with the gains of J. Kim, A. Asai, G. Ilharco, H. Hajishirzi, "TaskWeb: Selecting Better Source Tasks
for Multi-task NLP", EMNLP 2023, https://arxiv.org/abs/2305.13256, read off the authors' code: of m sources the best has
relevance m, the worst 1, whatever the distances; the gain is 2^relevance - 1 and the discount log2(position + 1). So
nearly all that counts is the position of the best few, and a target's scale does not matter. Regret is defined by
C. Poth, J. Pfeiffer, A. Rücklé, I. Gurevych, "What to Pre-Train on? Efficient Intermediate Task Selection", EMNLP 2021,
https://arxiv.org/abs/2104.08247: the difference between the best of the top k and the best of all. TaskWeb's code takes
means over the top k in place of both bests (``of="mean"``); numbers of the two kinds do not compare.

Where we differ. Every order of equal predictions, and of equal true values, is as good, and the number is the mean over
all these orders: exact, without draws. An uninformative ranking thus scores what a random one scores on average.

Values are higher-is-better. A true value of ``nan`` is a source that was not recorded; it is left out.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np

from auxtune.selectors.protocol import JSON

DEALS = 399  # fewer make the bound cruder, not wrong: it holds at any number
_BEYOND = 0.975


@dataclass(frozen=True)
class Skill:
    """How much better predictions of held-out results are than chance. Units are those of the measure.

    ``low`` is a lower bound of ``found`` less ``chance``: by luck it exceeds 0 in at most 2.5 % of cases.
    """

    measure: str
    found: float
    chance: float
    low: float
    results: int  # held out, each once

    @property
    def shown(self) -> bool:
        """Whether the predictions are better than chance."""
        return self.low > 0

    @classmethod
    def from_json(cls, told: Mapping[str, JSON]) -> Skill:
        """The object that ``as_json`` described."""
        return cls(told["measure"], told["found"], told["chance"], told["low"], told["results"])

    def as_json(self) -> dict[str, JSON]:
        """For ``Selection.belief``."""
        told = {"measure": self.measure, "found": self.found, "chance": self.chance, "low": self.low}
        return {**told, "shown": self.shown, "results": self.results}


def compare_with_chance(measure: str, found: float, chance: np.ndarray, results: int) -> Skill:
    """The skill of ``found`` against ``chance`` (deals,), the same measure after each deal of the results."""
    # The value found counts as one of the deals: without it, few deals would find skill in noise too often.
    bound = np.quantile(np.append(chance, found), _BEYOND, method="higher")
    return Skill(measure, float(found), float(chance.mean()), float(found - bound), results)


def measure_rank_skill(held_out: np.ndarray, scores: np.ndarray, seed: int) -> Skill:
    """Spearman's correlation of ``scores`` (trials,) with ``held_out @ scores``, compared with chance.

    ``held_out`` (trials, trials) predicts each trial from the others, so that its diagonal is 0. Raises ``ValueError``
    where it is not.
    """
    if held_out.shape != (len(scores),) * 2 or np.diag(held_out).any():
        raise ValueError("each trial must be predicted from the others alone")
    rng = np.random.default_rng([seed, 17])
    dealt = np.array([rng.permutation(scores) for _ in range(DEALS)]).reshape(DEALS, len(scores)).T
    chance = _compute_spearman(held_out @ dealt, dealt)
    (found,) = _compute_spearman(held_out @ scores[:, None], scores[:, None])
    return compare_with_chance("spearman", float(found), chance, len(scores))


def _compute_spearman(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each column of (trials, columns): (columns,), 0 where either is constant."""
    if not len(true):
        return np.zeros(true.shape[1])
    first, second = (_scale_to_unit(_rank(each.round(12), "average", axis=0)) for each in (predicted, true))
    together: np.ndarray = (first * second).sum(axis=0)
    return together


def _scale_to_unit(ranks: np.ndarray) -> np.ndarray:
    centred = ranks - ranks.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    unit: np.ndarray = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    return unit


def compute_ndcg(predicted: np.ndarray, true: np.ndarray) -> float:
    """0 to 100: how close the ranking by ``predicted`` is to that by ``true``, (sources,) each; ``nan`` for no source.

    Predict ``-inf`` for a source that the ranking leaves out. 21 sources in random order score 44.9.

    >>> round(compute_ndcg(np.array([1.0, 2.0, 3.0]), np.array([0.9, 0.8, 0.7])), 1)
    68.1

    Raises ``ValueError`` for different shapes and for predictions that are ``nan``.
    """
    return float(compute_ndcg_by_row(np.asarray(predicted)[None], np.asarray(true)[None])[0])


def compute_ndcg_by_row(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """``compute_ndcg`` of each row of ``true`` (…, sources); ``predicted`` may have more leading axes: (…, …)."""
    predicted, true = _check_pair(predicted, true)
    known = np.isfinite(true)
    gains = _compute_gains(true, known)
    # Sources that were not recorded come last, after those that the ranking leaves out.
    guess = np.where(known, np.maximum(predicted, -np.finfo(float).max), -np.inf)
    reached = (gains * _compute_discounts(guess)).sum(axis=-1)
    ideal = (gains * _compute_discounts(gains)).sum(axis=-1)
    quality: np.ndarray = 100 * reached / np.where(known.any(axis=-1), ideal, np.nan)
    return quality


def compute_regret(k: int, predicted: np.ndarray, true: np.ndarray, of: Literal["best", "mean"] = "best") -> float:
    """Percent of the best value that the top ``k`` of ``predicted``, (sources,), miss: 100 (best - theirs) / |best|.

    Theirs is the best of them, or with ``mean`` their mean, which is compared with the mean of the truly best ``k``. Of
    fewer than ``k`` sources all are taken. ``nan`` if no source is recorded, or if the best is 0 and missed.

    >>> round(compute_regret(1, np.array([3.0, 2.0, 1.0]), np.array([0.6, 0.8, 0.7])), 1)
    25.0

    Raises ``ValueError`` for ``k`` below 1, different shapes and for predictions that are ``nan``.
    """
    if k < 1:
        raise ValueError(f"k must be at least 1, got {k}")
    predicted, true = _check_pair(predicted, true)
    known = np.isfinite(true)
    predicted, true = predicted[known], true[known]
    if not true.size:
        return math.nan
    k = min(k, true.size)
    last = np.sort(predicted)[-k]
    sure, tied = true[predicted > last], true[predicted == last]
    places = k - sure.size  # how many of the tied sources are among the top k
    if of == "mean":
        best = float(np.sort(true)[-k:].mean())
        found = (float(sure.sum()) + places * float(tied.mean())) / k
    else:
        best = float(true.max())
        values = np.sort(np.maximum(tied, sure.max(initial=-math.inf)))
        # Of the equally likely draws from the tied sources, the j-th smallest is the best of C(j, places - 1).
        orders = math.comb(tied.size, places)
        found = sum(float(v) * math.comb(j, places - 1) / orders for j, v in enumerate(values))
    missed = max(best - found, 0.0)  # rounding may leave it just below 0
    if missed <= 1e-12 * abs(best):
        return 0.0
    return 100 * missed / abs(best) if best else math.nan


def _rank(values: np.ndarray, method: str, axis: int) -> np.ndarray:
    from scipy.stats import rankdata  # half a second to import, which no start needs

    ranks: np.ndarray = rankdata(values, method=method, axis=axis)
    return ranks


def _compute_gains(true: np.ndarray, known: np.ndarray) -> np.ndarray:
    """(2^relevance - 1) / 2^(sources of the row); equal values share the mean of their gains; 0 for unknown ones."""
    relevance = np.arange(true.shape[-1] + 1)
    unknown = (~known).sum(axis=-1, keepdims=True)
    ranked = np.where(known, true, -np.inf)
    low, high = (_rank(ranked, method, axis=-1).astype(int) - unknown for method in ("min", "max"))
    low, high = np.where(known, low, 1), np.where(known, high, 1)
    sources = known.sum(axis=-1, keepdims=True)
    total = np.cumsum(np.exp2(relevance - sources) - np.exp2(-1.0 * sources), axis=-1)
    between = np.take_along_axis(total, high, axis=-1) - np.take_along_axis(total, low - 1, axis=-1)
    gains: np.ndarray = np.where(known, between / (high - low + 1), 0.0)
    return gains


def _compute_discounts(scores: np.ndarray) -> np.ndarray:
    """1 / log2(position + 1) of each score, the highest first; equal scores share the mean over their positions."""
    total = np.concatenate([[0.0], np.cumsum(1 / np.log2(np.arange(scores.shape[-1]) + 2))])
    first, last = (_rank(-scores, method, axis=-1).astype(int) for method in ("min", "max"))
    discounts: np.ndarray = (total[last] - total[first - 1]) / (last - first + 1)
    return discounts


def _check_pair(predicted: np.ndarray, true: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    predicted, true = np.asarray(predicted, dtype=float), np.asarray(true, dtype=float)
    if predicted.shape[-true.ndim :] != true.shape:
        raise ValueError(f"predictions must be of the sources recorded, {true.shape}, got {predicted.shape}")
    if np.isnan(predicted).any():
        raise ValueError("predictions must be numbers, got nan; give -inf for a source that the ranking leaves out")
    return predicted, true
