"""In what proportion to train the tasks: Bayesian optimisation of the shares themselves. The one to take by default.

Chooses weights; a subset is a mixture with zeros. No source for the whole; its parts have theirs. A Gaussian process
over the shares (``process.py``) learns from every training, executed shares and failures included, and the next one is
that with the largest knowledge gradient (``knowledge_gradient.py``: Scott, Frazier, Powell 2011): a new mixture, or a
leader again with another seed, which are then weighed by the same number. The search has no budget of its own. It ends
when the expected gain of one more training is small beside the noise between trainings, or when its caller ends it.

It begins with what people train without a search (the primary alone, all tasks alike, all by the roots of their rows),
then mixtures far from these; candidates are sparse (``candidates.py``). The answer is a mixture that was trained: the
one with the best posterior mean, since the best of many noisy scores is luck; but the primary alone, unless that one is
better with a probability of 0.8.

What is thought of mixtures before they are tried is a prior whose weight the scores fit (``hints.py``): what earlier
studies found, what runs made elsewhere came to, and with ``evidence: tag`` the affinities that the training of all
tasks alike measures by the way. The mixture that they suggest is among the first ones.

With ``max_epochs`` every mixture, the answer included, is made to fit a cap on repeats (``mixtures.py``).

A failed mixture counts as the worst seen, so that the search avoids it. Trainings under way count as if they had scored
what is expected of them, so any number may be. One ``propose`` takes tenths of a second with 200 trials of 20 tasks.
Without a primary it searches groups (``group_search.py``). Do not use it where which rows to keep is the question.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Literal

import numpy as np
from pydantic import Field

from auxtune.selectors.beliefs import Belief
from auxtune.selectors.kit.candidates import Candidates, build_candidates, find_farthest, find_nearest, list_usual
from auxtune.selectors.kit.certainty import estimate_superiority
from auxtune.selectors.kit.group_search import GroupSearch, GroupState
from auxtune.selectors.kit.hints import (
    RankingHint,
    RunsHint,
    build_hint,
    build_runs_hint,
    find_expected_best,
    read_earlier_hint,
    suggest_mixture,
)
from auxtune.selectors.kit.knowledge_gradient import KnowledgeGradient
from auxtune.selectors.kit.mixture_search import (
    MixtureSearch,
    MixtureState,
    build_proposal,
    find_best_mixture,
    name_shares,
)
from auxtune.selectors.kit.mixtures import RepeatCap, build_repeat_cap
from auxtune.selectors.kit.options import options
from auxtune.selectors.kit.process import Process
from auxtune.selectors.methods.tag import PROBE, Tag
from auxtune.selectors.protocol import (
    JSON,
    Done,
    Evidence,
    Inside,
    Objective,
    Outcome,
    Problem,
    Proposal,
    Selection,
    Wait,
    Wants,
)

_FIRST = 3  # mixtures before the process is asked
_HINTED = "hint"  # the stage of the mixture that hints suggest
_BEFORE_STOP = 20  # scores, beside one for each task, before the search may end by itself
_NO_SCORE = "no mixture gave a score: equal shares, as far as `max_epochs` allows"
_SURE = 0.8  # the probability of being better than the primary alone that an answer with auxiliaries needs
_ENOUGH = 10  # scores, under which nothing is sure and the best guess answers
_HOPELESS = 20  # failures without any score after which it ends


@dataclass(frozen=True)
class ShareSearch(MixtureSearch):
    """The search of shares; its options are those of ``Auto``."""

    stop: float | None
    min_primary: float
    evidence: Literal["auto", "off", "tag"]
    max_epochs: float | None

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        wants = replace(super().wants(), reads_runs=self.evidence != "off")
        if self.evidence != "tag":
            return wants
        return replace(wants, objectives=frozenset[Objective]({"primary"}), inside=frozenset[Inside]({"measure"}))

    def start(self, problem: Problem) -> MixtureState:
        """No mixture yet, and what earlier studies and runs made elsewhere found.

        Raises ``ValueError`` as ``MixtureSearch`` does, and where repeats cannot be limited.
        """
        if self.evidence == "tag":
            problem.require_primary()
        state = super().start(problem)
        self._build_cap(problem)
        if self.evidence == "off":
            return state
        known = (read_earlier_hint(problem), *map(build_runs_hint, problem.runs))
        return replace(state, hints=tuple(hint for hint in known if hint is not None))

    def propose(self, state: MixtureState, evidence: Evidence) -> Proposal | Wait | Done:
        """The next mixture; any number may be under way."""
        state = self._read_measured(state, evidence)
        made, problem = len(state.mixtures), state.problem
        rng = state.build_rng()
        if len(problem.tasks) == 1:
            return Done() if made else self._ask(state, np.ones(1), rng, "start")
        hopeless = len(state.scores) >= _HOPELESS and not state.good
        if hopeless or state.is_exhausted:
            return _end(state)
        if state.hints and not state.is_hinted and made >= len(list_usual(problem)):
            return self._ask(state, self._suggest(state, rng), rng, _HINTED)
        process = state.learn()
        if made < _FIRST or process is None:
            first = self._ask(state, self._choose_start(state, rng), rng, "start")
            is_joint = self.evidence == "tag" and made == 1
            return replace(first, measure=(Tag().measure,), seed=problem.measure_seed) if is_joint else first
        mixture, gain, drawn = _look_ahead(state, self)
        if self._is_enough(state, process, gain):
            return _end(state)
        rng = deepcopy(drawn)
        if gain == 0.0:  # nothing is known to be worth it, so that any training is as good
            mixture = self._choose_start(state, rng)
        return self._ask(state, mixture, rng, "search", {"gain": gain})

    def proposed(self, state: MixtureState, number: int, proposal: Proposal) -> MixtureState:
        """As every search; also whether it is the mixture that hints suggest."""
        state = super().proposed(state, number, proposal)
        return replace(state, is_hinted=True) if proposal.stage == _HINTED else state

    def told(self, state: MixtureState, number: int, outcome: Outcome) -> MixtureState:
        """As every search; also the key of what the training of all tasks measured."""
        state = super().told(state, number, outcome)
        return replace(state, measured=outcome.evidence.get(PROBE, state.measured))

    def select(self, state: MixtureState, evidence: Evidence) -> Selection:
        """As every search; where no mixture gave a score, all tasks alike as far as the cap allows."""
        cap = self._build_cap(state.problem)
        if state.good or cap is None:
            return super().select(self._read_measured(state, evidence), evidence)
        tasks = len(state.problem.tasks)
        weights = name_shares(state.problem, cap.round_to_cycle(np.full(tasks, 1 / tasks)).tolist())
        return Selection("mixture", tuple(weights), weights, belief={"why": _NO_SCORE})

    def choose_answer(self, state: MixtureState, process: Process, best: np.ndarray) -> tuple[np.ndarray, str | None]:
        """The primary alone, where it was trained and nothing is better than it with some certainty.

        Where auxiliaries only hurt, the best of many mixtures with a little of them looks better by luck.
        """
        problem = state.problem
        alone = tuple(float(name == problem.primary) for name in problem.names)
        is_trained = alone in (state.mixtures[number] for number in state.good)
        if not is_trained or len(state.good) < _ENOUGH:
            return best, None
        probability = estimate_superiority(process, best, np.array(alone))
        if probability is None or probability >= _SURE:
            return best, None
        why = f"no mixture is better than {problem.primary} alone with a probability of {_SURE}: the best has"
        return np.array(alone), f"{why} {probability:.2f}"

    def predict(self, state: MixtureState, evidence: Evidence, asked: Sequence[Proposal]) -> list[Mapping[str, float]]:
        """As every search."""
        return super().predict(self._read_measured(state, evidence), evidence, asked)

    def describe_belief(self, state: MixtureState, process: Process, best: np.ndarray) -> dict[str, JSON]:
        """Also what one more run is expected to gain."""
        gain = 0.0 if state.is_exhausted else _look_ahead(state, self)[1]
        return {**super().describe_belief(state, process, best), "gain": gain}

    def build_candidates(self, problem: Problem) -> Candidates:
        """The mixtures that may be tried."""
        return build_candidates(problem, self.min_primary, self._build_cap(problem))

    def _build_cap(self, problem: Problem) -> RepeatCap | None:
        return None if self.max_epochs is None else build_repeat_cap(problem, self.max_epochs, self.min_primary)

    def _ask(
        self,
        state: MixtureState,
        shares: np.ndarray,
        rng: np.random.Generator,
        stage: str,
        notes: Mapping[str, JSON] | None = None,
    ) -> Proposal:
        """The proposal of a mixture, (K,), or of the nearest that keeps to the cap."""
        cap = self._build_cap(state.problem)
        kept = shares if cap is None else cap.round_to_cycle(shares)
        return build_proposal(state.problem, kept, rng, stage, notes)

    def _read_measured(self, state: MixtureState, evidence: Evidence) -> MixtureState:
        """``state`` with the hint that the training of all tasks left, if it measured any."""
        if state.measured is None:
            return state
        arrays = evidence[state.measured]
        tasks = [str(task) for task in arrays["tasks"]]
        row = arrays["affinity"][tasks.index(state.problem.require_primary())].tolist()
        hint = build_hint("tag", state.problem, dict(zip(tasks, row, strict=True)))
        return state if hint is None else replace(state, hints=(*state.hints, hint))

    def _suggest(self, state: MixtureState, rng: np.random.Generator) -> np.ndarray:
        """The mixture, (K,), that looks best beforehand: by runs made elsewhere or, without these, by rankings."""
        runs = [hint for hint in state.hints if isinstance(hint, RunsHint)]
        if runs:
            return find_expected_best(runs, self.build_candidates(state.problem), state.unused, rng)
        rankings = [hint for hint in state.hints if isinstance(hint, RankingHint)]
        suggested = suggest_mixture(state.problem, rankings)
        return suggested if state.unused is None else find_nearest(state.unused, suggested)

    def _choose_start(self, state: MixtureState, rng: np.random.Generator) -> np.ndarray:
        """The usual mixtures first, or the nearest that are offered; then what is far from all that was tried."""
        made, usual, offered = len(state.mixtures), list_usual(state.problem), state.unused
        if made < len(usual):
            return usual[made] if offered is None else find_nearest(offered, usual[made])
        known = state.read_shares(list(state.mixtures))
        if offered is not None:
            return find_farthest(offered, known)
        return self.build_candidates(state.problem).draw_far(rng, known)

    def _is_enough(self, state: MixtureState, process: Process, gain: float) -> bool:
        known = len(state.good) >= _BEFORE_STOP + len(state.problem.tasks)
        return self.stop is not None and known and gain < self.stop * process.noise_deviation


@options
class Auto:
    """The shares of the tasks, by Bayesian optimisation on the shares themselves: the one to take by default."""

    version: ClassVar[int] = 2  # earlier results are read
    paper: ClassVar[str | None] = None
    needs: ClassVar[str] = "nothing; it begins with the primary alone and all tasks"
    costs: ClassVar[str] = "from 3 runs; it ends by itself or by the budget"
    avoid: ClassVar[str] = "rows are to be chosen"

    stop: float | None = Field(
        default=0.1,
        ge=0,
        description="end when one more run is expected to gain less than this part of the noise; null: never",
    )
    min_primary: float = Field(default=0.05, ge=0, le=1, description="the least share of the primary")
    evidence: Literal["auto", "off", "tag"] = Field(
        default="auto",
        description="a prior that the scores weigh: earlier results and runs, none, or also TAG's affinities",
    )
    max_epochs: float | None = Field(
        default=None,
        gt=0,
        description="how often a training may repeat a task's rows, but for the primary at its least share; null: any",
    )

    @property
    def _shares(self) -> ShareSearch:
        return ShareSearch(self.stop, self.min_primary, self.evidence, self.max_epochs)

    @property
    def _groups(self) -> GroupSearch:
        return GroupSearch(self.stop)

    def _search(self, state: Any) -> Any:
        """The search that a state is of."""
        return self._groups if isinstance(state, GroupState) else self._shares

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        wants = self._shares.wants()
        return wants if self.evidence == "tag" else replace(wants, objectives=wants.objectives | {"groups"})

    def start(self, problem: Problem) -> Any:
        """Nothing trained yet.

        Raises ``ValueError`` without a primary where affinities to it are to be measured, and where repeats cannot be
        limited.
        """
        is_of_groups = problem.primary is None and problem.scored is None and self.evidence != "tag"
        if is_of_groups and self.max_epochs is not None:
            raise ValueError("max_epochs limits shares, and the tasks of a group are trained alike; leave it out")
        return (self._groups if is_of_groups else self._shares).start(problem)

    def propose(self, state: Any, evidence: Evidence) -> Proposal | Wait | Done:
        """The next mixture or group; any number may be under way."""
        proposal: Proposal | Wait | Done = self._search(state).propose(state, evidence)
        return proposal

    def proposed(self, state: Any, number: int, proposal: Proposal) -> Any:
        """One more training is under way."""
        return self._search(state).proposed(state, number, proposal)

    def told(self, state: Any, number: int, outcome: Outcome) -> Any:
        """One more training is over."""
        return self._search(state).told(state, number, outcome)

    def select(self, state: Any, evidence: Evidence) -> Selection:
        """The answer of either search."""
        selection: Selection = self._search(state).select(state, evidence)
        return selection

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """The beliefs of either search: only that of groups has a list of pairs or says what was trained."""
        is_of_groups = "pairs" in belief or "trained" in belief
        yield from (self._groups if is_of_groups else self._shares).beliefs(belief)

    def predict(self, state: Any, evidence: Evidence, asked: Sequence[Proposal]) -> list[Mapping[str, float]]:
        """The expectations of either search."""
        predictions: list[Mapping[str, float]] = self._search(state).predict(state, evidence, asked)
        return predictions

    def fewest(self, problem: Problem) -> int:
        """1: a single training with a score."""
        return 1


@lru_cache(maxsize=4)
def _look_ahead(state: MixtureState, search: ShareSearch) -> tuple[np.ndarray, float, np.random.Generator]:
    """The mixture, (K,), whose training is expected to gain most, that gain in units of the score, and further draws.

    ``state`` has a process. Cached, since both the next proposal and the answer tell the gain: the draws are to be
    copied, not used.
    """
    rng, process = state.build_rng(), state.learn()
    if process is None:
        raise ValueError("expected a state with two different scores")
    process = process.imagine(state.pending)
    gradient = KnowledgeGradient(process, state.tried)
    candidates = search.build_candidates(state.problem)
    return *find_best_mixture(state, process, gradient.estimate_gains, candidates, rng), rng


def _end(state: MixtureState) -> Wait | Done:
    return Wait() if len(state.pending) else Done()
