"""What every group is expected to come to for each of its members: a Gaussian process over (group, member).

A *point* is a group as one of its members sees it, the recipient; training a group scores a point for each member. The
process of ``process.py`` is fitted to all points at once, so that few trainings suffice: its kernels say what points
have in common.

    level        the recipient's own level
    size         how large the group is: any path over the logarithm of its size, common to all recipients
    sources      the mean effect of the other members, common to all recipients: some help all, or harm all
    pairs        the mean effect of each other member on this recipient, and the sum of these effects
    both ways    the mean effect of each pair on its two members, the same on both
    together     products of two such effects: what other members do only jointly
    form         of networks that come in several forms, the form's own effect, common and by recipient

The amount of each, and of noise, is fitted by marginal likelihood. A mean of effects is what the higher-order
approximation assumes (``methods/hoa.py``), a sum is what linear surrogates fit (``methods/linear_surrogate.py``); the
scores decide how much of either there is. No source for the whole.

Scores of a task are taken relative to its own mean and spread, since tasks may be on very different scales; the spread
is drawn towards that of all tasks, since few scores say little of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from auxtune.selectors.kit.process import Assumptions, Kernel, Process, bound_below, fit_process
from auxtune.selectors.kit.skill import DEALS, Skill, compare_with_chance
from auxtune.selectors.protocol import Network, Problem

_SHRUNK = 3.0  # scores that the spread of all tasks counts as, beside a task's own


@dataclass(frozen=True)
class Points:
    """Groups as seen by their members: one row for each (network, member)."""

    rows: np.ndarray  # (n, 2K + forms) members of the group, the recipient, the form, each as 0 and 1
    networks: np.ndarray  # (n,) place of the network among those given
    tasks: np.ndarray  # (n,) place of the recipient among the problem's tasks
    count_tasks: int  # K

    def locate(self, networks: int) -> np.ndarray:
        """The place of the point of each network and task, (networks, tasks); -1 where the task is no member."""
        places = np.full((networks, self.count_tasks), -1)
        places[self.networks, self.tasks] = np.arange(len(self.rows))
        return places


def list_points(problem: Problem, networks: Sequence[Network]) -> Points:
    """The points of ``networks``, in their order."""
    names, forms = problem.names, list_forms(problem)
    members = np.array([[name in network.tasks for name in names] for network in networks], dtype=float)
    members = members.reshape(len(networks), len(names))
    of_form = np.array([[network.name == form for form in forms] for network in networks], dtype=float)
    place, task = np.nonzero(members)
    rows = np.hstack([members[place], np.eye(len(names))[task], of_form.reshape(len(networks), len(forms))[place]])
    return Points(rows, place, task, len(names))


def list_forms(problem: Problem) -> list[str]:
    """The names of the forms on offer, in the order of the offer."""
    return list(dict.fromkeys(network.name for network in problem.networks)) or [""]


@dataclass(frozen=True)
class GroupProcess:
    """The process fitted to scored points, with the scale of each task."""

    process: Process
    networks: np.ndarray  # (n,) of each scored point, the network that it belongs to
    tasks: np.ndarray  # (n,) the recipient of each scored point
    levels: np.ndarray  # (K,) each task's mean score
    spreads: np.ndarray  # (K,)

    @property
    def noise_deviations(self) -> np.ndarray:
        """By how much another seed moves each task's score: (K,), standard deviations in units of the score."""
        return self.spreads * self.process.noise_deviation

    def predict(self, points: Points) -> np.ndarray:
        """The expected score at each point, (n,)."""
        expected: np.ndarray = self.levels[points.tasks] + self.spreads[points.tasks] * self.process(points.rows)
        return expected

    def doubt(self, points: Points) -> np.ndarray:
        """The standard deviation of the expectation at each point, (n,)."""
        variances = self.process.predict(points.rows)[1].variances
        deviations: np.ndarray = self.spreads[points.tasks] * np.sqrt(variances)
        return deviations

    def predict_jointly(self, points: Points) -> tuple[np.ndarray, np.ndarray]:
        """The expected score at each point, (n,), and the covariance of these expectations, (n, n)."""
        means, doubts = self.process.predict(points.rows)
        spreads = self.spreads[points.tasks]
        covariance = doubts.share_with(doubts) * np.outer(spreads, spreads)
        return self.levels[points.tasks] + spreads * means, covariance

    def imagine(self, pending: Points) -> GroupProcess:
        """The process as if each pending point had scored what is expected of it: means stay, doubt shrinks."""
        if not len(pending.rows):
            return self
        return GroupProcess(self.process.imagine(pending.rows), self.networks, self.tasks, self.levels, self.spreads)

    @property
    def held_out(self) -> np.ndarray:
        """H (n, n): ``H @ targets`` predicts the points of each network from those of all others, amounts as fitted.

        Of a block b the error is (C⁻¹)_bb⁻¹ (C⁻¹ y)_b: Rasmussen and Williams 2006, equation 5.12, for blocks.
        """
        inverse = np.linalg.inv(self.process.lower @ self.process.lower.T)
        held_out = np.eye(len(inverse))
        for network in np.unique(self.networks):
            block = np.flatnonzero(self.networks == network)
            held_out[block] -= np.linalg.solve(inverse[np.ix_(block, block)], inverse[block])
        return held_out

    def measure_skill(self, seed: int) -> Skill:
        """How well the scores of each group are predicted from those of all others, against chance.

        The correlation of predictions and scores, each less the task's own mean, over all points. All trainings of a
        group are left out together. Chance deals each task's scores anew among the groups that hold it.
        """
        process, held_out = self.process, self.held_out
        rng = np.random.default_rng([seed, 17])
        dealt = np.repeat(process.targets[:, None], DEALS, axis=1)
        for task in np.unique(self.tasks):
            mine = np.flatnonzero(self.tasks == task)
            dealt[mine] = rng.permuted(dealt[mine], axis=0)
        (found,) = _correlate(held_out @ process.targets[:, None], process.targets[:, None])
        chance = _correlate(held_out @ dealt, dealt)
        return compare_with_chance("correlation", float(found), chance, len(set(self.networks.tolist())))


def fit_group_process(tasks: int, rows: np.ndarray, networks: np.ndarray, scores: np.ndarray) -> GroupProcess | None:
    """The process fitted to scored points; ``None`` where no task has two different scores.

    ``rows`` are those of ``Points``, one for each of the ``scores``, (n,), and ``networks`` tells which of them are of
    the same network.
    """
    recipients = rows[:, tasks : 2 * tasks].argmax(axis=1)
    centred, levels = np.zeros(len(scores)), np.full(tasks, scores.mean() if len(scores) else 0.0)
    for task in range(tasks):
        mine = recipients == task
        if mine.any():
            own = bound_below(scores[mine])
            levels[task] = own.mean()
            centred[mine] = own - levels[task]
    counts = np.bincount(recipients, minlength=tasks)
    squares = np.bincount(recipients, weights=centred**2, minlength=tasks)
    free = np.maximum(counts - 1, 0)
    if squares.sum() <= (1e-9 * np.abs(scores).max(initial=0.0)) ** 2:
        return None
    common = float(np.median((squares / np.maximum(free, 1))[squares > 0]))
    spreads = np.sqrt((squares + _SHRUNK * common) / (free + _SHRUNK))
    process = fit_process(rows, centred / spreads[recipients], assume_groups(tasks, rows.shape[1]))
    return GroupProcess(process, networks, recipients, levels, spreads)


def _correlate(predicted: np.ndarray, true: np.ndarray) -> np.ndarray:
    """The correlation of each column of (n, columns) around 0, since scores are relative to their task's mean."""
    lengths = np.linalg.norm(predicted, axis=0) * np.linalg.norm(true, axis=0)
    together = (predicted * true).sum(axis=0)
    correlations: np.ndarray = np.divide(together, lengths, out=np.zeros_like(together), where=lengths > 1e-12)
    return correlations


@lru_cache(maxsize=8)
def assume_groups(tasks: int, columns: int) -> Assumptions:
    """The kernels over rows of points with so many tasks and columns, and what is thought of their amounts."""

    def build(pairs: Callable[[_Side, _Side], np.ndarray], own: Callable[[_Side], np.ndarray]) -> Kernel:
        return Kernel(
            lambda one, other: pairs(_read_side(one, tasks), _read_side(other, tasks)),
            lambda rows: own(_read_side(rows, tasks)),
        )

    kernels = [
        build(_same_task, lambda side: np.ones(len(side.size))),
        build(_along_size, lambda side: np.log(side.size)),
        build(lambda a, b: a.mean @ b.mean.T, lambda side: (side.mean**2).sum(axis=1)),
        build(lambda a, b: _same_task(a, b) * (a.mean @ b.mean.T), lambda side: (side.mean**2).sum(axis=1)),
        build(lambda a, b: _same_task(a, b) * (a.others @ b.others.T), lambda side: side.others.sum(axis=1)),
        build(_both_ways, lambda side: (side.mean**2).sum(axis=1)),
        build(lambda a, b: _same_task(a, b) * (a.mean @ b.mean.T) ** 2, lambda side: (side.mean**2).sum(axis=1) ** 2),
    ]
    if columns > 2 * tasks + 1:
        kernels += [
            build(lambda a, b: a.form @ b.form.T, lambda side: np.ones(len(side.size))),
            build(lambda a, b: _same_task(a, b) * (a.form @ b.form.T), lambda side: np.ones(len(side.size))),
        ]
    # A dozen scores say little of amounts: with a wider spread some would soon be taken for 0, and too much for known.
    return Assumptions(tuple(kernels), amount=0.3, spread=0.7, noise=0.1, noise_spread=1.0, most=256)


@dataclass(frozen=True)
class _Side:
    """Points, read from their rows."""

    others: np.ndarray  # (n, K) the other members
    mean: np.ndarray  # (n, K) the same, summing to 1; 0 for a group of one
    recipient: np.ndarray  # (n, K)
    size: np.ndarray  # (n,)
    form: np.ndarray  # (n, forms)


def _read_side(rows: np.ndarray, tasks: int) -> _Side:
    members, recipient = rows[:, :tasks], rows[:, tasks : 2 * tasks]
    others, size = members - recipient, members.sum(axis=1)
    return _Side(others, others / np.maximum(size - 1, 1)[:, None], recipient, size, rows[:, 2 * tasks :])


def _same_task(one: _Side, other: _Side) -> np.ndarray:
    same: np.ndarray = one.recipient @ other.recipient.T
    return same


def _along_size(one: _Side, other: _Side) -> np.ndarray:
    """A Brownian path that begins at groups of one."""
    path: np.ndarray = np.minimum.outer(np.log(one.size), np.log(other.size))
    return path


def _both_ways(one: _Side, other: _Side) -> np.ndarray:
    """One effect for each pair of tasks, whichever of the two receives it."""
    crossed = (one.mean @ other.recipient.T) * (other.mean @ one.recipient.T).T
    both: np.ndarray = _same_task(one, other) * (one.mean @ other.mean.T) + crossed
    return both
