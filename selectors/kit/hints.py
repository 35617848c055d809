"""Numbers that say which auxiliaries look helpful before any is tried, as a prior that the study's own scores weigh.

Such a number may come from earlier studies of other targets, or from a measurement. It is never a verdict: numbers of
this kind rank auxiliaries hardly better than chance in one study, and well in the next. So a hint only adds a direction
to the process over mixtures: a straight line in Σ e_k √share_k, with e the hint's values, whose slope is unknown and
may be negative. How steep it may be is fitted by marginal likelihood like the amount of every other kernel, so that a
hint that explains no score gets no weight, and one that is the wrong way round is turned.

A slope that may have either sign says nothing before a score tells the sign. So one mixture of the auxiliaries that
look best is trained early. No source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from auxtune.selectors.kit.process import Kernel, Process
from auxtune.selectors.kit.transfer import build_transfer_log, compute_likeness, predict_for_target
from auxtune.selectors.protocol import Problem

_OWN = 0.5  # the primary's share in the mixture that hints suggest
_HALF = 0.5  # the share at which a hint's worth is told


@dataclass(frozen=True)
class Hint:
    """How helpful each task looks, in the problem's order: mean 0 and deviation 1 over the auxiliaries it knows.

    The primary has 0, and so has an auxiliary of which nothing is known.
    """

    source: str
    values: tuple[float, ...]


def build_hint(source: str, problem: Problem, found: Mapping[str, float]) -> Hint | None:
    """The hint of what was ``found`` of auxiliaries; ``None`` where it does not tell any two of them apart."""
    known = [name for name in problem.auxiliaries if np.isfinite(found.get(name, np.nan))]
    numbers = np.array([found[name] for name in known])
    if len(known) < 2 or np.ptp(numbers) <= 1e-9 * np.abs(numbers).max():
        return None
    scaled = dict(zip(known, ((numbers - numbers.mean()) / numbers.std()).tolist(), strict=True))
    return Hint(source, tuple(scaled.get(name, 0.0) for name in problem.names))


def read_earlier_hint(problem: Problem) -> Hint | None:
    """The ranking of ``transfer_prior`` from ``problem.earlier``; ``None`` where that says nothing."""
    if problem.primary is None or not problem.earlier:
        return None
    log = build_transfer_log(problem)
    if not log.targets:
        return None
    scores, _ = predict_for_target(log, problem.primary, compute_likeness, None, problem.seed)
    seen = np.isfinite(log.transfers.values).any(axis=0)
    places = {name: log.place(name) for name in problem.auxiliaries}
    found = {name: float(scores[place]) for name, place in places.items() if seen[place]}
    return build_hint("earlier", problem, found)


def build_hint_kernel(hint: Hint) -> Kernel:
    """A straight line of unknown slope in the hint's direction."""
    return Kernel(
        lambda one, other: np.outer(_follow(hint, one), _follow(hint, other)),
        lambda shares: _follow(hint, shares) ** 2,
    )


def _follow(hint: Hint, shares: np.ndarray) -> np.ndarray:
    """How far each mixture, (m, K), goes in the hint's direction: (m,)."""
    far: np.ndarray = np.sqrt(shares) @ np.array(hint.values)
    return far


def suggest_mixture(problem: Problem, hints: Sequence[Hint]) -> np.ndarray:
    """The primary and the few auxiliaries that look best by all hints together, (K,): about √n of n."""
    primary = problem.names.index(problem.require_primary())
    looks = np.mean([hint.values for hint in hints], axis=0)
    looks[primary] = -np.inf
    count = round(np.sqrt(len(problem.auxiliaries)))
    shares = np.zeros(len(problem.names))
    shares[np.argsort(-looks, kind="stable")[:count]] = (1 - _OWN) / count
    shares[primary] = _OWN
    return shares


def weigh_hints(process: Process, hints: Sequence[Hint]) -> dict[str, dict[str, float]]:
    """What each hint is worth by the scores, in their units: its posterior ``mean`` and ``deviation``.

    That is how much an auxiliary that looks one standard deviation better than others adds at half of the steps. The
    hints are those behind the last kernels of ``process``.
    """
    weights = {}
    for hint, amount in zip(hints, process.amounts[len(process.amounts) - len(hints) :], strict=True):
        mean, variance = process.regress(_follow(hint, process.shares), float(amount))
        unit = process.scale * np.sqrt(_HALF)
        weights[hint.source] = {"mean": float(unit * mean), "deviation": float(unit * np.sqrt(variance))}
    return weights
