"""Which tasks to add to the primary, and which of their rows: GradTS with instances.

Chooses rows. Source: the finaliser ``fg`` of W. Ma, R. Lou, K. Zhang, L. Wang, S. Vosoughi, "GradTS: A Gradient-Based
Automatic Auxiliary Task Selection Method Based on Transformer Networks", EMNLP 2021, https://arxiv.org/abs/2109.05748.
Stage 1 is ``gradts_trial.py``. Stage 2 (``InstanceFilter``) keeps, of each chosen auxiliary, the training rows whose
own head profile has a Kendall tau of at least ``threshold`` with the primary's; the primary keeps all its rows, and an
auxiliary of which no row is kept is dropped.

Stage 2 asks for the single-task runs of the ranking once more, now with the importance of heads for each training row
of the auxiliaries; a caller that keeps evidence measures only that. Each threshold then names its rows
(``kept_rows.py``) and is tried in a trial. Thresholds that keep the same rows share a trial, under the first of them.

Provenance. Verified in the authors' code: this rule, and thresholds of 0.40 to 0.43, chosen for each task on
``bert-base-cased`` with the importance that ``released: true`` stands for. The default is one of them, 0.42, which
may not suit another encoder: taus rise and fall with it. A list tries several, each in a trial; the best score wins.

Where we differ. The authors fine-tune each task a second time for the importance of its rows; here it is measured on
the runs that ranked the tasks. All auxiliaries share the threshold, and their rows count as ``training.sampling`` says.
A list can overfit the validation split, and confirm will show it. An auxiliary keeps all its rows if they could not be
measured, and so do all auxiliaries if the primary's profile could not be.

It costs what ``gradts_trial`` costs, a backward pass per batch of the chosen auxiliaries' training rows, and one trial
per threshold. Do not use it with small auxiliaries: the fewer rows are left, the more often they are repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Annotated, ClassVar, TypeAlias

from pydantic import Field

from auxtune.selectors.beliefs import Belief, Filter, Filters, read_why
from auxtune.selectors.kit.head_profiles import RELEASED, choose_rows_norm, measure_heads
from auxtune.selectors.kit.kept_rows import build_rule, count_kept_at_each
from auxtune.selectors.kit.measured_runs import SingleRuns, plan_single_runs
from auxtune.selectors.kit.options import options
from auxtune.selectors.kit.pipeline import Staged
from auxtune.selectors.methods.gradts_trial import GradTSTrial
from auxtune.selectors.protocol import (
    JSON,
    Done,
    Evidence,
    Kept,
    Outcome,
    Problem,
    Proposal,
    Selection,
    Selector,
    Wait,
    Wants,
)

Threshold: TypeAlias = Annotated[float, Field(ge=-1)]  # the least tau of a row with the primary
Thresholds: TypeAlias = Annotated[list[Threshold], Field(min_length=1)]


@dataclass(frozen=True)
class Cut:
    """The rows that one threshold keeps of each auxiliary whose rows could be compared; others keep all rows."""

    threshold: float
    kept: Mapping[str, Kept]

    def list_tasks(self, problem: Problem) -> tuple[str, ...]:
        """All tasks except those without a kept row."""
        return tuple(name for name in problem.names if name not in self.kept or self.kept[name].kept)

    @property
    def rows(self) -> dict[str, Kept]:
        """The tasks that lose some rows, but not all."""
        return {task: kept for task, kept in self.kept.items() if 0 < kept.kept < kept.rows}


@dataclass(frozen=True)
class FilterState:
    """The runs; once these are over, the cuts, which of them each proposal tries, and the scores."""

    runs: SingleRuns
    cuts: tuple[Cut, ...] | None = None
    asked: Mapping[int, Cut] = field(default_factory=dict)
    scores: Mapping[int, float] = field(default_factory=dict)

    @property
    def problem(self) -> Problem:
        """The question."""
        return self.runs.problem


@options
class InstanceFilter:
    """The rows of each auxiliary whose attention heads matter as the primary's do."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Ma, Lou, Zhang, Wang, Vosoughi: GradTS (2021), https://arxiv.org/abs/2109.05748"

    threshold: Threshold | Thresholds = Field(
        default=0.42, description="the least tau of a row with the primary; of a list the best wins"
    )
    released: bool = Field(default=False, description=RELEASED)

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        return Wants(frozenset({"primary"}), "rows", frozenset({"measure", "rows"}))

    def start(self, problem: Problem) -> FilterState:
        """No run yet. Raises ``ValueError`` without a primary."""
        problem.require_primary()
        return FilterState(plan_single_runs(problem))

    def propose(self, state: FilterState, evidence: Evidence) -> Proposal | Wait | Done:
        """Every run, then a trial for each cut; the first one carries all cuts."""
        problem = state.problem
        if not problem.auxiliaries:
            return Done()
        single = state.runs.propose_next((measure_heads(self.released),))
        if single is not None:
            if single.tasks[0] == problem.primary:  # the primary keeps all its rows
                return single
            instances = measure_heads(self.released, "instance_importance")
            return replace(single, measure=(*single.measure, instances))
        if not state.runs.over:
            return Wait()
        cuts = self._find_cuts(state, evidence) if state.cuts is None else state.cuts
        if len(state.asked) == len(cuts):
            return Done()
        cut = cuts[len(state.asked)]
        notes = {} if state.cuts is not None else {"cuts": [asdict(each) for each in cuts]}
        return Proposal(cut.list_tasks(problem), seed=problem.seed, notes=notes, stage="rows", rows=cut.rows)

    def proposed(self, state: FilterState, number: int, proposal: Proposal) -> FilterState:
        """One more run or cut is under way."""
        if proposal.measure:
            return replace(state, runs=state.runs.add_proposal(number, proposal))
        cuts = tuple(_restore_cut(told) for told in proposal.notes["cuts"]) if state.cuts is None else state.cuts
        return replace(state, cuts=cuts, asked={**state.asked, number: cuts[len(state.asked)]})

    def told(self, state: FilterState, number: int, outcome: Outcome) -> FilterState:
        """One more run or cut is over."""
        if number not in state.asked:
            return replace(state, runs=state.runs.add_outcome(number, outcome))
        if outcome.score is None:
            return state
        return replace(state, scores={**state.scores, number: outcome.score})

    def select(self, state: FilterState, evidence: Evidence) -> Selection:
        """The cut with the best score, the earliest on ties; before any score all rows of the given tasks."""
        tried = [_describe_cut(cut, state.scores.get(number)) for number, cut in state.asked.items()]
        if not state.scores:
            why = "no cut of the rows gave a score: all rows"
            return Selection("mixture", state.problem.names, belief={"cuts": tried, "why": why})
        best = max(sorted(state.scores), key=lambda number: state.scores[number])
        cut = state.asked[best]
        belief = {"threshold": cut.threshold, "cuts": tried}
        return Selection("mixture", cut.list_tasks(state.problem), belief=belief, instances=cut.rows or None)

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """The cuts of the rows, with their scores."""
        yield from read_why(belief)
        if cuts := belief["cuts"]:
            yield Filters(tuple(_read_filter(cut) for cut in cuts))

    def fewest(self, problem: Problem) -> int:
        """Every run and one cut; 0 without an auxiliary."""
        return len(problem.names) + 1 if problem.auxiliaries else 0

    def _find_cuts(self, state: FilterState, evidence: Evidence) -> tuple[Cut, ...]:
        """The cut of each threshold; of two that keep the same rows, the first. A failed run filters nothing."""
        thresholds = self.threshold if isinstance(self.threshold, list) else [self.threshold]
        keys = {task: state.runs.find_key(task, "instance_importance") for task in state.problem.auxiliaries}
        profile = state.runs.find_key(state.problem.require_primary(), "head_importance")
        found = {
            task: count_kept_at_each(
                build_rule(profile, key, choose_rows_norm(self.released), thresholds[0]), thresholds, evidence
            )
            for task, key in keys.items()
            if key is not None and profile is not None
        }
        cuts: dict[tuple[str, ...], Cut] = {}
        for place, threshold in enumerate(thresholds):
            kept = {task: each[place] for task, each in found.items()}
            cuts.setdefault(tuple(each.sha256 for each in kept.values()), Cut(float(threshold), kept))
        return tuple(cuts.values())


def _restore_cut(told: Mapping[str, JSON]) -> Cut:
    return Cut(told["threshold"], {task: Kept(**kept) for task, kept in told["kept"].items()})


def _read_filter(told: Mapping[str, JSON]) -> Filter:
    """A cut as ``_describe_cut`` described it."""
    kept = {task: (each["kept"], each["rows"]) for task, each in told["kept"].items()}
    return Filter(told["threshold"], kept, told["score"])


def _describe_cut(cut: Cut, score: float | None) -> dict[str, JSON]:
    """A cut for people to read: rows kept, of how many."""
    kept = {task: {"rows": each.rows, "kept": each.kept} for task, each in cut.kept.items()}
    return {"threshold": cut.threshold, "kept": kept, "score": score}


@options
class GradTSInstance(Staged):
    """The auxiliaries of `gradts_trial`, and of each the rows whose attention heads matter as the primary's do."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "Ma, Lou, Zhang, Wang, Vosoughi: GradTS (2021), https://arxiv.org/abs/2109.05748"
    needs: ClassVar[str] = "an encoder with attention heads"
    costs: ClassVar[str] = "`gradts_trial`, and a run per threshold"
    avoid: ClassVar[str] = "auxiliaries have few rows to spare"

    patience: int = Field(
        default=0, ge=0, description="stage 1: how many prefixes in a row may score below the best so far"
    )
    ahead: int = Field(
        default=2, ge=0, description="stage 1: prefixes trained beyond the first that is undecided; 0: one by one"
    )
    compare_alone: bool = Field(default=False, description="stage 1: the primary alone is the first prefix and may win")
    threshold: Threshold | Thresholds = Field(
        default=0.42, description="stage 2: the least tau of a row with the primary; of a list the best wins"
    )
    released: bool = Field(default=False, description=RELEASED)

    @property
    def stages(self) -> tuple[tuple[str, Selector], ...]:
        """Prefixes of the ranking, then rows of the best one."""
        trial = GradTSTrial(self.patience, self.ahead, self.compare_alone, self.released)
        return (("gradts_trial", trial), ("instances", InstanceFilter(self.threshold, self.released)))

    def fewest(self, problem: Problem) -> int:
        """The fewest of stage 1, then two runs and a trial, since stage 1 leaves at least one auxiliary."""
        (_, trial), (_, rows) = self.stages
        left = 0 if self.compare_alone else min(3, rows.fewest(problem))
        return trial.fewest(problem) + left
