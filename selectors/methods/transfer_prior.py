"""Transfer prior: sources ranked by their effect on other targets, before anything is trained on this one.

Answers with a ranking, and with the tasks to train. It reads ``problem.earlier``, the findings of earlier studies for
*other* targets, and ranks by popularity there, or by the targets that are like this one (``transfer.py``). Ours, after
the baseline popularity and the pivots of J. Kim, A. Asai, G. Ilharco, H. Hajishirzi, "TaskWeb: Selecting Better Source
Tasks for Multi-task NLP", EMNLP 2023, https://arxiv.org/abs/2305.13256.

Likeness of tasks comes from the log (``similarity: log``): tasks are alike if they help the same targets as sources.
That needs the target among the log's sources; if it is not, pivots know nothing and popularity ranks. ``covariance``
instead measures all tasks on the encoder as it came, and trains nothing. Leaving out each target of the log in turn
decides whether pivots are used at all, and a direct share of likeness.

The tasks to train are the primary and the best ``keep`` sources, without those ranked below no source at all if the log
has targets trained alone. But this holds only if the rankings of left-out targets are better than chance. Otherwise
``belief`` says that they are not; the ranking is the same, and the tasks to train are all. An empty log ranks all
sources alike.

Power. With 8 sources whose popularity varies as much as the noise of a result, a log of two other targets is believed
in one of eight cases, of three in a quarter, of five in half, of eight in three quarters
(``benchmarks/selector_power.py``).

``try_top`` spends a run on each of the best few, primary and source alone. Those that gave a score then exchange their
places in the ranking according to it. A single score of a pair is noisy, so it has no say in whether the log is
believed.

It costs no run by itself. One answer takes a tenth of a second with a log of 20 tasks, a second with 50, because of the
test against chance. Do not use it if earlier studies had another encoder or recipe: what helps changes with both.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import ClassVar, Literal, TypeAlias

import numpy as np
from pydantic import Field

from auxtune.selectors.beliefs import Belief, read_why
from auxtune.selectors.kit.grouping import rank_tasks
from auxtune.selectors.kit.measured_runs import SingleRuns, plan_single_runs
from auxtune.selectors.kit.options import options
from auxtune.selectors.kit.similarity import compute_cosine, subtract_mean
from auxtune.selectors.kit.skill import Skill
from auxtune.selectors.kit.transfer import (
    Choice,
    TransferLog,
    build_transfer_log,
    compute_likeness,
    predict_for_target,
)
from auxtune.selectors.protocol import (
    JSON,
    Done,
    Evidence,
    Inside,
    Measure,
    Outcome,
    Problem,
    Proposal,
    Selection,
    Wait,
    Wants,
)

Ranking: TypeAlias = tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class PriorState:
    """The runs that measure tasks, the ranking once a source is tried, and the tries by number and source."""

    runs: SingleRuns
    ranking: Ranking | None = None
    tried: Mapping[int, str] = field(default_factory=dict)
    scores: Mapping[str, float | None] = field(default_factory=dict)

    @property
    def problem(self) -> Problem:
        """The question."""
        return self.runs.problem


@dataclass(frozen=True)
class Prior:
    """The ranking before any try, and how it came about."""

    ranking: Ranking
    nothing: float | None  # the score of training without any source, if known
    choice: Choice
    targets: int  # of the log
    unknown: tuple[str, ...]  # sources that the log does not contain


@options
class TransferPrior:
    """The sources that helped other targets, those like this one above all, in earlier studies."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = "ours, after Kim et al.: TaskWeb (2023), https://arxiv.org/abs/2305.13256"
    needs: ClassVar[str] = "`earlier` results on other targets: two to be asked, five or more to be believed"
    costs: ClassVar[str] = "none; a run per source tried, a pass over probe rows with `similarity: covariance`"
    avoid: ClassVar[str] = "earlier studies had another encoder or recipe"

    keep: int = Field(default=3, ge=1, description="the most sources to train with the primary, if the log is believed")
    similarity: Literal["log", "covariance", "none"] = Field(
        default="log",
        description="what makes tasks alike: the targets they help, the spread of their embeddings, or nothing:"
        " popularity alone",
    )
    direct: float | None = Field(
        default=None, ge=0, le=1, description="share of a source's own likeness; null: 0 or 0.3"
    )
    try_top: int = Field(
        default=0, ge=0, description="how many of the best to try, primary and source alone, and re-rank"
    )

    def wants(self) -> Wants:
        """Its answers and the needs of its runs."""
        inside: frozenset[Inside] = frozenset({"measure"}) if self.similarity == "covariance" else frozenset()
        return Wants(frozenset({"primary"}), "ranking", inside)

    def start(self, problem: Problem) -> PriorState:
        """Nothing measured yet. Raises ``ValueError`` without a primary."""
        problem.require_primary()
        runs = plan_single_runs(problem)
        measures = self.similarity == "covariance" and problem.auxiliaries and build_transfer_log(problem).targets
        return PriorState(runs if measures else replace(runs, wanted=()))

    def propose(self, state: PriorState, evidence: Evidence) -> Proposal | Wait | Done:
        """The measurements, then the best sources one by one; any number may run at once."""
        single = state.runs.propose_next((Measure("covariance", {"at": "embeddings"}),), trains=False)
        if single is not None:
            return single
        remaining_tries = min(self.try_top, len(state.problem.auxiliaries)) - len(state.tried)
        if remaining_tries <= 0 or not build_transfer_log(state.problem).targets:
            return Done()
        if not state.runs.over:
            return Wait()
        ranking = self._build_prior(state, evidence).ranking if state.ranking is None else state.ranking
        source = ranking[len(state.tried)][0]
        primary = state.problem.require_primary()
        tasks = tuple(name for name in state.problem.names if name in (primary, source))
        notes: dict[str, JSON] = {"source": source}
        if state.ranking is None:
            notes["ranking"] = [list(each) for each in ranking]
        # One seed for all tries, so that they differ only in their source.
        return Proposal(tasks, seed=state.problem.seed, notes=notes, stage="try")

    def proposed(self, state: PriorState, number: int, proposal: Proposal) -> PriorState:
        """One more run or try is under way; the first try carries the ranking."""
        if proposal.measure:
            return replace(state, runs=state.runs.add_proposal(number, proposal))
        ranking = state.ranking
        if ranking is None:
            ranking = tuple((source, score) for source, score in proposal.notes["ranking"])
        return replace(state, ranking=ranking, tried={**state.tried, number: proposal.notes["source"]})

    def told(self, state: PriorState, number: int, outcome: Outcome) -> PriorState:
        """One more run or try is over."""
        if number not in state.tried:
            return replace(state, runs=state.runs.add_outcome(number, outcome))
        return replace(state, scores={**state.scores, state.tried[number]: outcome.score})

    def select(self, state: PriorState, evidence: Evidence) -> Selection:
        """The ranking, re-ranked by tries, and the tasks to train: the best few, or all if the log shows no skill."""
        problem = state.problem
        if not problem.auxiliaries:
            return Selection("mixture", problem.names, belief={"why": "there is no source to rank"})
        prior = self._build_prior(state, evidence)
        measured = {source: score for source, score in state.scores.items() if score is not None}
        ranking = _rank_by_tries(prior.ranking, measured)
        skill = prior.choice.skill
        belief: dict[str, JSON] = {
            "rule": prior.choice.rule.name,
            "left_out_ndcg": prior.choice.ndcg,
            "skill": None if skill is None else skill.as_json(),
            "targets": prior.targets,
            "unknown": list(prior.unknown),
            "nothing": prior.nothing,
            "tried": measured,
        }
        why = _explain_doubt(prior)
        if why is not None:
            return Selection("ranking", problem.names, ranking=ranking, belief={**belief, "why": why})
        helpful = [source for source, score in ranking if prior.nothing is None or score > prior.nothing]
        kept = {problem.primary, *helpful[: self.keep]}
        tasks = tuple(name for name in problem.names if name in kept)
        return Selection("ranking", tasks, ranking=ranking, belief=belief)

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        """What the ranking of targets that were left out is worth."""
        yield from read_why(belief)
        if skill := belief.get("skill"):
            yield Skill.from_json(skill)

    def fewest(self, problem: Problem) -> int:
        """0, or with covariances one run for each task."""
        return len(self.start(problem).runs.wanted)

    def _build_prior(self, state: PriorState, evidence: Evidence) -> Prior:
        problem = state.problem
        log = build_transfer_log(problem)
        measured = None if self.similarity == "log" else self._compare_covariances(state, log, evidence)
        likeness = compute_likeness if measured is None else lambda _: measured
        scores, choice = predict_for_target(log, problem.require_primary(), likeness, self.direct, problem.seed)
        by_source = {name: float(scores[log.place(name)]) for name in problem.auxiliaries}
        seen = np.isfinite(log.transfers.values).any(axis=0)
        return Prior(
            ranking=tuple((source, by_source[source]) for source in rank_tasks(by_source)),
            nothing=float(scores[-1]) if np.isfinite(log.nothing).any() else None,
            choice=choice,
            targets=log.targets,
            unknown=tuple(name for name in problem.auxiliaries if not seen[log.place(name)]),
        )

    def _compare_covariances(self, state: PriorState, log: TransferLog, evidence: Evidence) -> np.ndarray:
        """The likeness of every two measured tasks, rows scaled to 0 … 1, (tasks, tasks); 0 for unmeasured tasks."""
        keys = {log.place(task): key for (task, _), key in state.runs.list_keys("covariance").items()}
        moments = [subtract_mean(evidence[key]["covariance"], evidence[key]["mean"]) for key in keys.values()]
        cosines = np.array([[compute_cosine(one, other) for other in moments] for one in moments])
        like = np.zeros_like(log.transfers.values)
        places = np.array(list(keys))
        for number, place in enumerate(places):
            others = np.arange(len(places)) != number
            # Embeddings of one encoder are all alike; only the differences between cosines tell tasks apart.
            low, high = cosines[number, others].min(initial=1.0), cosines[number, others].max(initial=0.0)
            if high > low:
                like[place, places[others]] = (cosines[number, others] - low) / (high - low)
        return like


def _rank_by_tries(ranking: Ranking, measured: Mapping[str, float]) -> Ranking:
    """The ranking in which the ``measured`` sources exchange their positions according to their scores."""
    places = [place for place, (source, _) in enumerate(ranking) if source in measured]
    best = rank_tasks({ranking[place][0]: measured[ranking[place][0]] for place in places})
    source_at = dict(zip(places, best, strict=True))
    return tuple((source_at.get(place, source), score) for place, (source, score) in enumerate(ranking))


def _explain_doubt(prior: Prior) -> str | None:
    """The reason not to believe the ranking; ``None`` if it is believed."""
    skill = prior.choice.skill
    if not prior.targets:
        return "no earlier study of another target says anything: all tasks"
    if skill is None:
        return "there are no two other targets with three sources each to try the ranking on: all tasks"
    return None if skill.shown else "targets that were left out are ranked no better than by chance: all tasks"
