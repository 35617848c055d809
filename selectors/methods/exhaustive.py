"""Train every group and serve the best: the answer that all other grouping methods approximate.

Chooses groups, or with a primary the best subset that holds it. Source: the optimal selection of T. Standley et al.,
"Which Tasks Should Be Learned Together in Multi-task Learning?", ICML 2020, https://arxiv.org/abs/1905.07553, and its
early-stopped approximation (ESA): every group is trained for only a part of the steps, here a fifth. Networks are
chosen by ``networks.py``: each task by the chosen network that does best for it.

Provenance. Verified in the paper: the networks of least total loss within an inference budget are found exactly,
and ESA uses a fifth of the data. Our choices reproduce the curves of the authors' repository on its tables.

It takes 2^n - 1 trainings of n tasks, half of them with a primary, all of which may run at once: feasible to ten tasks
or so. Beyond 12 tasks only the smaller groups are tried, at most 4,095. If the budget ends earlier, the best so far
is the answer. Do not use ``split: early`` because it is cheap: the order of groups early in training says little about
the order at the end (the authors report a correlation of 0.49).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import ClassVar, Literal

from pydantic import Field

from auxtune.selectors.beliefs import Belief, Remark
from auxtune.selectors.kit.networks import (
    FromNetworkRuns,
    NetworkRuns,
    build_score_table,
    list_networks,
    list_served_tasks,
    select_networks,
)
from auxtune.selectors.kit.options import options
from auxtune.selectors.protocol import JSON, Done, Evidence, Problem, Proposal, Selection, Wants

EARLY = 0.2


@options
class Exhaustive(FromNetworkRuns):
    """The best of all groups, each of them trained."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Standley et al.: Which Tasks Together? (2020), https://arxiv.org/abs/1905.07553"
    needs: ClassVar[str] = "nothing"
    costs: ClassVar[str] = "2^n - 1 runs, with a primary 2^(n - 1); a fifth of that with `split: early`"
    avoid: ClassVar[str] = "there are more than a handful of tasks"

    split: Literal["validation", "early"] = Field(
        default="validation", description="scores after the whole training, or after a fifth of it"
    )

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary", "groups"}), "groups")

    def start(self, problem: Problem) -> NetworkRuns:
        """Nothing trained."""
        return NetworkRuns(problem, list_networks(problem))

    def propose(self, state: NetworkRuns, evidence: Evidence) -> Proposal | Done:
        """The next group, small ones first; any number of them may run at once."""
        return state.propose_next(EARLY if self.split == "early" else 1.0) or Done()

    def select(self, state: NetworkRuns, evidence: Evidence) -> Selection:
        """The best of the networks trained so far; until there are enough, all tasks together or the primary alone."""
        scored = [(state.wanted[place], scores) for place, scores in sorted(state.scores.items())]
        networks = [network for network, _ in scored]
        belief = {"trained": len(networks), "of": len(state.wanted)}
        return select_networks(
            state.problem, networks, build_score_table(state.problem, [scores for _, scores in scored]), belief
        )

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """How many of the groups are trained."""
        yield Remark(f"{belief['trained']} of {belief['of']} groups trained")

    def fewest(self, problem: Problem) -> int:
        """1: the best of one is an answer; 0 without a task to serve."""
        return min(1, len(list_served_tasks(problem)))
