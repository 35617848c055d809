"""The only place that knows both vocabularies: a selector's proposals and outcomes, a run's recipes and results."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from auxtune.orchestrator.errors import SelectorError
from auxtune.orchestrator.record.events import Phase
from auxtune.orchestrator.record.results import read_kept_rows
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.study_file.models import StudyOptions, TrainingOptions
from auxtune.selectors.kit.mixtures import count_cycle, find_longest_cycle, share_by_cycle, share_by_sampling
from auxtune.selectors.protocol import Evidence, Outcome, Problem, Proposal
from auxtune.trials.recipe import ModelOptions, Recipe, SearchScore
from auxtune.trials.result import Result

if TYPE_CHECKING:
    from auxtune.trials.tokens import EncodedTask


@dataclass(frozen=True)
class Translator:
    """Turns proposals into recipes and results into outcomes, for one study."""

    options: StudyOptions
    model: ModelOptions
    problem: Problem

    def execute(self, proposal: Proposal) -> Proposal:
        """The proposal with the shares that will really be trained: its own or the sampling rule's, as a cycle.

        A proposal that is steered inside a run, or that weighs losses, keeps the shares it asked for. Raises
        ``SelectorError`` where it asks for values of the recipe: trials take all of them from the study file.
        """
        if proposal.params:
            raise SelectorError(
                f"the selector asks for values of the recipe ({', '.join(proposal.params)}), and trials of this study "
                "take all of them from its file; choose a selector that asks for tasks and shares alone"
            )
        if proposal.inner is not None or proposal.weighting == "loss":
            return proposal
        training = self.options.training
        rows = {task.name: task.train_rows for task in self.problem.tasks}
        weights = proposal.weights or share_by_sampling(training.sampling, rows, proposal.tasks)
        if not proposal.cycle or training.cycle == 0:
            return replace(proposal, weights=dict(weights), cycle=False)
        counts = count_cycle(weights, self._primary_of(proposal), self._longest_cycle)
        if (self.problem.primary is None or proposal.measure) and not all(counts.values()):
            # Every task counts, or is to be measured beside the others: none is left out.
            return replace(proposal, weights=dict(weights), cycle=False)
        tasks = tuple(task for task in proposal.tasks if counts.get(task))
        shares = share_by_cycle(counts)
        return replace(proposal, tasks=tasks, weights={task: shares[task] for task in tasks})

    def recipe(self, proposal: Proposal, phase: Phase) -> Recipe:
        """The recipe that a worker trains for an executed proposal."""
        training, resources = self.options.training, self.options.resources
        equal = {task: 1 / len(proposal.tasks) for task in proposal.tasks}
        by_loss = proposal.weighting == "loss"
        shares = equal if by_loss or proposal.weights is None else dict(proposal.weights)
        primary = self._primary_of(proposal)
        evaluated = (primary,) if primary else proposal.tasks
        # A bandit needs every round or continuation to count alike, so these do not decay their learning rate.
        steady = proposal.inner is not None or proposal.continuation is not None
        transfer = training.schedule == "transfer" and not steady and not proposal.measure
        first = tuple(task for task in proposal.tasks if task != primary) if transfer else ()
        return Recipe(
            tasks=proposal.tasks,
            shares=shares,
            cycle=count_cycle(shares, primary, self._longest_cycle) if proposal.cycle else None,
            loss_weights=_scale_loss_factors(proposal.weights) if by_loss and proposal.weights else None,
            source_tasks=first,
            evaluate=evaluated,
            test=evaluated if phase == "confirm" else (),
            model=self.model,
            probes={measure.probe: dict(measure.options) for measure in proposal.measure},
            seed=proposal.seed,
            steps=self.steps(proposal),
            batch_size=training.batch_size,
            accumulate=training.accumulate,
            learning_rate=training.learning_rate,
            warmup=training.warmup,
            decay="none" if steady else "linear",
            keep="last" if proposal.continuation is not None else "best",
            weight_decay=training.weight_decay,
            clip=training.clip,
            precision=training.precision,
            evaluate_every=training.evaluate_every,
            checkpoint_every=training.checkpoint_every,
            time_limit=resources.trial_minutes * 60 if resources.trial_minutes else None,
            threads=max(1, int(resources.cpus)),
            search_score=search_score_of(self.options),
            device=resources.device,
        )

    def steps(self, proposal: Proposal) -> int:
        """Optimisation steps of an executed proposal."""
        if not proposal.trains:
            return 0
        if proposal.inner is not None:
            return proposal.inner.rounds * proposal.inner.round_steps
        if proposal.continuation is not None:
            return proposal.continuation.steps
        training = self.options.training
        steps = max(1, round(count_whole_steps(training, self.problem) * proposal.portion))
        primary = self._primary_of(proposal)
        if is_matched_by_examples(training) and primary and proposal.weights:
            alike = proposal.weighting == "loss"
            return round(steps * len(proposal.tasks) if alike else steps / proposal.weights[primary])
        return steps

    def _primary_of(self, proposal: Proposal) -> str | None:
        """The primary, where the proposal trains it: a run that only measures another task does not."""
        return self.problem.primary if self.problem.primary in proposal.tasks else None

    @property
    def _longest_cycle(self) -> int:
        """The same for every proposal of the study, so that executed shares stay executed shares."""
        return self.options.training.cycle or find_longest_cycle(len(self.problem.names))

    @staticmethod
    def outcome(result: Result) -> Outcome:
        """The part of a result that the selector is told: no time, no money."""
        return Outcome(
            score=result.score,
            metrics=result.validation,
            scores=result.scores,
            rounds=result.rounds,
            evidence=result.evidence,
            why=result.why or (None if result.score is not None else "error"),
        )


def apply_variant(
    tasks: Mapping[str, EncodedTask], proposal: Proposal, study: StoredPath, evidence: Evidence
) -> dict[str, EncodedTask]:
    """The proposal's tasks; ``study`` is the study's folder. Raises ``EvidenceError`` as ``read_kept_rows`` does."""
    from auxtune.trials.tokens import keep_rows, shuffle_labels  # here, because pages translate without any data

    chosen = {name: tasks[name] for name in proposal.tasks}
    if proposal.shuffled is not None:
        chosen = {name: shuffle_labels(task, proposal.shuffled) for name, task in chosen.items()}
    for name, kept in proposal.rows.items():
        if name in chosen and kept.kept < kept.rows:
            chosen[name] = keep_rows(chosen[name], read_kept_rows(kept, study, evidence))
    return chosen


def search_score_of(options: StudyOptions) -> SearchScore:
    """The kind of a study's scores: without a primary, trials have different tasks, whose losses compare in parts."""
    return "relative_loss" if options.search_score == "loss" and options.primary is None else options.search_score


def _scale_loss_factors(shares: Mapping[str, float]) -> dict[str, float]:
    """Factors of the losses in proportion to ``shares``, 1 on average: the learning rate keeps its meaning."""
    return {task: share * len(shares) for task, share in shares.items()}


def count_whole_steps(training: TrainingOptions, problem: Problem) -> int:
    """The optimisation steps of a whole training; in epochs, those of the primary alone.

    A pass over the rows is as many batches as hold each of them once, the last of which may be a small one.
    """
    if training.epochs is None or problem.primary is None:
        return training.steps
    batches = -(-_count_primary_rows(problem) // training.batch_size)
    return max(1, math.ceil(training.epochs * batches / training.accumulate))


def is_matched_by_examples(training: TrainingOptions) -> bool:
    """Whether trainings have the steps on the primary in common, and not all steps.

    Epochs count passes over the primary's rows, so that is what they hold alike unless the study file says otherwise.
    """
    if training.epochs is not None and "match" not in training.model_fields_set:
        return True
    return training.match == "primary_examples"


def describe_epochs(training: TrainingOptions, problem: Problem) -> str | None:
    """A sentence on the study's epochs in steps; ``None`` where it counts in steps."""
    if training.epochs is None or problem.primary is None:
        return None
    steps, primary = count_whole_steps(training, problem), problem.primary
    times = "once" if training.epochs == 1 else f"{training.epochs:g} times"
    alone = (
        f"epochs: {times} over the {_count_primary_rows(problem):,} training rows of {primary} is {steps} steps where "
        "it is trained alone"
    )
    if is_matched_by_examples(training):
        return f"{alone}; beside auxiliaries it gets as many at its share, so at a half a trial takes {2 * steps} steps"
    return f"{alone}; beside auxiliaries {steps} steps too (`match: steps`), so at a half it is seen half as often"


def _count_primary_rows(problem: Problem) -> int:
    return next(task.train_rows for task in problem.tasks if task.name == problem.primary)
