"""A benchmark with a known truth, to try selectors without training anything.

Every task adds a fixed effect to the primary's score, times its share relative to an equal share. Inside a steered
run each round moves the probe score by the effect of the task it trains. Noise and failures are drawn from the
trial's number and the proposal's seed, so a benchmark answers the same question the same way.

Probes are simulated too: small arrays of the real layout that contain the truth. A task that helps resembles the
primary, one that does nothing is unrelated to it, and one that harms is its opposite. The arrays depend on a task's
place in the problem, not on its name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from auxtune.selectors.kit.rounds import read_inner
from auxtune.selectors.protocol import Evidence, Inner, Outcome, Problem, Proposal
from auxtune.selectors.registry import make_inner

_LAYERS, _HEADS, _WIDTH, _TEXTS, _BATCHES, _PROJECTED, _ROWS = 3, 4, 8, 300, 4, 64, 12
_PROBES_TAKEN = 20

Arrays = dict[str, np.ndarray]


@dataclass(frozen=True)
class SyntheticEvidence:
    """How like the primary each task is, in [-1, 1], and draws that depend only on its position and a seed."""

    problem: Problem
    effects: Mapping[str, float]

    @cached_property
    def alike(self) -> dict[str, float]:
        """1 for the primary (or the first task); 0.9, 0 or -0.9 for a task that helps, does nothing or harms."""
        first = self.problem.primary or self.problem.names[0]
        return {
            name: 1.0 if name == first else 0.9 * float(np.sign(self.effects.get(name, 0.0)))
            for name in self.problem.names
        }

    def draw_like(self, task: str, shape: tuple[int, ...], salt: int, shuffled: int | None = None) -> np.ndarray:
        """Gaussians that correlate with the primary's by ``alike``; a shuffled twin's correlate with none."""
        alike = 0.0 if shuffled is not None else self.alike[task]
        place = self.problem.names.index(task)
        common = np.random.default_rng([salt]).normal(size=shape)
        own = np.random.default_rng([salt, place, (shuffled or 0) % 2**32]).normal(size=shape)
        mixed: np.ndarray = alike * common + np.sqrt(1 - alike**2) * own
        return mixed


def simulate_probe(truth: SyntheticEvidence, proposal: Proposal, probe: str) -> Arrays:
    """The arrays of ``probe`` on a run of ``proposal``. Raises ``KeyError`` for a probe that is not simulated."""
    return _PROBES[probe](truth, proposal)


def _simulate_head_importance(truth: SyntheticEvidence, proposal: Proposal) -> Arrays:
    drawn = truth.draw_like(proposal.tasks[0], (_LAYERS, _HEADS), 1, proposal.shuffled)
    return {"importance": np.exp(drawn).astype(np.float32)}


def _simulate_instance_importance(truth: SyntheticEvidence, proposal: Proposal) -> Arrays:
    task = proposal.tasks[0]
    rows = min(500, next(info.train_rows for info in truth.problem.tasks if info.name == task))
    drawn = truth.draw_like(task, (_LAYERS, _HEADS), 1, proposal.shuffled)
    noise = np.random.default_rng([2, truth.problem.names.index(task)]).normal(size=(rows, _LAYERS, _HEADS))
    return {"importance": np.exp(drawn + noise).astype(np.float32)}


def _simulate_hidden_states(truth: SyntheticEvidence, proposal: Proposal) -> Arrays:
    hidden = truth.draw_like(proposal.tasks[0], (_LAYERS + 1, _TEXTS, _WIDTH), 3, proposal.shuffled)
    return {"hidden": hidden.astype(np.float32), "texts": np.array("simulated")}


def _simulate_covariance(truth: SyntheticEvidence, proposal: Proposal) -> Arrays:
    rows = truth.draw_like(proposal.tasks[0], (_TEXTS, _WIDTH), 4, proposal.shuffled) * np.arange(1, _WIDTH + 1)
    return {"covariance": rows.T @ rows / len(rows), "mean": rows.mean(axis=0), "rows": np.array(len(rows))}


def _simulate_gradients(truth: SyntheticEvidence, proposal: Proposal) -> Arrays:
    drawn = truth.draw_like(proposal.tasks[0], (_BATCHES, 2, _PROJECTED), 5, proposal.shuffled).astype(np.float32)
    return {
        "projections": drawn,
        "norms": np.linalg.norm(drawn, axis=2),
        "blocks": np.array(["layer0", "layer1"]),
        "point": np.array("simulated"),
    }


def _simulate_lookahead(truth: SyntheticEvidence, proposal: Proposal) -> Arrays:
    alike = np.array([truth.alike[task] for task in proposal.tasks])
    affinity = 0.01 * np.outer(alike, alike)
    np.fill_diagonal(affinity, 0.005)
    noise = 0.005 * np.random.default_rng([9, proposal.seed % 2**32]).normal(size=(_PROBES_TAKEN, *affinity.shape))
    return {
        "tasks": np.array(proposal.tasks),
        "each_affinity": affinity + noise - noise.mean(axis=0),
        "rates": np.full(_PROBES_TAKEN, 0.01),
        "affinity": affinity,  # [recipient, source], the diagonal on held-out rows
        "per_rate": affinity * 100,
        "cosine": np.outer(alike, alike),
        "train_diagonal": np.full(len(alike), 0.02),
        "probes": np.array(_PROBES_TAKEN),
    }


def _simulate_label_moments(truth: SyntheticEvidence, proposal: Proposal) -> Arrays:
    moments = truth.draw_like(proposal.tasks[0], (_WIDTH, 1), 6, proposal.shuffled)
    return {"moments": moments, "inputs": np.array("simulated"), "rows": np.array(1000)}


def _simulate_output_gradients(truth: SyntheticEvidence, proposal: Proposal) -> Arrays:
    arrays: Arrays = {"tasks": np.array(proposal.tasks), "kinds": np.array(["classification"] * len(proposal.tasks))}
    for salt, part in ((7, "train"), (8, "probe")):
        rng = np.random.default_rng([salt, proposal.seed % 2**32])
        # All tasks pull along the first number, in the same or in opposite directions.
        pull = np.repeat([truth.alike[task] for task in proposal.tasks], _ROWS)
        drawn = rng.normal(size=(len(pull), _WIDTH))
        drawn[:, 0] += 2 * pull
        arrays[f"{part}_gradients"] = drawn.astype(np.float32)
        arrays[f"{part}_margins"] = rng.normal(size=len(pull)).astype(np.float32)
        arrays[f"{part}_task"] = np.repeat(np.arange(len(proposal.tasks)), _ROWS)
    return arrays


_PROBES: Mapping[str, Callable[[SyntheticEvidence, Proposal], Arrays]] = {
    "head_importance": _simulate_head_importance,
    "instance_importance": _simulate_instance_importance,
    "hidden_states": _simulate_hidden_states,
    "covariance": _simulate_covariance,
    "gradients": _simulate_gradients,
    "lookahead": _simulate_lookahead,
    "label_moments": _simulate_label_moments,
    "output_gradients": _simulate_output_gradients,
}


@dataclass(frozen=True)
class SyntheticBenchmark:
    """The results of training: an additive truth, noise and failures."""

    effects: Mapping[str, float]  # what a task adds to the score; an absent task adds nothing
    noise: float = 0.0  # standard deviation of one score
    failing: float = 0.0  # share of the trials that fail

    def train(self, problem: Problem, number: int, proposal: Proposal) -> Outcome:
        """The outcome of trial ``number``."""
        rng = np.random.default_rng([number, proposal.seed])
        if rng.random() < self.failing:
            return Outcome(None, why="error")
        weights = proposal.shares
        effect = sum(self.effects.get(task, 0.0) * share for task, share in weights.items())
        score = effect * len(weights) + self.noise * float(rng.normal())
        rounds = self._simulate_rounds(*read_inner(problem, proposal), rng) if proposal.inner else ()
        metrics = {task: {"accuracy": score} for task in proposal.tasks}
        return Outcome(
            score, metrics, tuple(rounds), {m.probe: _name_evidence(proposal, m.probe) for m in proposal.measure}
        )

    def evidence(self, problem: Problem, proposal: Proposal) -> Evidence:
        """The arrays measured of a run of ``proposal``, under the keys that its outcome names."""
        truth = SyntheticEvidence(problem, self.effects)
        return {_name_evidence(proposal, m.probe): simulate_probe(truth, proposal, m.probe) for m in proposal.measure}

    def _simulate_rounds(self, inner: Inner, problem: Problem, rng: np.random.Generator) -> Iterator[tuple[str, float]]:
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


def _name_evidence(proposal: Proposal, probe: str) -> str:
    return f"{probe} {'+'.join(proposal.tasks)} {proposal.seed} {proposal.shuffled}"
