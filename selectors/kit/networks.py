"""The networks on offer, their measured scores, and the choice of those to serve, each task by the one best for it.

The choice is exact, by a mixed-integer programme. Source: the selection of T. Standley, A. Zamir, D. Chen, L. Guibas,
J. Malik, S. Savarese, "Which Tasks Should Be Learned Together in Multi-task Learning?", ICML 2020,
https://arxiv.org/abs/1905.07553, who search by branch and bound. Here it is a facility location problem for SciPy's
``milp`` (HiGHS): ``open_g`` in {0, 1} for each network g, ``serve_gt`` in [0, 1] for each member t of g,
``serve_gt <= open_g``, every task served once, and the costs of the open networks (or their number) within the budget.
Once the ``open`` are whole numbers, so are the ``serve``.

Of equally good choices the one that trains fewer tasks wins. It takes milliseconds for 5 tasks, about a second for a
few thousand networks. Do not use it for scores of different scales: it adds them up.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
from scipy.optimize import Bounds, LinearConstraint, milp
from scipy.sparse import csr_array

from auxtune.selectors.protocol import JSON, Network, Outcome, Problem, Proposal, Selection

_MEMBER = 1e-7  # of the scores' range: the least gain of a further member


def choose_networks(scores: np.ndarray, costs: Sequence[float], budget: float) -> list[int]:
    """The networks to serve, in their order: those whose costs sum to at most ``budget`` and serve all tasks best.

    ``scores`` is (networks, tasks), higher is better, ``nan`` where a network cannot serve a task. For at most b models
    set all ``costs`` to 1 and ``budget`` to b. Raises ``ValueError`` if no choice within the budget serves every task.
    """
    networks, tasks = np.nonzero(np.isfinite(scores))
    count, pairs = scores.shape[0], len(networks)
    if not np.isfinite(scores).any(axis=0).all():
        raise ValueError("every task must be served by some network, but one of them has no known score")
    # Only the distance from each task's best network counts, since tasks may be on very different levels.
    known = (scores - np.nanmax(scores, axis=0))[networks, tasks]
    scaled = (known - known.min()) / (np.ptp(known) or 1.0) * 1e4  # HiGHS stops within 1e-6
    sizes = np.isfinite(scores).sum(axis=1)
    every = np.arange(pairs)
    served = csr_array((np.ones(pairs), (tasks, count + every)), shape=(scores.shape[1], count + pairs))
    signs, columns = np.repeat([1.0, -1.0], pairs), np.concatenate([count + every, networks])
    linked = csr_array((signs, (np.tile(every, 2), columns)), shape=(pairs, count + pairs))
    paid = csr_array(np.concatenate([np.asarray(costs, dtype=float), np.zeros(pairs)])[None])
    solved = milp(
        np.concatenate([_MEMBER * 1e4 * sizes, -scaled]),
        integrality=np.concatenate([np.ones(count), np.zeros(pairs)]),
        bounds=Bounds(0, 1),
        constraints=[
            LinearConstraint(served, 1, 1),
            LinearConstraint(linked, -np.inf, 0),
            LinearConstraint(paid, -np.inf, budget + 1e-9),
        ],
        options={"mip_rel_gap": 0.0},
    )
    if solved.x is None:
        raise ValueError(f"a choice of networks within a budget of {budget:g} must serve all tasks, found none")
    opened: list[int] = np.flatnonzero(solved.x[:count] > 0.5).tolist()
    return _drop_unused(scores, opened)


def _drop_unused(scores: np.ndarray, opened: list[int]) -> list[int]:
    """The opened networks that serve some task; of equals the first serves."""
    best = np.where(np.isfinite(scores[opened]), scores[opened], -np.inf).argmax(axis=0)
    return [opened[place] for place in sorted(set(best.tolist()))]


MOST = 4095  # groups: all of 12 tasks


@dataclass(frozen=True)
class NetworkRuns:
    """Trainings of networks and the scores of their members."""

    problem: Problem
    wanted: tuple[Network, ...]  # in the order in which they are proposed
    asked: Mapping[int, int] = field(default_factory=dict)  # proposal's number -> position in ``wanted``
    scores: Mapping[int, Mapping[str, float]] = field(default_factory=dict)  # by position in ``wanted``

    def propose_next(self, portion: float = 1.0) -> Proposal | None:
        """The next network to train, for a ``portion`` of the steps; ``None`` if all were proposed."""
        place = len(self.asked)
        if place == len(self.wanted):
            return None
        network = self.wanted[place]
        seed = int(np.random.default_rng([self.problem.seed, place]).integers(2**31))
        return Proposal(network.tasks, seed=seed, network=network.name, portion=portion)

    def add_proposal(self, number: int) -> NetworkRuns:
        """One more is under way."""
        return replace(self, asked={**self.asked, number: len(self.asked)})

    def add_outcome(self, number: int, outcome: Outcome) -> NetworkRuns:
        """One more is over, successfully or not."""
        members = read_member_scores(outcome)
        if outcome.score is None or members is None:
            return self
        if not members and self.problem.primary is not None:  # only the primary was evaluated
            members = {self.problem.primary: outcome.score}
        return replace(self, scores={**self.scores, self.asked[number]: members})


def read_member_scores(outcome: Outcome) -> dict[str, float] | None:
    """Each evaluated member's score; ``None`` of a failed training."""
    if outcome.score is None:
        return None
    return dict(outcome.scores) or {  # older outcomes without `scores` have metrics, the main one first
        task: next(iter(metrics.values())) for task, metrics in outcome.metrics.items() if metrics
    }


class FromNetworkRuns:
    """The folds of a selector whose whole state is its trainings of networks."""

    def proposed(self, state: NetworkRuns, number: int, proposal: Proposal) -> NetworkRuns:
        """One more is under way."""
        return state.add_proposal(number)

    def told(self, state: NetworkRuns, number: int, outcome: Outcome) -> NetworkRuns:
        """One more is over."""
        return state.add_outcome(number, outcome)


def list_networks(problem: Problem, largest: int | None = None) -> tuple[Network, ...]:
    """Every network that may be trained, small groups first; with a primary, those that hold it.

    If any group may be trained and there are more than ``MOST``, only groups up to the size that stays within ``MOST``
    are listed, but pairs always.
    """
    names, primary = problem.names, problem.primary
    offered: Sequence[Network] = problem.networks or _list_groups(
        names, min(largest or len(names), _limit_size(len(names)))
    )
    fitting = [
        network
        for network in offered
        if (largest is None or len(network.tasks) <= largest) and (primary is None or primary in network.tasks)
    ]
    return tuple(sorted(fitting, key=lambda network: (len(network.tasks), network.cost)))


def _list_groups(names: Sequence[str], largest: int) -> list[Network]:
    return [Network(group) for size in range(1, largest + 1) for group in itertools.combinations(names, size)]


def _limit_size(tasks: int) -> int:
    """The size up to which all groups of ``tasks`` tasks are at most ``MOST``."""
    counts = itertools.accumulate(math.comb(tasks, size) for size in range(1, tasks + 1))
    return max(2, sum(count <= MOST for count in counts))


def list_served_tasks(problem: Problem) -> tuple[str, ...]:
    """The tasks that are to be served."""
    return problem.names if problem.primary is None else (problem.primary,)


def build_score_table(problem: Problem, scores: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Scores of networks as (networks, tasks to serve); ``nan`` where one is unknown."""
    tasks = list_served_tasks(problem)
    table = np.array([[each.get(task, np.nan) for task in tasks] for each in scores], dtype=float)
    return table.reshape(len(scores), len(tasks))


def select_networks(
    problem: Problem, networks: Sequence[Network], scores: np.ndarray, belief: Mapping[str, JSON]
) -> Selection:
    """The answer with the best ``scores``, (networks, tasks to serve); all tasks in one while too few are known.

    With a primary it is the network with the primary's best score, the earliest on ties.
    """
    known = np.isfinite(scores)
    if problem.primary is not None:
        if not known.any():
            return Selection("mixture", (problem.primary,), belief=belief)
        best = networks[int(np.where(known, scores, -np.inf)[:, 0].argmax())]
        named = {"network": best.name} if best.name else {}
        return Selection("mixture", best.tasks, belief={**belief, **named})
    budget = problem.inference_budget
    costs = [1.0 if budget is None else network.cost for network in networks]
    limit = float(problem.models or 1) if budget is None else budget
    try:
        opened = choose_networks(scores, costs, limit) if len(networks) else []
    except ValueError:  # not every task has a score yet
        opened = []
    if not opened:
        everything = {"tasks": list(problem.names), "serves": list(problem.names)}
        return Selection("groups", problem.names, groups=(everything,), belief=belief)
    serving = np.where(known[opened], scores[opened], -np.inf).argmax(axis=0)
    groups = [
        _describe_group(networks[place], list_served_tasks(problem), serving == row) for row, place in enumerate(opened)
    ]
    return Selection("groups", problem.names, groups=tuple(groups), belief=belief)


def _describe_group(network: Network, tasks: Sequence[str], serves: np.ndarray) -> dict[str, JSON]:
    named = {"network": network.name} if network.name else {}
    return {"tasks": list(network.tasks), "serves": [t for t, s in zip(tasks, serves, strict=True) if s], **named}
