"""Rankings of sources for a target that was never trained on, from earlier studies of other targets.

**The log** (``build_transfer_log``): transfers of every (target, source) on one scale. No source of its own. Each
target has its own scale of scores, so each is standardised by itself: the mean over seeds of every source, less the
mean over sources, divided by their standard deviation. An affine change of one target's scores thus changes nothing.
The target's score without any source is put on the same scale, as a source called nothing. The mean of few seeds is
shrunk towards the target's mean, by the share of its variance that is noise, estimated where several seeds were run. A
target with one source, or whose sources all score alike, carries no information and is left out.

Rows about the target in question are dropped before anything is computed, so the truth cannot leak in. So are rows of a
task that is its own source, and scores that are not finite.

**The rules.** Notation. Z (targets, sources) are transfers on one scale, a square table with one task per row and
column, ``nan`` where unknown and on the diagonal. L (targets, tasks) is how like a target each other task is, 0 where
unknown. Both may have leading axes, so that many tables are ranked at once.

- *popularity* of s for t: the mean of Z[p, s] over the targets p other than t.
- *pivots*: the mean of L[t, p] Z[p, s] over the same p, so that targets like t count more.
- *direct*: L[t, s], the likeness of the source itself to the target.

Source: the idea of J. Kim, A. Asai, G. Ilharco, H. Hajishirzi, "TaskWeb: Selecting Better Source Tasks for Multi-task
NLP", EMNLP 2023, https://arxiv.org/abs/2305.13256 (TaskShop). Where we differ. Their released code adds the likeness
and the transfer of each pivot where we multiply them; summed over pivots, their likeness is nearly the same for every
source, and popularity is what remains. Ours mixes a direct share of 0 or 0.3 (the released code's) with popularity,
pivots, or half of each, all standardised over sources. The *rule* is chosen by leaving out each target of the log in
turn: the one whose rankings have the best mean NDCG, the simplest on ties. Means are shrunk to 0 by one imagined target
that knows nothing, so that a source seen for one target does not win by luck.

Likeness from the log itself (``compute_likeness``): two tasks are alike if, as sources, they help the same targets; it
is the correlation of their columns of Z. The target's own rows play no part, because a task is never its own source.

Chance permutes the values of each target among its sources and repeats everything, including the choice of the rule.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from auxtune.selectors.kit.affinity import Affinity, build_affinity
from auxtune.selectors.kit.skill import Skill, compare_with_chance, compute_ndcg_by_row
from auxtune.selectors.protocol import Problem, Transfer

_ALIKE = 1e-9  # of the scores: smaller differences are rounding
_LEAST_SIGNAL = 0.1  # of a target's variance, since few seeds may make all of it look like noise


@dataclass(frozen=True, eq=False)
class TransferLog:
    """Transfers on one scale, ``[target, source]``: the problem's tasks first, then others of the log."""

    transfers: Affinity
    nothing: np.ndarray  # (tasks,) each target's score without any source, nan where unknown

    @property
    def targets(self) -> int:
        """The number of targets with any known transfer."""
        return int(np.isfinite(self.transfers.values).any(axis=1).sum())

    def place(self, task: str) -> int:
        """The row and column of a task."""
        return self.transfers.tasks.index(task)


def build_transfer_log(problem: Problem) -> TransferLog:
    """The log of ``problem.earlier``, without the primary as a target. Raises ``ValueError`` without a primary."""
    target = problem.require_primary()
    rows = [row for row in problem.earlier if row.target != target and row.source != row.target]
    rows = [row for row in rows if np.isfinite(row.score)]
    # In the order of the log, not of names: the name of a task must not matter.
    tasks = tuple(dict.fromkeys((*problem.names, *_list_named_tasks(rows))))
    places = {task: place for place, task in enumerate(tasks)}
    scores: dict[tuple[int, int], list[float]] = {}
    for row in rows:
        source = len(tasks) if row.source is None else places[row.source]
        scores.setdefault((places[row.target], source), []).append(row.score)
    scaled = _scale_by_target(scores, len(tasks))
    transfers = build_affinity(tasks, scaled[:, :-1], "transfer_prior", "standard deviations of each target's sources")
    return TransferLog(transfers, scaled[:, -1])


def _list_named_tasks(rows: Iterable[Transfer]) -> Iterable[str]:
    return (task for row in rows for task in (row.target, row.source) if task is not None)


def _scale_by_target(scores: dict[tuple[int, int], list[float]], tasks: int) -> np.ndarray:
    """Standardised means, (tasks, tasks + 1), the last column without any source; ``nan`` where unknown."""
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
    scaled: np.ndarray = (means - centre) / spread * _estimate_trust(runs, within / spread**2)
    return scaled


def _estimate_trust(runs: np.ndarray, within: np.ndarray) -> np.ndarray:
    """The share of each mean's variance that is not noise, (targets, sources + 1): signal / (signal + noise / runs).

    ``within`` are squared deviations of seeds from their mean, on a scale where a target's variance is 1. The noise of
    a single run is pooled over all cells, since few seeds per cell say little about their own.
    """
    counted = (runs > 0) & np.isfinite(within)
    spare = (runs[counted] - 1).sum()
    if spare == 0:
        return np.ones_like(runs)  # one seed each: the noise is unknown, and the same for all
    noise = within[counted].sum() / spare
    signal = max(1 - noise * float((1 / runs[counted]).mean()), _LEAST_SIGNAL)
    trust: np.ndarray = signal / (signal + noise / np.maximum(runs, 1))
    return trust


FEWEST_SOURCES = 3  # a ranking of two is merely right or wrong, and says little
_FEW = 3  # common targets at which a correlation counts half
_DEALS = 99  # fewer than elsewhere: each runs all rules over all targets


@dataclass(frozen=True)
class Rule:
    """The shares of the three ways to score a source; they sum to 1."""

    name: str
    popularity: float
    pivots: float
    direct: float


@dataclass(frozen=True)
class Choice:
    """The best rule, the mean NDCG of each rule over left-out targets, and the skill of the best.

    ``skill`` is ``None`` if there are fewer than two targets to leave out.
    """

    rule: Rule
    ndcg: dict[str, float]
    skill: Skill | None


def list_rules(direct: float | None, likeness: bool) -> tuple[Rule, ...]:
    """All rules, the simplest first; only popularity without ``likeness``; with ``direct`` only rules of that share."""
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
    """L (tasks, tasks) from Z: correlations of columns over common targets, shrunk to 0 if these are few.

    A correlation over n common targets is multiplied by n / (n + ``_FEW``). Sums over common targets only are matrix
    products of values and of indicators, so that many tables are done at once.
    """
    known = np.isfinite(transfers)
    values, counts = np.where(known, transfers, 0.0), known.astype(float)
    by_task = values.swapaxes(-1, -2)
    both = counts.swapaxes(-1, -2) @ counts
    mean = np.divide(
        by_task @ counts, both, out=np.zeros_like(both), where=both > 0
    )  # of the row's task, over common targets
    product = by_task @ values - both * mean * mean.swapaxes(-1, -2)
    square = by_task**2 @ counts - both * mean**2
    length = np.sqrt(np.clip(square * square.swapaxes(-1, -2), 0.0, None))
    # Rounding leaves a little of a spread that is 0.
    spread = (length > 1e-9) & (both >= _FEW) & ~np.eye(both.shape[-1], dtype=bool)
    like: np.ndarray = np.divide(product, length, out=np.zeros_like(both), where=spread) * both / (both + _FEW)
    return like


def predict_scores(options: Sequence[Rule], transfers: np.ndarray, like: np.ndarray, nothing: np.ndarray) -> np.ndarray:
    """Each rule's score of every source for every target, from other targets only: (rules, targets, sources + 1).

    The last column is for no source at all, from ``nothing`` (targets, 1). The diagonal has no meaning.
    """
    table = np.concatenate([transfers, nothing], axis=-1)
    known = np.isfinite(table)
    values, counts = np.where(known, table, 0.0), known.sum(axis=-2, keepdims=True)
    others = counts - known + 1.0  # with one imagined target that knows nothing, which shrinks means to 0
    popularity = _scale_sources((values.sum(axis=-2, keepdims=True) - values) / others)
    by_pivots = _scale_sources(like @ values / others)  # the diagonal of L is 0: a target is no pivot of its own
    direct = np.zeros_like(popularity)  # likeness is neutral about no source
    direct[..., :-1] = _scale_sources(like)
    shares = np.array([[rule.popularity, rule.pivots, rule.direct] for rule in options])
    scores: np.ndarray = np.tensordot(shares, np.array([popularity, by_pivots, direct]), axes=1)
    return scores


def choose_rule(
    options: Sequence[Rule], transfers: np.ndarray, likeness: Callable[[np.ndarray], np.ndarray], seed: int
) -> Choice:
    """The rule of ``options`` that ranks best for left-out targets, and whether it does better than chance.

    ``likeness`` computes L from Z. If no target can be left out, the first rule.
    """
    judged = np.isfinite(transfers).sum(axis=1) >= FEWEST_SOURCES
    if judged.sum() < 2:
        return Choice(options[0], {}, None)
    found = _rate_rules(options, transfers, likeness, judged)
    chance = _rate_rules(options, _deal_values(transfers, seed), likeness, judged).max(axis=0)
    best = int(found.argmax())
    skill = compare_with_chance("ndcg", float(found[best]), chance, int(judged.sum()))
    return Choice(options[best], {rule.name: float(q) for rule, q in zip(options, found, strict=True)}, skill)


def predict_for_target(
    log: TransferLog, target: str, likeness: Callable[[np.ndarray], np.ndarray], direct: float | None, seed: int
) -> tuple[np.ndarray, Choice]:
    """The score of every source for one target, (tasks + 1,), the last of no source, and the rule that gave them.

    The rule is popularity unless the best one shows skill. ``likeness`` computes L from Z.
    """
    transfers, row = log.transfers.values, log.place(target)
    like = likeness(transfers)
    # If no task is known to be like this target, pivots would rank all sources alike.
    options = list_rules(direct, bool(like[row].any()))
    choice = choose_rule(options, transfers, likeness, seed)
    rule = choice.rule if choice.skill is not None and choice.skill.shown else options[0]
    scores: np.ndarray = predict_scores([rule], transfers, like, log.nothing[:, None])[0, row]
    return scores, replace(choice, rule=rule)


def _rate_rules(
    options: Sequence[Rule], transfers: np.ndarray, likeness: Callable[[np.ndarray], np.ndarray], judged: np.ndarray
) -> np.ndarray:
    """Mean NDCG of each rule over the targets ``judged``: (rules,), or (rules, tables)."""
    nothing = np.full_like(transfers[..., :1], np.nan)
    rankings = predict_scores(options, transfers, likeness(transfers), nothing)[..., judged, :-1]
    # Rounded, so that sources and rules that differ only by floating-point noise are ties.
    quality: np.ndarray = compute_ndcg_by_row(rankings.round(9), transfers[..., judged, :]).mean(axis=-1).round(9)
    return quality


def _deal_values(transfers: np.ndarray, seed: int) -> np.ndarray:
    """Tables with every target's values permuted among its known sources: (tables, targets, sources)."""
    known = np.isfinite(transfers)
    keys = np.random.default_rng([seed, 23]).random((_DEALS, *transfers.shape))
    order = np.argsort(np.where(known, keys, np.inf), axis=-1)  # known ones shuffled, then the others
    values = np.take_along_axis(np.broadcast_to(transfers, keys.shape), order, axis=-1)
    places = np.argsort(~known, axis=-1, kind="stable")  # the known ones, then the others
    dealt: np.ndarray = np.full_like(keys, np.nan)
    np.put_along_axis(dealt, np.broadcast_to(places, keys.shape), values, axis=-1)
    return dealt


def _scale_sources(scores: np.ndarray) -> np.ndarray:
    """Each target's scores of all sources but itself, scaled to mean 0 and standard deviation 1.

    A last column beyond the square, for no source, is scaled in the same way but does not enter mean and deviation.
    """
    targets = scores.shape[-2]
    others = ~np.eye(targets, scores.shape[-1], dtype=bool)
    others[:, targets:] = False
    count = np.maximum(others.sum(axis=-1, keepdims=True), 1)
    centred = scores - np.where(others, scores, 0.0).sum(axis=-1, keepdims=True) / count
    spread = np.sqrt(np.where(others, centred**2, 0.0).sum(axis=-1, keepdims=True) / count)
    scaled: np.ndarray = np.divide(centred, spread, out=np.zeros_like(centred), where=spread > 1e-9)
    return scaled
