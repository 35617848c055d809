"""Train every pair, and score a larger group by the mean of its pairs: the higher-order approximation.

Chooses groups, or with a primary the subset that holds it. Source: HOA of T. Standley et al., "Which Tasks Should Be
Learned Together in Multi-task Learning?", ICML 2020, https://arxiv.org/abs/1905.07553. Single tasks and pairs are
trained; in a larger group G a task a is predicted to score

    mean over b in G without a of score_a({a, b})

and the networks with the best total within the budget are chosen by ``networks.py``.

Provenance. Verified in the authors' repository: the rule, and the use of singles and pairs as measured; we
reproduce its curve on its tables. The paper's worked example averages another task's loss into one number; that is not
followed. Where networks come in several forms, a group is predicted from pairs of its own form.

It takes n (n + 1) / 2 trainings, all of which may run at once. Beyond 12 tasks only the smaller groups are considered,
4,095 of them. Do not use it where several tasks help or harm only jointly: pairs cannot show it.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import ClassVar, TypeAlias

import numpy as np

from auxtune.selectors.kit.networks import (
    FromNetworkRuns,
    NetworkRuns,
    build_score_table,
    list_networks,
    list_served_tasks,
    select_networks,
)
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
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary", "groups"}), "groups")

    def start(self, problem: Problem) -> NetworkRuns:
        """Nothing trained."""
        return NetworkRuns(problem, list_networks(problem, largest=2))

    def propose(self, state: NetworkRuns, evidence: Evidence) -> Proposal | Done:
        """The next single task or pair; any number of them may run at once."""
        return state.propose_next() or Done()

    def select(self, state: NetworkRuns, evidence: Evidence) -> Selection:
        """The best groups by the scores so far; until there are enough, all tasks together or the primary alone."""
        measured = _list_measured(state)
        larger = [network for network in list_networks(state.problem) if len(network.tasks) > 2]
        predicted = [_predict_group(_collect_pairs(measured, network.name), network.tasks) for network in larger]
        scores = build_score_table(state.problem, [*measured.values(), *predicted])
        pairs = {f"{task} with {other}": score for (task, other), score in _collect_pairs(measured).items()}
        return select_networks(state.problem, [*measured, *larger], scores, {"pairs": pairs})

    def predict(self, state: NetworkRuns, evidence: Evidence, asked: Sequence[Proposal]) -> list[Mapping[str, float]]:
        """The mean of pairs for each member that counts; single tasks and pairs as measured."""
        measured, tasks = _list_measured(state), set(list_served_tasks(state.problem))
        known = {(network.tasks, network.name): scores for network, scores in measured.items()}
        predictions: list[Mapping[str, float]] = []
        for proposal in asked:
            scores = known.get((proposal.tasks, proposal.network))
            scores = scores or _predict_group(_collect_pairs(measured, proposal.network), proposal.tasks)
            predictions.append({task: score for task, score in scores.items() if task in tasks})
        return predictions

    def fewest(self, problem: Problem) -> int:
        """1: the score of a single task is enough for an answer; 0 without a task to serve."""
        return min(1, len(list_served_tasks(problem)))


def _list_measured(state: NetworkRuns) -> dict[Network, Mapping[str, float]]:
    """The networks with scores, in the order of ``wanted``."""
    return {state.wanted[place]: scores for place, scores in sorted(state.scores.items())}


def _collect_pairs(measured: Mapping[Network, Mapping[str, float]], form: str = "") -> Pairs:
    """Both members' scores of every pair; only pairs in this ``form``, if there are any."""
    pairs = {network: scores for network, scores in measured.items() if len(network.tasks) == 2}
    of_form = {network: scores for network, scores in pairs.items() if network.name == form}
    return {
        (task, other): scores[task]
        for network, scores in (of_form or pairs).items()
        for task, other in itertools.permutations(network.tasks)
        if task in scores
    }


def _predict_group(pairs: Pairs, group: Sequence[str]) -> dict[str, float]:
    """Each member's mean score over its pairs in the group; members with an unknown pair are left out.

    >>> _predict_group({("a", "b"): 0.1, ("a", "c"): 0.5}, ("a", "b", "c"))
    {'a': 0.3}
    """
    means = {}
    for task in group:
        scores = [pairs.get((task, other)) for other in group if other != task]
        known = [score for score in scores if score is not None]
        if known and len(known) == len(scores):
            means[task] = float(np.mean(known))
    return means
