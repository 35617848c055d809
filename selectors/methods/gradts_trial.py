"""How many of the tasks most like the primary to add to it: GradTS by trial.

Chooses a subset. Source: the finaliser ``trial`` of W. Ma, R. Lou, K. Zhang, L. Wang, S. Vosoughi, "GradTS: A
Gradient-Based Automatic Auxiliary Task Selection Method Based on Transformer Networks", EMNLP 2021,
https://arxiv.org/abs/2109.05748. The auxiliaries are ranked by how like the primary's head profile theirs is
(``head_profiles.py``); then the primary is trained with the first, with the first two, and so on, until its score
falls.

Provenance. Verified in the authors' code: the ranking by tau; the stop at the first score below the one before
(an equal score continues); the answer is the best prefix read, the latest on ties; the first prefix is compared with
nothing, so that one auxiliary is always kept.

Where we differ. Every prefix counts with its best evaluation; the authors' code compares the best of a prefix with
the last of the one before, which favours continuing. ``patience`` allows that many scores in a row below the best so
far; 0 is the source's rule. ``compare_alone`` makes the primary alone the first prefix, with the score of its
single-task run, so that adding nothing can win. Prefixes are trained up to ``ahead`` beyond the one to be decided; a
result from beyond the stop is ignored, so the answer is that of training one by one. A failed prefix is skipped: it
neither stops the search nor counts against patience. The source mixes by size; here the study's ``training.sampling``
decides. Importance is measured as ``gradts_threshold.py`` says, ``released: true`` included.

It costs one single-task run per task, a trial per prefix up to the stop, and at most ``ahead`` more. A task whose run
failed is no candidate; without the primary's run the answer is the primary alone. Do not use it where one noisy score
can stop the search early (raise ``patience``), nor where likeness is not help.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, TypeAlias

from pydantic import Field

from auxtune.selectors.beliefs import Belief, read_prefixes, read_why
from auxtune.selectors.kit.head_profiles import (
    RELEASED,
    choose_rows_norm,
    list_unmeasured,
    measure_heads,
    measure_taus,
    rank_by_tau,
    read_taus,
)
from auxtune.selectors.kit.measured_runs import SingleRuns, plan_single_runs
from auxtune.selectors.kit.options import options
from auxtune.selectors.protocol import JSON, Done, Evidence, Outcome, Problem, Proposal, Selection, Wait, Wants

Ranking: TypeAlias = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class TrialState:
    """The single-task runs; once these are over, the ranking, and by length the prefixes trained and their scores.

    ``ranking`` is ``None`` until the first prefix is proposed. A failed prefix has a score of ``None``.
    """

    runs: SingleRuns
    ranking: Ranking | None = None
    lengths: Mapping[int, int] = field(default_factory=dict)
    trained: Mapping[int, tuple[str, ...]] = field(default_factory=dict)
    scores: Mapping[int, float | None] = field(default_factory=dict)

    @property
    def problem(self) -> Problem:
        """The question."""
        return self.runs.problem


@dataclass(frozen=True)
class Reading:
    """The prefixes that are decided, in order: those with a score, the best one, and whether the search stops."""

    read: Mapping[int, float]
    best: int | None
    reached: int  # the first undecided length
    stopped: bool


@options
class GradTSTrial:
    """The auxiliaries most like the primary by their attention heads, as many as its score rises with."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Ma, Lou, Zhang, Wang, Vosoughi: GradTS (2021), https://arxiv.org/abs/2109.05748"
    needs: ClassVar[str] = "an encoder with attention heads"
    costs: ClassVar[str] = "a run per task, and one per prefix tried"
    avoid: ClassVar[str] = "a score is so noisy that the first drop is luck"

    patience: int = Field(default=0, ge=0, description="how many prefixes in a row may score below the best so far")
    ahead: int = Field(
        default=2, ge=0, description="prefixes trained beyond the first that is undecided; 0: one by one"
    )
    compare_alone: bool = Field(default=False, description="the primary alone is the first prefix and may win")
    released: bool = Field(default=False, description=RELEASED)

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary"}), "subset", frozenset({"measure"}))

    def start(self, problem: Problem) -> TrialState:
        """No run yet. Raises ``ValueError`` without a primary."""
        problem.require_primary()
        return TrialState(plan_single_runs(problem))

    def propose(self, state: TrialState, evidence: Evidence) -> Proposal | Wait | Done:
        """Every single-task run, then prefixes in their order; the first one carries the ranking."""
        if not state.problem.auxiliaries:
            return Done()
        single = state.runs.propose_next((measure_heads(self.released),))
        if single is not None:
            return single
        if not state.runs.over:
            return Wait()
        ranking = self._rank_tasks(state, evidence) if state.ranking is None else state.ranking
        reading = self._read_prefixes(state)
        length = len(state.trained) + 1
        if reading.stopped or length > len(ranking):
            return Done()
        if length > reading.reached + self.ahead:
            return Wait()
        chosen = {task for task, _ in ranking[:length]}
        tasks = tuple(name for name in state.problem.names if name in chosen or name == state.problem.primary)
        notes: dict[str, JSON] = {"length": length}
        if state.ranking is None:
            notes["ranking"] = [list(each) for each in ranking]
        # One seed for all prefixes, so that they differ only in their tasks.
        return Proposal(tasks, seed=state.problem.seed, notes=notes, stage="prefix")

    def proposed(self, state: TrialState, number: int, proposal: Proposal) -> TrialState:
        """One more run or prefix is under way, with the tasks that are actually trained."""
        if proposal.measure:
            return replace(state, runs=state.runs.add_proposal(number, proposal))
        length = proposal.notes["length"]
        ranking = state.ranking
        if ranking is None:
            ranking = tuple((task, tau) for task, tau in proposal.notes["ranking"])
        lengths, trained = {**state.lengths, number: length}, {**state.trained, length: proposal.tasks}
        return replace(state, ranking=ranking, lengths=lengths, trained=trained)

    def told(self, state: TrialState, number: int, outcome: Outcome) -> TrialState:
        """One more run or prefix is over."""
        if number not in state.lengths:
            return replace(state, runs=state.runs.add_outcome(number, outcome))
        return replace(state, scores={**state.scores, state.lengths[number]: outcome.score})

    def select(self, state: TrialState, evidence: Evidence) -> Selection:
        """The best prefix read, the latest on ties; ``belief`` holds taus and the scores that were read."""
        ranking = self._rank_tasks(state, evidence) if state.ranking is None else state.ranking
        reading = self._read_prefixes(state)
        primary = (state.problem.require_primary(),)
        read = [
            {"tasks": list(state.trained.get(length, primary)), "score": score}
            for length, score in reading.read.items()
        ]
        belief: dict[str, JSON] = {"tau": dict(ranking), "prefixes": read, "failed": list_unmeasured(state.runs)}
        if reading.best is None:
            belief["why"] = "no prefix gave a score: the primary alone"
        return Selection("mixture", state.trained.get(reading.best or 0, primary), belief=belief)

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """How alike each task's heads are to the primary's, and the prefixes that were read."""
        yield from read_why(belief)
        yield from read_taus(belief)
        yield from read_prefixes("prefixes", "prefixes", belief["prefixes"])

    def fewest(self, problem: Problem) -> int:
        """Every single-task run and one prefix; 0 without an auxiliary."""
        return len(problem.names) + 1 if problem.auxiliaries else 0

    def _rank_tasks(self, state: TrialState, evidence: Evidence) -> Ranking:
        return tuple(rank_by_tau(measure_taus(state.runs, evidence, choose_rows_norm(self.released))).items())

    def _read_prefixes(self, state: TrialState) -> Reading:
        """The prefixes up to the stop, or to the first without a result, whatever arrived beyond."""
        scores = dict(state.scores)
        if self.compare_alone and state.runs.over:
            scores[0] = state.runs.told[state.problem.require_primary(), None].score
        read: dict[int, float] = {}
        best, below = None, 0
        length = 0 if self.compare_alone else 1
        while length in scores and below <= self.patience:
            score = scores[length]
            if score is not None:
                read[length] = score
                below = below + 1 if best is not None and score < read[best] else 0
                best = best if below else length
            length += 1
        return Reading(read, best, length, below > self.patience)
