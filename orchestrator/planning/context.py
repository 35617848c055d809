"""The study as understood: its file, its question and digests of all that it depends on, and what is built of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence, Sized
from dataclasses import asdict, dataclass, field, replace
from functools import cached_property
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Protocol

from auxtune.orchestrator.errors import SelectorError
from auxtune.orchestrator.planning.budget import Price, price_of
from auxtune.orchestrator.planning.confirm import Confirmation, build_confirmation
from auxtune.orchestrator.planning.control_search import fold_control
from auxtune.orchestrator.planning.earlier import read_earlier_results, read_earlier_runs
from auxtune.orchestrator.planning.translate import Translator, count_whole_steps, is_matched_by_examples
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Event, Opened, Proposed
from auxtune.orchestrator.record.fold import SelectorFold, blame_selector, verify
from auxtune.orchestrator.record.results import EvidenceStore, StoredEvidence
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.study_file.models import StudyOptions, TrainingOptions
from auxtune.orchestrator.study_file.paths import locate_study, resolve_model
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.border import check_answer
from auxtune.selectors.kit.pipeline import Pipeline
from auxtune.selectors.kit.searches import Searches
from auxtune.selectors.protocol import EarlierRuns, Problem, Selector, TaskInfo, Transfer
from auxtune.selectors.registry import make
from auxtune.trials.recipe import ModelOptions

if TYPE_CHECKING:  # it loads torch, which commands that only read a study do not need
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


@dataclass(frozen=True)
class StudyContext:
    """A study as understood, from its data (``from_data``) or from its ledger (``from_events``).

    The data itself is not part of it, and ``rows`` and ``fingerprint`` are empty where it was not read.
    """

    study: StudyFile
    folder: StoredPath
    """The study's folder, ``<storage>/<study>``."""
    problem: Problem
    accounts: Accounts = field(default_factory=Accounts)
    """What its ledger adds up to; without a session before the first. Code that records events adds them here."""
    fingerprint: Mapping[str, str] = field(default_factory=dict)
    """What must not change under the study: key of the study file -> digest of its meaning."""
    rows: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    """Task -> split -> rows."""

    @classmethod
    def from_data(
        cls,
        study: StudyFile,
        tasks: Mapping[str, SplitTask],
        base: BaseEncoder,
        accounts: Accounts | None = None,
    ) -> StudyContext:
        """The study over ``tasks``, in the order of its file, and the encoder ``base``.

        ``accounts`` are those of its ledger, if it has one. Raises ``StudyDataError`` where earlier results or
        runs that it names cannot be used.
        """
        problem = build_problem(study, tasks)
        return cls(
            study,
            locate_study(study),
            problem,
            Accounts() if accounts is None else accounts,
            compute_fingerprint(study, tasks, base, (*problem.earlier, *problem.runs)),
            {name: {part: len(rows) for part, rows in task.splits.items()} for name, task in tasks.items()},
        )

    @classmethod
    def from_events(cls, study: StudyFile, events: Sequence[Event], folder: StoredPath | None = None) -> StudyContext:
        """The study as its last session understood it, without its data.

        ``folder`` is the study's, by default where its file has it. Raises ``IndexError`` where ``events`` hold no
        session.
        """
        return cls.from_accounts(study, Accounts(events), folder)

    @classmethod
    def from_accounts(cls, study: StudyFile, accounts: Accounts, folder: StoredPath | None = None) -> StudyContext:
        """As ``from_events``, of events that are folded already."""
        opened = accounts.sessions[-1].opened
        return cls(study, folder or locate_study(study), opened.problem, accounts, opened.fingerprint)

    @property
    def options(self) -> StudyOptions:
        """The options of the study file."""
        return self.study.options

    @cached_property
    def model(self) -> ModelOptions:
        """The encoder that is asked for, a relative folder resolved."""
        return resolve_model(self.study)

    @cached_property
    def price(self) -> Price:
        """The study's prices."""
        return price_of(self.options)

    @cached_property
    def translator(self) -> Translator:
        """Proposals to recipes and results to outcomes."""
        return Translator(self.options, self.model, self.problem)

    @cached_property
    def confirmation(self) -> Confirmation:
        """The arms that confirm compares; they know what confirm had asked for when this is first used."""
        confirmation = build_confirmation(self.options.confirm, self.problem, self.translator.execute)
        return confirmation.recalling(self.accounts)

    @cached_property
    def selector(self) -> Selector:
        """The selector that the study file asks for. Raises what the registry raises."""
        return build_selector(self.options)

    @cached_property
    def evidence(self) -> StoredEvidence:
        """The evidence that the trials of the storage measured."""
        return StoredEvidence(EvidenceStore(self.folder.parent))

    @property
    def is_searched(self) -> bool:
        """Whether the search is over under this budget."""
        return self.accounts.selected_under(self.options.budget) is not None

    @property
    def has_open_control(self) -> bool:
        """Whether a control that searches by itself is not over under this budget."""
        return self.confirmation.has_open_control(self.accounts, self.options.budget)

    @property
    def drift(self) -> tuple[str, ...]:
        """The keys whose meaning differs from the last session's."""
        return find_drift(self.accounts, self.fingerprint)

    def fold(self, events: Sequence[Event] = ()) -> SelectorFold:
        """The selector after ``events``."""
        fold = SelectorFold(self.selector, self.problem, self.evidence, title=self.options.selector.name)
        for event in events:
            fold.add(event)
        return fold

    def fold_control(self, events: Sequence[Event] = ()) -> SelectorFold:
        """The selector of the control that searches by itself, after ``events``. It needs a primary."""
        return fold_control(self.problem, self.evidence, events)

    def differences(self, events: Sequence[Event], unasked: list[int] | None = None) -> Iterator[str]:
        """A line for each recorded proposal that does not follow from the events before it.

        This is promise (2): folding the ledger in its order and asking again gives every recorded proposal. It needs
        no data, but evidence: proposals that rest on what is no longer as it was are added to ``unasked``.
        """
        unasked = [] if unasked is None else unasked
        for fold in self._folds(events):
            yield from verify(events, fold, self.translator.execute, self.evidence.check_digest, unasked)

    def describe_other_versions(self, events: Sequence[Event]) -> str | None:
        """One line about the proposals of other versions of the selector, which never differ; ``None`` without any."""
        said = (_describe_other_versions(events, fold) for fold in self._folds(events))
        return "; ".join(filter(None, said)) or None

    def _folds(self, events: Sequence[Event]) -> Iterator[SelectorFold]:
        """The study's selector and, where ``events`` has trials of it, the control's, both before any event."""
        yield self.fold()
        if any(isinstance(event, Proposed) and event.phase == "control" for event in events):
            yield self.fold_control()


def _describe_other_versions(events: Sequence[Event], fold: SelectorFold) -> str | None:
    """How many proposals another version of ``fold``'s selector made; ``None``: none."""
    version, others = fold.version, list[int]()
    for event in events:
        if isinstance(event, Opened):
            version = fold.read_version(event)
        elif fold.has_asked_for(event) and version != fold.version:
            others.append(version)
    if not others:
        return None
    named = ", ".join(str(each) for each in sorted(set(others)))
    return (
        f"not asked again: {len(others)} proposals of version {named} of the {fold.name}, "
        f"which is at version {fold.version} now"
    )


def build_problem(study: StudyFile, tasks: Mapping[str, SplitTask]) -> Problem:
    """The question a study asks, with the sizes of its data.

    Raises ``StudyDataError`` where earlier results or runs that it names cannot be used.
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
    problem = Problem(
        infos,
        options.primary,
        options.seed,
        options.models,
        earlier=read_earlier_results(study) if options.earlier else (),
        runs=read_earlier_runs(study) if options.earlier else (),
    )
    training = options.training
    examples = count_whole_steps(training, problem) * training.accumulate * training.batch_size
    if is_matched_by_examples(training) and problem.primary is not None:
        return replace(problem, primary_examples=examples)
    return replace(problem, examples=examples)


def compute_fingerprint(
    study: StudyFile,
    tasks: Mapping[str, SplitTask],
    base: BaseEncoder,
    earlier: tuple[Transfer | EarlierRuns, ...] = (),
) -> dict[str, str]:
    """The parts of a study that must not change: key of the study file -> digest of its meaning.

    ``earlier`` are the results and runs that it names.
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


def build_selector(options: StudyOptions) -> Selector:
    """The selector of a study file: one method, or stages in turn, and as many searches as wanted.

    The file's rules have checked names and options. Raises what the registry raises.
    """
    chosen = options.selector
    names = _number_repeated([stage.name for stage in chosen.stages])
    stages = tuple((name, make(stage.name, stage.options)) for name, stage in zip(names, chosen.stages, strict=True))
    selector: Selector = Pipeline(stages) if stages else make(chosen.name, chosen.options)
    return Searches(selector, options.search_seeds) if options.search_seeds > 1 else selector


def count_fewest_trials(options: StudyOptions, problem: Problem) -> int:
    """The fewest trials the study's selector can answer from. Raises ``SelectorError`` where it cannot answer."""
    name = options.selector.name
    try:
        selector = build_selector(options)
        with blame_selector(name, "was asked for its fewest trials", expected=(ValueError,)):
            selector.start(problem)
            fewest = selector.fewest(problem)
    except ValueError as error:
        raise SelectorError(f"selector {name}: {error}") from error
    with blame_selector(name, "was asked for its fewest trials"):
        check_answer("fewest", problem, fewest)
    return fewest


def list_unread_options(options: StudyOptions) -> tuple[str, ...]:
    """A sentence for each option that the file sets and its selector, in this version, does not read (``unread``).

    Such options are still taken, so that older studies can be read. Raises what the registry raises.
    """
    unread = [(name, given, getattr(type(make(name, given)), "unread", {})) for name, given in _list_methods(options)]
    return tuple(
        f"selector {name}: the option {option} is not read: {why[option]}; remove it"
        for name, given, why in unread
        for option in given
        if option in why
    )


def list_unread_runs(options: StudyOptions) -> tuple[str, ...]:
    """A sentence where the file names runs made elsewhere and its selector does not read them."""
    named = [entry.csv for entry in options.earlier if entry.csv is not None]
    if not named:
        return ()
    is_read = any(make(name, given).wants().reads_runs for name, given in _list_methods(options))
    if is_read and options.primary is not None:
        return ()
    return (
        f"earlier: {', '.join(named)}: not read by this selector; `auto` reads runs where there is a `primary` and "
        "`evidence` is not off",
    )


def find_max_epochs(options: StudyOptions) -> tuple[float | None, ...]:
    """The ``max_epochs`` of each method of the selector that has such an option. Raises what the registry raises."""
    methods = [make(name, given) for name, given in _list_methods(options)]
    return tuple(method.max_epochs for method in methods if hasattr(method, "max_epochs"))


def _list_methods(options: StudyOptions) -> list[tuple[str, Mapping[str, Any]]]:
    """Name and options of the selector, or of each of its stages."""
    chosen = options.selector
    return [(stage.name, stage.options) for stage in chosen.stages] or [(chosen.name, chosen.options)]


def _number_repeated(names: Sequence[str]) -> list[str]:
    """The names, a number after each that came before: two stages of one method must be told apart."""
    return [f"{name}{n}" if (n := 1 + names[:i].count(name)) > 1 else name for i, name in enumerate(names)]
