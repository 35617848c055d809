"""Whether predictions are worth acting on: how they do on what they were not fitted to, against what chance comes to.

No source; the test is Fisher's, with permutations. Held-out predictions look independent and are not: where trial i
helps to predict trial j, j helps to predict i, so that an agreement by luck is counted twice. The textbook interval of
a correlation takes no notice and finds skill in pure noise two to four times as often as it admits. Here the scores are
dealt anew among the trials, everything is predicted again as before, and what that comes to is chance. The lower bound
is what was found less how far above its mean chance gets in one of forty deals: it exceeds 0 on noise in at most
2.5 % of studies, and hardly ever with under six trials.

A selector acts on its predictions only where ``Skill.shown``. Do not use it to compare two methods: that both are
better than chance says nothing of their difference.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.stats import rankdata

from auxtune.selectors.protocol import JSON

DEALS = 399  # fewer make the bound cruder, not wrong: it holds at any number
_BEYOND = 0.975


@dataclass(frozen=True)
class Skill:
    """What predictions of held-out results come to, beyond what chance does. Units are those of the measure.

    ``low`` is the lower end of the interval of ``found`` less ``chance``, of which 97.5 % lies above.
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

    def as_json(self) -> dict[str, JSON]:
        """For ``Selection.belief``."""
        told = {"measure": self.measure, "found": self.found, "chance": self.chance, "low": self.low}
        return {**told, "shown": self.shown, "results": self.results}


def beyond_chance(measure: str, found: float, chance: np.ndarray, results: int) -> Skill:
    """The skill of ``found`` against ``chance`` (deals,), the same measure after each deal of the results."""
    # What was found is one of the deals as well: without it few deals would find skill in noise too often.
    bound = np.quantile(np.append(chance, found), _BEYOND, method="higher")
    return Skill(measure, float(found), float(chance.mean()), float(found - bound), results)


def rank_skill(held_out: np.ndarray, scores: np.ndarray, seed: int) -> Skill:
    """Spearman's correlation of ``scores`` (trials,) with ``held_out @ scores``, and what it is worth.

    ``held_out`` (trials, trials) predicts each trial from the others, so that its diagonal is 0. Raises ``ValueError``
    where it is not.
    """
    if held_out.shape != (len(scores),) * 2 or np.diag(held_out).any():
        raise ValueError("each trial must be predicted from the others alone")
    rng = np.random.default_rng([seed, 17])
    dealt = np.array([rng.permutation(scores) for _ in range(DEALS)]).reshape(DEALS, len(scores)).T
    chance = _spearman(held_out @ dealt, dealt)
    (found,) = _spearman(held_out @ scores[:, None], scores[:, None])
    return beyond_chance("spearman", float(found), chance, len(scores))


def _spearman(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """Of each column of (trials, columns): (columns,), 0 where either is the same for all trials."""
    if not len(true):
        return np.zeros(true.shape[1])
    first, second = (_unit(rankdata(each.round(12), axis=0)) for each in (predicted, true))
    together: np.ndarray = (first * second).sum(axis=0)
    return together


def _unit(ranks: np.ndarray) -> np.ndarray:
    centred = ranks - ranks.mean(axis=0)
    length = np.linalg.norm(centred, axis=0)
    unit: np.ndarray = np.divide(centred, length, out=np.zeros_like(centred), where=length > 0)
    return unit
