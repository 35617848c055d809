"""Train every pair, and take a group for the mean of its pairs: the higher-order approximation.

Chooses groups, or with a primary the subset that holds it. Source: HOA of T. Standley et al., "Which Tasks Should Be
Learned Together in Multi-task Learning?", ICML 2020, https://arxiv.org/abs/1905.07553. Single tasks and pairs are
trained; in a larger group G a task a is predicted to score

    mean over b in G without a of score_a({a, b})

and the networks of the best total within the budget are chosen by ``networks.py``.

What is known how. The rule and the use of singles and pairs as measured are verified in the authors' repository, whose
curve we reproduce on its tables; the paper's worked example averages another task's loss in for one number, and is not
followed. Where networks come in several forms, a group is predicted from pairs of its own form.

n (n + 1) / 2 trainings, all side by side. Beyond 12 tasks only the smaller groups are looked at, 4,095 of them. Do not
use it where tasks help only several together, or hurt: pairs cannot show it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeAlias

import numpy as np

from auxtune.selectors.kit.networks import FromNetworkRuns, NetworkRuns, counted, list_networks, served, table_of
from auxtune.selectors.kit.options import options
from auxtune.selectors.protocol import Done, Evidence, Network, Problem, Proposal, Selection, Wants

Pairs: TypeAlias = Mapping[tuple[str, str], float]  # (task, other) -> the task's score when both are trained


@options
class HOA(FromNetworkRuns):
    """The groups that are best by the mean of their pairs."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Standley et al.: Which Tasks Together? (2020), https://arxiv.org/abs/1905.07553"
    needs: ClassVar[str] = "nothing"
    costs: ClassVar[str] = "n (n + 1) / 2 runs, with a primary one per task"
    avoid: ClassVar[str] = "what tasks do only together matters"

    def wants(self) -> Wants:
        """What it can answer and what its runs need."""
        return Wants(frozenset({"primary", "groups"}), "groups")

    def start(self, problem: Problem) -> NetworkRuns:
        """Nothing trained."""
        return NetworkRuns(problem, list_networks(problem, largest=2))

    def propose(self, state: NetworkRuns, evidence: Evidence) -> Proposal | Done:
        """The next single task or pair; any number of them may run at once."""
        return state.next() or Done()

    def select(self, state: NetworkRuns, evidence: Evidence) -> Selection:
        """The best groups by what is known so far; all tasks together, or the primary alone, while too little is."""
        measured = _measured(state)
        larger = [network for network in list_networks(state.problem) if len(network.tasks) > 2]
        predicted = [_predicted(_pairs(measured, network.name), network.tasks) for network in larger]
        scores = table_of(state.problem, [*measured.values(), *predicted])
        pairs = {f"{task} with {other}": score for (task, other), score in _pairs(measured).items()}
        return served(state.problem, [*measured, *larger], scores, {"pairs": pairs})

    def predict(self, state: NetworkRuns, evidence: Evidence, asked: Sequence[Proposal]) -> list[Mapping[str, float]]:
        """The mean of pairs for each member that counts; a task alone or a pair as measured."""
        measured, tasks = _measured(state), set(counted(state.problem))
        known = {(network.tasks, network.name): scores for network, scores in measured.items()}
        found: list[Mapping[str, float]] = []
        for proposal in asked:
            scores = known.get((proposal.tasks, proposal.network))
            scores = scores or _predicted(_pairs(measured, proposal.network), proposal.tasks)
            found.append({task: score for task, score in scores.items() if task in tasks})
        return found

    def fewest(self, problem: Problem) -> int:
        """One: what is known of a single task is an answer."""
        return min(1, len(counted(problem)))


def _measured(state: NetworkRuns) -> dict[Network, Mapping[str, float]]:
    """What was trained, in the order in which it is wanted."""
    return {state.wanted[place]: scores for place, scores in sorted(state.scores.items())}


def _pairs(measured: Mapping[Network, Mapping[str, float]], form: str = "") -> Pairs:
    """Both members' scores of every pair; of the pairs in one form, if there are any."""
    pairs = {network: scores for network, scores in measured.items() if len(network.tasks) == 2}
    alike = {network: scores for network, scores in pairs.items() if network.name == form}
    return {
        (task, other): scores[task]
        for network, scores in (alike or pairs).items()
        for task, other in itertools.permutations(network.tasks)
        if task in scores
    }


def _predicted(pairs: Pairs, group: Sequence[str]) -> dict[str, float]:
    """Each member's mean over its pairs in the group; none for a member of which one is not known.

    >>> _predicted({("a", "b"): 0.1, ("a", "c"): 0.5}, ("a", "b", "c"))
    {'a': 0.3}
    """
    found = {}
    for task in group:
        scores = [pairs.get((task, other)) for other in group if other != task]
        known = [score for score in scores if score is not None]
        if known and len(known) == len(scores):
            found[task] = float(np.mean(known))
    return found
