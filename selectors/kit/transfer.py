"""What earlier studies say of every (target, source), on one scale, with nothing in it of the target in question.

No source of its own. Targets score on scales of their own, so each is taken by itself: the mean over seeds of every
source, less the mean over sources, over their standard deviation. An affine change of one target's scores thus changes
nothing. What a target scored without any source is put on the same scale, as a source called nothing. A score of few
seeds is drawn towards the target's mean, by the share of its variance that is noise, which is read off where several
seeds were run. A target of one source, or where all sources score alike, says nothing and is left out.

Rows about the target in question are dropped before anything is computed: what is to be predicted cannot leak in. So
are rows of a task that is its own source, and scores that are not finite.

Rankings of sources for a target that was never trained on, from how they did for other targets.

Notation. Z (targets, sources) are transfers on one scale, square, one task in each row and column, ``nan`` where
unknown and on the diagonal; L (targets, tasks) is how like a target each other task is, 0 where unknown. Both may have
more axes before these, so that many tables are ranked at once.

- *popularity* of s for t: the mean of Z[p, s] over the targets p other than t.
- *pivots*: the mean of L[t, p] Z[p, s] over the same p, so that targets like t have more to say.
- *direct*: L[t, s], a source that is like the target.

Source: the idea of J. Kim, A. Asai, G. Ilharco, H. Hajishirzi, "TaskWeb: Selecting Better Source Tasks for Multi-task
NLP", EMNLP 2023, https://arxiv.org/abs/2305.13256 (TaskShop). Where we differ. Their released code adds likeness and
transfer of each pivot where we multiply; summed over pivots their likeness is nearly the same for every source and
leaves popularity. Ours mixes a direct share of 0 or 0.3, the released code's, with popularity, pivots, or half of each,
all standardised over sources. Which of these *rules* is used is decided by leaving out each target of the log in turn:
the one whose rankings have the best mean NDCG, the simplest on ties. Means are drawn to 0 by one imagined target that
knows nothing, so that a source seen on one target does not win by luck.

Likeness from the log itself: two tasks are alike that, as sources, help the same targets: the correlation of the
columns of Z. The rows of the target itself play no part in it, because a task is never its own source.

Chance deals the values of each target anew among its sources and does all again, choice of the rule included.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from auxtune.selectors.kit.affinity import Affinity, make_affinity
from auxtune.selectors.kit.skill import Skill, beyond_chance, ndcg_by_row
from auxtune.selectors.protocol import Problem, Transfer

_ALIKE = 1e-9  # of the scores themselves: what is below is rounding
_LEAST_SIGNAL = 0.1  # of a target's variance; few seeds may call all of it noise


@dataclass(frozen=True, eq=False)
class TransferLog:
    """Transfers on one scale, ``[target, source]``: the problem's tasks first, then others of the log."""

    transfers: Affinity
    nothing: np.ndarray  # (tasks,) of each target without any source, nan where unknown

    @property
    def targets(self) -> int:
        """Targets of which something is known."""
        return int(np.isfinite(self.transfers.values).any(axis=1).sum())

    def place(self, task: str) -> int:
        """The row and column of a task."""
        return self.transfers.tasks.index(task)


def build_transfer_log(problem: Problem) -> TransferLog:
    """All that ``problem.earlier`` says of targets other than the primary. Raises ``ValueError`` without a primary."""
    target = problem.require_primary()
    rows = [row for row in problem.earlier if row.target != target and row.source != row.target]
    rows = [row for row in rows if np.isfinite(row.score)]
    # In the order of the log, not of names: what a task is called must not matter.
    tasks = tuple(dict.fromkeys((*problem.names, *_named(rows))))
    places = {task: place for place, task in enumerate(tasks)}
    scores: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        source = len(tasks) if row.source is None else places[row.source]
        scores.setdefault((places[row.target], source), []).append(row.score)
    scaled = _on_one_scale(scores, len(tasks))
    transfers = make_affinity(tasks, scaled[:, :-1], "transfer_prior", "standard deviations of each target's sources")
    return TransferLog(transfers, scaled[:, -1])


def _named(rows: Iterable[Transfer]) -> Iterable[str]:
    return (task for row in rows for task in (row.target, row.source) if task is not None)


def _on_one_scale(scores: dict[tuple[int, int], list[float]], tasks: int) -> np.ndarray:
    """(tasks, tasks + 1), the last column of no source; ``nan`` where nothing is known."""
    means, runs = np.full((tasks, tasks + 1), np.nan), np.zeros((tasks, tasks + 1))
    within = np.zeros((tasks, tasks + 1))  # squared deviations of a cell's seeds from their mean
    for cell, values in scores.items():
        means[cell], runs[cell] = np.mean(values), len(values)
        within[cell] = np.sum((np.array(values) - means[cell]) ** 2)
    centre, spread = np.full((2, tasks, 1), np.nan)
    for row, sources in enumerate(means[:, :-1]):
        known = sources[np.isfinite(sources)]
        if len(known) > 1 and np.ptp(known) > _ALIKE * np.abs(known).max():
            centre[row], spread[row] = known.mean(), known.std()
    scaled: np.ndarray = (means - centre) / spread * _trust(runs, within / spread**2)
    return scaled


def _trust(runs: np.ndarray, within: np.ndarray) -> np.ndarray:
    """The share of each mean's variance that is no noise, (targets, sources + 1), of scores on one scale."""
    counted = (runs > 0) & np.isfinite(within)
    spare = (runs[counted] - 1).sum()
    if spare == 0:
        return np.ones_like(runs)  # one seed each: noise is not known, and alike for all
    noise = within[counted].sum() / spare
    signal = max(1 - noise * float((1 / runs[counted]).mean()), _LEAST_SIGNAL)
    trust: np.ndarray = signal / (signal + noise / np.maximum(runs, 1))
    return trust


FEWEST_SOURCES = 3  # a ranking of two is right or wrong, and says little
_FEW = 3  # targets in common at which a correlation counts half
_DEALS = 99  # all rules over all targets each, so fewer than elsewhere


@dataclass(frozen=True)
class Rule:
    """Shares of the three ways to score a source, together 1."""

    name: str
    popularity: float
    pivots: float
    direct: float


@dataclass(frozen=True)
class Choice:
    """The best rule, the mean NDCG of each over targets left out, and what that of the best is worth.

    ``skill`` is ``None`` where there are not two targets to leave out.
    """

    rule: Rule
    ndcg: dict[str, float]
    skill: Skill | None


def rules(direct: float | None, likeness: bool) -> tuple[Rule, ...]:
    """All rules, the simplest first; with ``direct`` given only those with that share of it."""
    popular = Rule("popularity", 1.0, 0.0, 0.0)
    if not likeness:
        return (popular,)
    mixed = [
        Rule(f"{name}, direct {share:g}" if share else name, (1 - share) * (1 - pivots), (1 - share) * pivots, share)
        for share in ((0.0, 0.3) if direct is None else (direct,))
        for name, pivots in (("popularity", 0.0), ("popularity and pivots", 0.5), ("pivots", 1.0))
    ]
    return tuple(dict.fromkeys((popular, *mixed)))


def compute_likeness(transfers: np.ndarray) -> np.ndarray:
    """L (tasks, tasks) from Z: correlations of columns over the targets that both have, drawn to 0 by few of them."""
    known = np.isfinite(transfers)
    values, counts = np.where(known, transfers, 0.0), known.astype(float)
    by_task = values.swapaxes(-1, -2)
    both = counts.swapaxes(-1, -2) @ counts
    mean = np.divide(by_task @ counts, both, out=np.zeros_like(both), where=both > 0)  # the row's task, over both
    product = by_task @ values - both * mean * mean.swapaxes(-1, -2)
    square = by_task**2 @ counts - both * mean**2
    length = np.sqrt(np.clip(square * square.swapaxes(-1, -2), 0.0, None))
    # Rounding leaves something of a spread that is 0.
    spread = (length > 1e-9) & (both >= _FEW) & ~np.eye(both.shape[-1], dtype=bool)
    like: np.ndarray = np.divide(product, length, out=np.zeros_like(both), where=spread) * both / (both + _FEW)
    return like


def predicted(options: Sequence[Rule], transfers: np.ndarray, like: np.ndarray, nothing: np.ndarray) -> np.ndarray:
    """Each rule's scores of every source for every target by what other targets know: (rules, targets, sources + 1).

    The last column is of no source at all, from ``nothing`` (targets, 1). A target's score of itself says nothing.
    """
    table = np.concatenate([transfers, nothing], axis=-1)
    known = np.isfinite(table)
    values, counts = np.where(known, table, 0.0), known.sum(axis=-2, keepdims=True)
    others = counts - known + 1.0
    popularity = _standardised((values.sum(axis=-2, keepdims=True) - values) / others)
    by_pivots = _standardised(like @ values / others)  # the diagonal of L is 0: a target is no pivot of its own
    direct = np.zeros_like(popularity)  # likeness says nothing for or against no source
    direct[..., :-1] = _standardised(like)
    shares = np.array([[rule.popularity, rule.pivots, rule.direct] for rule in options])
    scores: np.ndarray = np.tensordot(shares, np.array([popularity, by_pivots, direct]), axes=1)
    return scores


def chosen(
    options: Sequence[Rule], transfers: np.ndarray, likeness: Callable[[np.ndarray], np.ndarray], seed: int
) -> Choice:
    """The rule of ``options`` that ranks best for targets that are left out, and whether it does better than chance.

    ``likeness`` gives L for a Z. Where no target can be left out, it is the first one.
    """
    judged = np.isfinite(transfers).sum(axis=1) >= FEWEST_SOURCES
    if judged.sum() < 2:
        return Choice(options[0], {}, None)
    found = _qualities(options, transfers, likeness, judged)
    chance = _qualities(options, _dealt(transfers, seed), likeness, judged).max(axis=0)
    best = int(found.argmax())
    skill = beyond_chance("ndcg", float(found[best]), chance, int(judged.sum()))
    return Choice(options[best], {rule.name: float(q) for rule, q in zip(options, found, strict=True)}, skill)


def _qualities(
    options: Sequence[Rule], transfers: np.ndarray, likeness: Callable[[np.ndarray], np.ndarray], judged: np.ndarray
) -> np.ndarray:
    """Mean NDCG of each rule over the targets ``judged``: (rules,), or (rules, tables)."""
    nothing = np.full_like(transfers[..., :1], np.nan)
    rankings = predicted(options, transfers, likeness(transfers), nothing)[..., judged, :-1]
    # Sources, and rules, that differ by no more than rounding are as good.
    quality: np.ndarray = ndcg_by_row(rankings.round(9), transfers[..., judged, :]).mean(axis=-1).round(9)
    return quality


def _dealt(transfers: np.ndarray, seed: int) -> np.ndarray:
    """Tables with every target's values in a new order among the sources that it has: (tables, targets, sources)."""
    known = np.isfinite(transfers)
    keys = np.random.default_rng([seed, 23]).random((_DEALS, *transfers.shape))
    order = np.argsort(np.where(known, keys, np.inf), axis=-1)  # the known ones shuffled, then the others
    values = np.take_along_axis(np.broadcast_to(transfers, keys.shape), order, axis=-1)
    places = np.argsort(~known, axis=-1, kind="stable")  # the known ones, then the others
    dealt: np.ndarray = np.full_like(keys, np.nan)
    np.put_along_axis(dealt, np.broadcast_to(places, keys.shape), values, axis=-1)
    return dealt


def _standardised(scores: np.ndarray) -> np.ndarray:
    """Each target's scores of all sources but itself, with mean 0 and standard deviation 1.

    A last column beyond the square, of no source, is scaled with them, but is none of them.
    """
    targets = scores.shape[-2]
    others = ~np.eye(targets, scores.shape[-1], dtype=bool)
    others[:, targets:] = False
    count = np.maximum(others.sum(axis=-1, keepdims=True), 1)
    centred = scores - np.where(others, scores, 0.0).sum(axis=-1, keepdims=True) / count
    spread = np.sqrt(np.where(others, centred**2, 0.0).sum(axis=-1, keepdims=True) / count)
    scaled: np.ndarray = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-9)
    return scaled
