"""The networks that a problem has on offer, what was measured of them, and the answer made of their scores.

Which networks to serve, when each task is served by the one that does best for it: exact, by a MILP.

Source: the selection of T. Standley, A. Zamir, D. Chen, L. Guibas, J. Malik, S. Savarese, "Which Tasks Should Be
Learned Together in Multi-task Learning?", ICML 2020, https://arxiv.org/abs/1905.07553, who search by branch and bound.
Here it is a facility location problem for SciPy's ``milp`` (HiGHS): ``open_g`` in {0, 1} for each network g,
``serve_gt`` in [0, 1] for each member t of g, ``serve_gt <= open_g``, every task served once, and the costs of what is
open, or their number, within the budget. With ``open`` whole the ``serve`` are whole by themselves.

Of equally good choices the one with fewer tasks trained wins. Milliseconds for 5 tasks, a second or so for a few
thousand networks. Do not use it for scores of different scales: it adds them up.
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

_MEMBER = 1e-7  # of the scores' range: what a further member must bring


def choose_networks(scores: np.ndarray, costs: Sequence[float], budget: float) -> list[int]:
    """The networks to open, in their order: those whose costs sum to at most ``budget`` and serve all tasks best.

    ``scores`` is (networks, tasks), higher is better, ``nan`` where a network cannot serve a task. For at most b models
    all ``costs`` are 1 and ``budget`` b. Raises ``ValueError`` where no choice within the budget serves every task.
    """
    networks, tasks = np.nonzero(np.isfinite(scores))
    count, pairs = scores.shape[0], len(networks)
    if not np.isfinite(scores).any(axis=0).all():
        raise ValueError("every task must be served by some network, but for one of them no score is known")
    # Of each task only what a network lacks of the best counts: tasks may be on scales far apart.
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
    return _useful(scores, opened)


def _useful(scores: np.ndarray, opened: list[int]) -> list[int]:
    """Those that serve a task; of equals the first serves."""
    best = np.where(np.isfinite(scores[opened]), scores[opened], -np.inf).argmax(axis=0)
    return [opened[place] for place in sorted(set(best.tolist()))]


MOST = 4095  # groups: all of 12 tasks


@dataclass(frozen=True)
class NetworkRuns:
    """Trainings of networks: those wanted in order, by a proposal's number which it was, and each member's score."""

    problem: Problem
    wanted: tuple[Network, ...]
    asked: Mapping[int, int] = field(default_factory=dict)
    scores: Mapping[int, Mapping[str, float]] = field(default_factory=dict)  # by place in ``wanted``

    def next(self, portion: float = 1.0) -> Proposal | None:
        """The next network to train; ``None`` where all are asked for."""
        place = len(self.asked)
        if place == len(self.wanted):
            return None
        network = self.wanted[place]
        seed = int(np.random.default_rng([self.problem.seed, place]).integers(2**31))
        return Proposal(network.tasks, seed=seed, network=network.name, portion=portion)

    def proposed(self, number: int) -> NetworkRuns:
        """One more is under way."""
        return replace(self, asked={**self.asked, number: len(self.asked)})

    def told(self, number: int, outcome: Outcome) -> NetworkRuns:
        """One more is over, well or not."""
        members = outcome.scores or {  # outcomes of before `scores` have the main metrics, which come first
            task: next(iter(metrics.values())) for task, metrics in outcome.metrics.items() if metrics
        }
        if outcome.score is None:
            return self
        if not members and self.problem.primary is not None:  # only the primary is evaluated
            members = {self.problem.primary: outcome.score}
        return replace(self, scores={**self.scores, self.asked[number]: members})


class FromNetworkRuns:
    """The folds of a selector whose whole state is its trainings of networks."""

    def proposed(self, state: NetworkRuns, number: int, proposal: Proposal) -> NetworkRuns:
        """One more is under way."""
        return state.proposed(number)

    def told(self, state: NetworkRuns, number: int, outcome: Outcome) -> NetworkRuns:
        """One more is over."""
        return state.told(number, outcome)


def list_networks(problem: Problem, largest: int | None = None) -> tuple[Network, ...]:
    """Every network that may be trained, small groups first; with a primary those that hold it.

    Where any group may be, and there are more than ``MOST``, the sizes that come to no more are listed, 2 at least.
    """
    names, primary = problem.names, problem.primary
    offered: Sequence[Network] = problem.networks or _groups(names, min(largest or len(names), _largest(len(names))))
    fitting = [
        network
        for network in offered
        if (largest is None or len(network.tasks) <= largest) and (primary is None or primary in network.tasks)
    ]
    return tuple(sorted(fitting, key=lambda network: (len(network.tasks), network.cost)))


def _groups(names: Sequence[str], largest: int) -> list[Network]:
    return [Network(group) for size in range(1, largest + 1) for group in itertools.combinations(names, size)]


def _largest(tasks: int) -> int:
    """The size up to which all groups of ``tasks`` tasks are at most ``MOST``."""
    counts = itertools.accumulate(math.comb(tasks, size) for size in range(1, tasks + 1))
    return max(2, sum(count <= MOST for count in counts))


def counted(problem: Problem) -> tuple[str, ...]:
    """The tasks that are to be served."""
    return problem.names if problem.primary is None else (problem.primary,)


def table_of(problem: Problem, scores: Sequence[Mapping[str, float]]) -> np.ndarray:
    """Scores of networks as (networks, tasks that count); ``nan`` where one is not known."""
    tasks = counted(problem)
    table = np.array([[each.get(task, np.nan) for task in tasks] for each in scores], dtype=float)
    return table.reshape(len(scores), len(tasks))


def served(problem: Problem, networks: Sequence[Network], scores: np.ndarray, belief: Mapping[str, JSON]) -> Selection:
    """The best answer of ``networks`` by ``scores``, (networks, tasks that count); all tasks while too little is known.

    With a primary it is the network that scores it best, the earliest on ties.
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
    groups = [_group(networks[place], counted(problem), serving == row) for row, place in enumerate(opened)]
    return Selection("groups", problem.names, groups=tuple(groups), belief=belief)


def _group(network: Network, tasks: Sequence[str], serves: np.ndarray) -> dict[str, JSON]:
    named = {"network": network.name} if network.name else {}
    return {"tasks": list(network.tasks), "serves": [t for t, s in zip(tasks, serves, strict=True) if s], **named}
