"""How long a whole training is: in steps, or in passes over the primary's rows."""

from __future__ import annotations

import math

from auxtune.orchestrator.study_file.models import TrainingOptions
from auxtune.selectors.protocol import Problem


def whole_steps(training: TrainingOptions, problem: Problem) -> int:
    """The optimisation steps of a whole training; in epochs, those of the primary alone.

    A pass over the rows is as many batches as hold each of them once, the last of which may be a small one.
    """
    if training.epochs is None or problem.primary is None:
        return training.steps
    batches = -(-_rows(problem) // training.batch_size)
    return max(1, math.ceil(training.epochs * batches / training.accumulate))


def matches_examples(training: TrainingOptions) -> bool:
    """Whether trainings have the steps on the primary in common, and not all steps.

    Epochs count passes over the primary's rows, so that is what they hold alike unless the study file says otherwise.
    """
    if training.epochs is not None and "match" not in training.model_fields_set:
        return True
    return training.match == "primary_examples"


def epochs_in_words(training: TrainingOptions, problem: Problem) -> str | None:
    """What the study's epochs come to; ``None`` where it counts in steps."""
    if training.epochs is None or problem.primary is None:
        return None
    steps, primary = whole_steps(training, problem), problem.primary
    times = "once" if training.epochs == 1 else f"{training.epochs:g} times"
    alone = (
        f"epochs: {times} over the {_rows(problem):,} training rows of {primary} is {steps} steps where it is trained "
        "alone"
    )
    if matches_examples(training):
        return f"{alone}; beside auxiliaries it gets as many at its share, so at a half a trial takes {2 * steps} steps"
    return f"{alone}; beside auxiliaries {steps} steps too (`match: steps`), so at a half it is seen half as often"


def _rows(problem: Problem) -> int:
    return next(task.train_rows for task in problem.tasks if task.name == problem.primary)
