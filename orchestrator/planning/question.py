"""Derives a study's question from its file and its data: the problem, and digests of all that it depends on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sized
from dataclasses import asdict, replace
from importlib.metadata import version
from typing import Any, Protocol

from auxtune.orchestrator.errors import StudyDataError
from auxtune.orchestrator.planning.translate import count_whole_steps, is_matched_by_examples
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.study_file.models import TrainingOptions
from auxtune.orchestrator.study_file.paths import locate_earlier
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.tables.reading import read_transfers
from auxtune.orchestrator.tables.rows import TableError
from auxtune.selectors.protocol import Problem, TaskInfo, Transfer
from auxtune.trials.encoder import BaseEncoder


class SplitTask(Protocol):
    """A task as the question needs it: ``splits`` have their rows as length."""

    @property
    def name(self) -> str:
        """The task's name."""

    @property
    def kind(self) -> str:
        """The kind of its labels, as `kind` of the study file names it."""

    @property
    def inputs(self) -> str:
        """A digest of the training inputs in their order."""

    @property
    def digest(self) -> str:
        """A digest of all rows."""

    @property
    def metrics(self) -> tuple[str, ...]:
        """The names of its metrics, the main one first."""

    @property
    def splits(self) -> Mapping[str, Sized]:
        """Train, probe, validation and test."""


def build_problem(study: StudyFile, tasks: Mapping[str, SplitTask]) -> Problem:
    """The question a study asks, with the sizes of its data.

    Raises ``StudyDataError`` where the table of earlier results that it names cannot be used.
    """
    options = study.options
    infos = tuple(
        TaskInfo(
            name=task.name,
            kind=task.kind,
            train_rows=len(task.splits["train"]),
            probe_rows=len(task.splits["probe"]),
            validation_rows=len(task.splits["validation"]),
            inputs=task.inputs,
        )
        for task in tasks.values()
    )
    problem = Problem(infos, options.primary, options.seed, options.models, earlier=read_earlier_results(study))
    training = options.training
    examples = count_whole_steps(training, problem) * training.accumulate * training.batch_size
    if is_matched_by_examples(training) and problem.primary is not None:
        return replace(problem, primary_examples=examples)
    return replace(problem, examples=examples)


def read_earlier_results(study: StudyFile) -> tuple[Transfer, ...]:
    """The results in the table that the study names, except those on its primary; none where it names none.

    Raises ``StudyDataError`` for a table that cannot be used.
    """
    folder = locate_earlier(study)
    if folder is None:
        return ()
    try:
        return read_transfers(folder).transfers(without=study.options.primary)
    except TableError as error:
        raise StudyDataError(f"{study.path}: earlier: {error}") from error


def compute_fingerprint(
    study: StudyFile, tasks: Mapping[str, SplitTask], base: BaseEncoder, earlier: tuple[Transfer, ...] = ()
) -> dict[str, str]:
    """The parts of a study that must not change: key of the study file -> digest of its meaning.

    ``earlier`` are the study's ``read_earlier_results``.
    """
    options = study.options
    return {
        "study": options.study,
        "primary": str(options.primary),
        # Only where it is asked for: a study that was begun before there were groups has no such key.
        **({"objective": f"{options.objective}, models {options.models}"} if options.objective else {}),
        **{f"tasks.{name}": digest_of([task.digest, task.kind, task.metrics]) for name, task in tasks.items()},
        # By content: the same encoder may lie elsewhere on the next machine.
        "model": digest_of([options.model.model_dump(mode="json", exclude={"name"}), base.digest]),
        "training": digest_of(represent_training(options.training)),
        **({"earlier": digest_of([asdict(one) for one in earlier])} if options.earlier else {}),
        "selector": digest_of([options.selector.model_dump(mode="json"), options.search_seeds]),
        # As with `objective`: a study that was begun before there was a choice has no such key.
        **({"search_score": options.search_score} if options.search_score != "metric" else {}),
        "seed": str(options.seed),
        "auxtune": version("auxtune"),
    }


def represent_training(training: TrainingOptions) -> dict[str, Any]:
    """How trials are trained, as JSON; keys that studies begun earlier did not have are there where they are given."""
    values = training.model_dump(mode="json")
    return values if training.epochs is not None else {key: value for key, value in values.items() if key != "epochs"}


def find_drift(accounts: Accounts, now: Mapping[str, str]) -> tuple[str, ...]:
    """The keys whose digests differ from the last session's; none before the first session."""
    before = accounts.sessions[-1].opened.fingerprint if accounts.sessions else now
    keys = sorted(before.keys() | now.keys())
    return tuple(key for key in keys if before.get(key) != now.get(key))


def digest_of(value: Any) -> str:
    """16 hexadecimal digits that stand for JSON values."""
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]
