"""Which tasks to train together when each must be served by one of a few models: the search of groups behind `auto`.

Every training of a group scores all its members, and a process over (group, member) learns from all of them
(``group_process.py``). The next group is the one whose training is expected to raise the value of the best cover most
(``group_covers.py``): a new group, or one of the leading ones again with another seed. The search has no budget of its
own; it ends when that gain is small beside the noise between trainings, or when its caller ends it.

It begins with all tasks in one model and a random partition into as many groups as models may be served, so that every
task has been seen in a large and in a smaller group after few trainings. Single tasks first, as the higher-order
approximation begins, cost a training each and say nothing of who helps whom: on surfaces of our own, after ten
trainings of six tasks, that start missed three quarters more.

The answer is the best cover by what the process expects, trained or not, if it predicts groups that are left out better
than chance; else the best cover of the groups that were trained, by their own scores; else all tasks in one model. A
network that failed and never succeeded is neither asked for again nor answered with. Trainings under way count as if
they had scored what is expected of them, so any number may be.

Scores of different tasks are added up, as everywhere where groups are asked for. One ``propose`` takes a tenth of a
second for six tasks, about a second for twenty. Short trainings are never asked for: which groups are best after part
of the steps says little of which are best after all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field, replace
from functools import lru_cache

import numpy as np

from auxtune.selectors.beliefs import Belief, Expectation, Remark, read_pairs, read_why
from auxtune.selectors.kit.group_candidates import build_pool, draw_untried, list_start
from auxtune.selectors.kit.group_covers import Gains, estimate_gains, find_cover, limit_serving
from auxtune.selectors.kit.group_process import GroupProcess, fit_group_process, list_points
from auxtune.selectors.kit.networks import build_score_table, read_member_scores, select_networks
from auxtune.selectors.kit.skill import Skill
from auxtune.selectors.protocol import JSON, Done, Evidence, Network, Outcome, Problem, Proposal, Selection, Wait

_BEFORE_STOP = 20  # trainings with scores, beside two for each task, before the search may end by itself
_HOPELESS = 20  # failures without any score after which it ends
_MEASURED = "expected score of the recipient together with the source, less that alone"


@dataclass(frozen=True)
class GroupState:
    """Every network proposed, as trained, and the scores of its members, ``None`` of a failed one, by number."""

    problem: Problem
    trained: Mapping[int, Network] = field(default_factory=dict)
    scores: Mapping[int, Mapping[str, float] | None] = field(default_factory=dict)

    def __hash__(self) -> int:
        return hash((self.problem.seed, len(self.trained), len(self.scores)))

    @property
    def good(self) -> list[int]:
        """Trainings that gave scores."""
        return [number for number in sorted(self.scores) if self.scores[number]]

    @property
    def pending(self) -> list[Network]:
        """Networks that are being trained."""
        return [self.trained[number] for number in sorted(self.trained) if number not in self.scores]

    @property
    def failed(self) -> set[Network]:
        """Networks whose trainings all failed."""
        good = {self.trained[number] for number in self.good}
        return {self.trained[number] for number in self.scores} - good

    @property
    def means(self) -> dict[Network, dict[str, float]]:
        """Each network with scores -> the mean score of each member."""
        seen: dict[Network, dict[str, list[float]]] = {}
        for number in self.good:
            members = seen.setdefault(self.trained[number], {})
            for task, score in (self.scores[number] or {}).items():
                members.setdefault(task, []).append(score)
        return {
            network: {task: float(np.mean(scores)) for task, scores in members.items()}
            for network, members in seen.items()
        }

    def build_rng(self) -> np.random.Generator:
        """The randomness of the next proposal."""
        return np.random.default_rng([self.problem.seed, len(self.trained)])

    def learn(self) -> GroupProcess | None:
        """The process fitted to all scores; ``None`` before two scores of a task differ."""
        networks = [self.trained[number] for number in self.good]
        if not networks:
            return None
        points = list_points(self.problem, networks)
        table = build_score_table(self.problem, [self.scores[number] or {} for number in self.good])
        values = table[points.networks, points.tasks]
        places = {network: place for place, network in enumerate(dict.fromkeys(networks))}
        owners = np.array([places[network] for network in networks])[points.networks]
        known = np.isfinite(values)
        return _fit_cached_process(
            len(self.problem.names), points.rows[known].tobytes(), owners[known].tobytes(), values[known].tobytes()
        )


@dataclass(frozen=True)
class _Ahead:
    """What is expected: of every network, of the best cover, and of one more training."""

    process: GroupProcess
    pool: list[Network]
    found: Gains
    rng: np.random.Generator  # after the draws that this took; to be copied, not used


@dataclass(frozen=True)
class GroupSearch:
    """The functions of a selector for a problem without a primary whose tasks are to be grouped."""

    stop: float | None  # ends when one more run is expected to gain less than this part of the noise

    def start(self, problem: Problem) -> GroupState:
        """Nothing trained yet."""
        return GroupState(problem)

    def propose(self, state: GroupState, evidence: Evidence) -> Proposal | Wait | Done:
        """The next group; any number may be under way."""
        problem, made = state.problem, len(state.trained)
        rng, start = state.build_rng(), list_start(problem)
        if made < len(start):
            return _build_proposal(start[made], rng, "start")
        if len(state.scores) >= _HOPELESS and not state.good:
            return _end(state)
        ahead, enough = _look_ahead(state), len(state.good) >= _BEFORE_STOP + 2 * len(problem.names)
        if ahead is not None:
            rng, gain = deepcopy(ahead.rng), float(ahead.found.gains.max(initial=0.0))
            noise = float(ahead.process.noise_deviations.mean()) / len(
                problem.names
            )  # by one task, in the mean over all
            if self.stop is not None and enough and gain < self.stop * noise:
                return _end(state)
            if gain > 0:
                return _build_proposal(ahead.pool[int(ahead.found.gains.argmax())], rng, "search", {"gain": gain})
        untried = None if ahead is None and enough else draw_untried(problem, set(state.trained.values()), rng)
        return _end(state) if untried is None else _build_proposal(untried, rng, "search")

    def proposed(self, state: GroupState, number: int, proposal: Proposal) -> GroupState:
        """One more network is under way, with the tasks that are actually trained."""
        offered = {(network.tasks, network.name): network for network in state.problem.networks}
        network = offered.get((proposal.tasks, proposal.network)) or Network(proposal.tasks, name=proposal.network)
        return replace(state, trained={**state.trained, number: network})

    def told(self, state: GroupState, number: int, outcome: Outcome) -> GroupState:
        """The scores of one more network's members, or its failure."""
        return replace(state, scores={**state.scores, number: read_member_scores(outcome)})

    def select(self, state: GroupState, evidence: Evidence) -> Selection:
        """The best cover by expectation if that has skill, else of what was trained, else all tasks in one model."""
        problem, means, ahead = state.problem, state.means, _look_ahead(state)
        belief: dict[str, JSON] = {"trained": len(means)}
        if ahead is not None:
            pool, found, skill = ahead.pool, ahead.found, ahead.process.measure_skill(problem.seed)
            belief |= {"skill": skill.as_json(), "gain": float(found.gains.max(initial=0.0))}
            belief["pairs"] = _describe_pairs(problem, ahead.process)
            if skill.shown and found.cover:
                networks = [pool[place] for place in found.cover]
                untried = sum(network not in means for network in networks)
                belief |= {"expected": _measure_value(found.scores[found.cover]), "untried": untried}
                return select_networks(problem, networks, found.scores[found.cover], belief)
        measured, table = list(means), build_score_table(problem, list(means.values()))
        cover = find_cover(table, limit_serving(problem, measured))
        if not cover:
            belief["why"] = "no groups with scores serve every task: one model for all tasks"
        elif ahead is not None:
            belief["why"] = "groups left out are predicted no better than by chance: the best groups that were trained"
        else:
            belief["why"] = "too few scores to predict any: the best groups that were trained"
        return select_networks(problem, [measured[place] for place in cover], table[cover], belief)

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """Why the answer is what it is, how far predictions can be trusted, and what pairs are expected to come to."""
        yield from read_why(belief)
        if "expected" in belief:
            yield Expectation(belief["expected"], None)
        if belief.get("untried"):
            yield Remark(f"{belief['untried']} of its groups not trained so far")
        if "gain" in belief:
            yield Remark(f"one more run is expected to gain {belief['gain']:.2g}")
        if skill := belief.get("skill"):
            yield Skill.from_json(skill)
        if pairs := belief.get("pairs"):
            yield from read_pairs("pairs", pairs)

    def predict(self, state: GroupState, evidence: Evidence, asked: Sequence[Proposal]) -> list[Mapping[str, float]]:
        """The expected score of each member; empty before two scores of a task differ."""
        process = state.learn()
        if process is None or not asked:
            return [{} for _ in asked]
        networks = [Network(proposal.tasks, name=proposal.network) for proposal in asked]
        points = list_points(state.problem, networks)
        predictions: list[dict[str, float]] = [{} for _ in asked]
        for place, task, score in zip(points.networks, points.tasks, process.predict(points), strict=True):
            predictions[place][state.problem.names[task]] = float(score)
        return list(predictions)

    def fewest(self, problem: Problem) -> int:
        """1: before two scores differ, the best groups that were trained."""
        return 1


@lru_cache(maxsize=4)
def _look_ahead(state: GroupState) -> _Ahead | None:
    """From all that ``state`` knows; ``None`` before two scores of a task differ.

    Cached, since both the next proposal and the answer tell what one more training is expected to gain.
    """
    process = state.learn()
    if process is None:
        return None
    rng = state.build_rng()
    pool = build_pool(state.problem, process, list(state.means), state.failed, rng)
    imagined = process.imagine(list_points(state.problem, state.pending))
    return _Ahead(process, pool, estimate_gains(imagined, state.problem, pool, rng), rng)


def _build_proposal(
    network: Network, rng: np.random.Generator, stage: str, notes: Mapping[str, JSON] | None = None
) -> Proposal:
    seed = int(rng.integers(2**31))
    return Proposal(network.tasks, seed=seed, network=network.name, stage=stage, notes=notes or {})


def _describe_pairs(problem: Problem, process: GroupProcess) -> dict[str, JSON]:
    """What each task is expected to do for each other one, as ``read_pairs`` reads it."""
    names = problem.names
    groups = [Network((name,)) for name in names] + [Network(pair) for pair in itertools.combinations(names, 2)]
    points = list_points(problem, groups)
    expected = process.predict(points)
    rows: list[list[float | None]] = [[None] * len(names) for _ in names]
    for place, recipient, score in zip(points.networks, points.tasks, expected.tolist(), strict=True):
        for source in groups[place].tasks:
            if source != names[recipient]:
                rows[recipient][names.index(source)] = score - float(expected[recipient])
    return {"measured": _MEASURED, "tasks": list(names), "recipient_by_source": rows}


def _measure_value(table: np.ndarray) -> float:
    return float(np.nanmax(table, axis=0).mean())


def _end(state: GroupState) -> Wait | Done:
    return Wait() if state.pending else Done()


@lru_cache(maxsize=8)
def _fit_cached_process(tasks: int, rows: bytes, owners: bytes, scores: bytes) -> GroupProcess | None:
    """``fit_group_process``, which depends on nothing else, cached between ``propose`` and ``select``."""
    values = np.frombuffer(scores)
    return fit_group_process(
        tasks, np.frombuffer(rows).reshape(len(values), -1), np.frombuffer(owners, dtype=int), values
    )
