"""A world with a known truth, to try selectors in without training anything.

Every task adds a fixed effect to the primary's score, times its share where equal shares count 1. Inside a steered
run each round moves the probe score by the effect of the task it trains. Noise and failures are drawn from the
trial's number and the proposal's seed, so a world answers the same question the same way.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from auxtune.selectors.protocol import Evidence, Inner, Outcome, Problem, Proposal
from auxtune.selectors.registry import make_inner
from auxtune.selectors.rounds import inside
from auxtune.selectors.world_evidence import Resemblance, measured


@dataclass(frozen=True)
class World:
    """What training would give: an additive truth, noise and failures."""

    effects: Mapping[str, float]  # what a task adds to the score; an absent task adds nothing
    noise: float = 0.0  # standard deviation of one score
    failing: float = 0.0  # share of the trials that fail

    def train(self, problem: Problem, number: int, proposal: Proposal) -> Outcome:
        """What trial ``number`` comes to."""
        rng = np.random.default_rng([number, proposal.seed])
        if rng.random() < self.failing:
            return Outcome(None, why="error")
        weights = proposal.shares
        effect = sum(self.effects.get(task, 0.0) * share for task, share in weights.items())
        score = effect * len(weights) + self.noise * float(rng.normal())
        rounds = self._rounds(*inside(problem, proposal), rng) if proposal.inner else ()
        metrics = {task: {"accuracy": score} for task in proposal.tasks}
        return Outcome(score, metrics, tuple(rounds), {m.probe: _key(proposal, m.probe) for m in proposal.measure})

    def evidence(self, problem: Problem, proposal: Proposal) -> Evidence:
        """The arrays that a run of ``proposal`` leaves, under the keys that its outcome names."""
        truth = Resemblance(problem, self.effects)
        return {_key(proposal, m.probe): measured(truth, proposal, m.probe) for m in proposal.measure}

    def _rounds(self, inner: Inner, problem: Problem, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
        selector = make_inner(inner.name, inner.options)
        state, level = selector.start(problem), 0.0
        for number in range(inner.rounds):
            asked = selector.propose(state, {})
            if not isinstance(asked, Proposal):
                raise ValueError(f"an inner selector must name a task for round {number}, got {asked}")
            (task,) = asked.tasks
            level += self.effects.get(task, 0.0)
            score = level + self.noise * float(rng.normal())
            state = selector.told(selector.proposed(state, number, asked), number, Outcome(score))
            yield task, score


def _key(proposal: Proposal, probe: str) -> str:
    return f"{probe} {'+'.join(proposal.tasks)} {proposal.seed} {proposal.shuffled}"
