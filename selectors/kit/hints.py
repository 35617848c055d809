"""What is thought of mixtures before any is tried, as a prior that the study's own scores weigh.

It may come from earlier studies of other targets, from a measurement, or from runs that were made elsewhere. It is
never a verdict: numbers of this kind rank auxiliaries hardly better than chance in one study, and well in the next. So
a hint only adds a direction to the process over mixtures, along which scores may rise or fall: a straight line in some
function of the shares, whose slope is unknown and may be negative. How steep it may be is fitted by marginal likelihood
like the amount of every other kernel, so that a hint that explains no score gets no weight, and one that is the wrong
way round is turned.

A ranking of auxiliaries (``RankingHint``) has the function Σ e_k √share_k, with e the values of the ranking. Of runs
made elsewhere (``RunsHint``) it is the posterior mean of a process fitted to these runs alone, centred and scaled: what
offset and scale their scores have is then of no account, and what they have to do with this study's is for its own
trials to say.

A slope that may have either sign says nothing before a score tells the sign. So one mixture that looks best is trained
early: the best one by runs made elsewhere or, without these, one of the auxiliaries that look best. No source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Protocol

import numpy as np

from auxtune.selectors.kit.candidates import REFINED, Candidates
from auxtune.selectors.kit.process import FOR_SEARCH, Kernel, Process, are_alike, bound_below, fit_process
from auxtune.selectors.kit.transfer import build_transfer_log, compute_likeness, predict_for_target
from auxtune.selectors.protocol import EarlierRuns, Problem

_OWN = 0.5  # the primary's share in the mixture that hints suggest
_HALF = 0.5  # the share at which a ranking's worth is told
FEWEST_RUNS = 3  # made elsewhere, under which these say nothing


class Hint(Protocol):
    """A direction in which mixtures may look better. Frozen and hashable: a fit is cached by its hints."""

    @property
    def source(self) -> str:
        """Where it comes from, for people."""

    @property
    def unit(self) -> float:
        """How far along its direction its worth is told."""

    def follow(self, shares: np.ndarray) -> np.ndarray:
        """How far each mixture, (m, K), goes in its direction: (m,)."""


@dataclass(frozen=True)
class RankingHint:
    """How helpful each task looks, in the problem's order: mean 0 and deviation 1 over the auxiliaries it knows.

    The primary has 0, and so has an auxiliary of which nothing is known.
    """

    source: str
    values: tuple[float, ...]

    @property
    def unit(self) -> float:
        """An auxiliary that looks one standard deviation better than others, at half of the steps."""
        return float(np.sqrt(_HALF))

    def follow(self, shares: np.ndarray) -> np.ndarray:
        """A straight line in the roots of the shares."""
        far: np.ndarray = np.sqrt(shares) @ np.array(self.values)
        return far


@dataclass(frozen=True)
class RunsHint:
    """What runs made elsewhere expect of a mixture: mean 0 and deviation 1 over the mixtures that they trained."""

    runs: EarlierRuns

    @property
    def source(self) -> str:
        """The name of the runs."""
        return self.runs.source

    @property
    def unit(self) -> float:
        """One standard deviation of what is expected of the mixtures that were trained there."""
        return 1.0

    def follow(self, shares: np.ndarray) -> np.ndarray:
        """The posterior mean of the runs' own process, on its scale."""
        process, centre, scale = _fit_runs(self.runs)
        return (process(shares) - centre) / scale


@lru_cache(maxsize=8)
def _fit_runs(runs: EarlierRuns) -> tuple[Process, float, float]:
    """The process of the runs alone, and mean and deviation of what it expects of their mixtures."""
    shares = np.array(runs.shares)
    process = fit_process(shares, bound_below(np.array(runs.scores)), FOR_SEARCH)
    expected = process(shares)
    return process, float(expected.mean()), float(expected.std())


def build_hint(source: str, problem: Problem, found: Mapping[str, float]) -> RankingHint | None:
    """The hint of what was ``found`` of auxiliaries; ``None`` where it does not tell any two of them apart."""
    known = [name for name in problem.auxiliaries if np.isfinite(found.get(name, np.nan))]
    numbers = np.array([found[name] for name in known])
    if len(known) < 2 or are_alike(numbers):
        return None
    scaled = dict(zip(known, ((numbers - numbers.mean()) / numbers.std()).tolist(), strict=True))
    return RankingHint(source, tuple(scaled.get(name, 0.0) for name in problem.names))


def read_earlier_hint(problem: Problem) -> RankingHint | None:
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


def are_enough(runs: EarlierRuns) -> bool:
    """Whether there are ``FEWEST_RUNS`` runs or more, whose scores differ."""
    return len(runs.scores) >= FEWEST_RUNS and not are_alike(np.array(runs.scores))


def build_runs_hint(runs: EarlierRuns) -> RunsHint | None:
    """The hint of runs made elsewhere; ``None`` where they are too few or tell no two of their mixtures apart."""
    if not are_enough(runs):
        return None
    process, _, deviation = _fit_runs(runs)
    return RunsHint(runs) if deviation > 1e-6 * process.scale else None


def build_hint_kernel(hint: Hint) -> Kernel:
    """A straight line of unknown slope in the hint's direction."""
    return Kernel(
        lambda one, other: np.outer(hint.follow(one), hint.follow(other)),
        lambda shares: hint.follow(shares) ** 2,
    )


def suggest_mixture(problem: Problem, hints: Sequence[RankingHint]) -> np.ndarray:
    """The primary and the few auxiliaries that look best by all rankings together, (K,): about √n of n."""
    primary = problem.names.index(problem.require_primary())
    looks = np.mean([hint.values for hint in hints], axis=0)
    looks[primary] = -np.inf
    count = round(np.sqrt(len(problem.auxiliaries)))
    shares = np.zeros(len(problem.names))
    shares[np.argsort(-looks, kind="stable")[:count]] = (1 - _OWN) / count
    shares[primary] = _OWN
    return shares


def find_expected_best(
    hints: Sequence[RunsHint], candidates: Candidates, offered: np.ndarray | None, rng: np.random.Generator
) -> np.ndarray:
    """The mixture, (K,), of which runs made elsewhere expect most; of several sources all count alike.

    ``offered``, (m, K), are the only mixtures that can be had; ``None`` where any can.
    """

    def expect(shares: np.ndarray) -> np.ndarray:
        mean: np.ndarray = np.mean([hint.follow(shares) for hint in hints], axis=0)
        return mean

    if offered is not None:
        best: np.ndarray = offered[int(np.argmax(expect(offered)))]
        return best
    trained = candidates.limit(np.array([row for hint in hints for row in hint.runs.shares]))
    leaders = trained[np.argsort(-expect(trained), kind="stable")[:REFINED]]
    return candidates.find_best(expect, trained, leaders, rng)[0]


def weigh_hints(process: Process, hints: Sequence[Hint]) -> dict[str, dict[str, float]]:
    """What each hint is worth by the scores, in their units: its posterior ``mean`` and ``deviation``.

    That is how much a mixture gains that is one ``unit`` farther in its direction. The hints are those behind the last
    kernels of ``process``.
    """
    weights = {}
    for hint, amount in zip(hints, process.amounts[len(process.amounts) - len(hints) :], strict=True):
        mean, variance = process.regress(hint.follow(process.shares), float(amount))
        unit = process.scale * hint.unit
        weights[hint.source] = {"mean": float(unit * mean), "deviation": float(unit * np.sqrt(variance))}
    return weights
