"""The basis of a plan: the data's sizes, the state of the ledger, and how fast trials were."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from auxtune.orchestrator.planning.arms import EQUAL_COST, Trainings
from auxtune.orchestrator.planning.confirm import Confirmation, find_new_reading, is_among
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.estimate import SmokeThroughput, Throughput, TrialThroughput, Work, estimate_work
from auxtune.orchestrator.planning.slots import Machines, Slots, allot
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import SELECTORS, Event, Proposed, round_trip
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.session.prepare import load_study_data
from auxtune.orchestrator.session.smoke import describe_conditions, find_figures
from auxtune.orchestrator.study_file.paths import locate_study
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.protocol import Done, Proposal

NO_THROUGHPUT = "the cost is not known until something was measured: `auxtune validate --smoke` does that"
CLUSTER_UNMEASURED = (
    "no trial of this study was finished yet; a smoke test would tell of this machine, not of the cluster's"
)


@dataclass(frozen=True)
class Forecast:
    """A study, its data's sizes and its ledger, and how fast its trials are, if anything is known of that."""

    context: StudyContext
    slots: Slots
    events: Sequence[Event]
    throughput: Throughput | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)  # what the throughput rests on, as JSON
    notes: tuple[str, ...] = ()

    def upcoming_trials(self) -> UpcomingTrials:
        """The search trials that are still to come, as far as they can be known."""
        context = self.context
        if context.is_searched:
            return UpcomingTrials((), waiting=0, last=True, alike=True)
        return forecast_trials(context.fold(self.events), context.accounts, context.translator.execute)

    def later(self) -> Work:
        """The work of a trial that cannot be foreseen, taken as a plain training of all tasks."""
        return self.work(self.context.translator.execute(Proposal(self.context.problem.names)))

    def work(self, proposal: Proposal, arm: ComparisonArm | None = None) -> Work:
        """The work of a trial of ``proposal``: a search trial, or one of an arm of confirm."""
        rounds = proposal.inner.rounds if proposal.inner is not None else None
        translator, primary = self.context.translator, self.context.options.primary
        recipe = translator.recipe(proposal, "confirm" if arm else "search")
        least = None
        if arm is not None and not arm.known:
            alone = Proposal((primary,), {primary: 1.0}) if primary else proposal  # without one all steps are alike
            least = min(recipe.steps, translator.steps(alone))
        return estimate_work(recipe, self.context.rows, rounds, least)


def build_forecast(study: StudyFile, machines: Machines) -> Forecast:
    """The basis of a plan for ``study`` on ``machines``. Reads data, ledger and smoke test; trains nothing.

    Raises ``StudyDataError``, ``ResourceError`` and ``LedgerDamaged``.
    """
    tasks, base = load_study_data(study)
    events = read_events(locate_study(study) / "ledger")
    context, notes = StudyContext.from_data(study, tasks, base, Accounts(events)), []
    if drift := context.drift:  # the ledger is of another question than the study now asks
        differ = f"the study in {context.folder} differs in {', '.join(drift)}"
        notes = [f"{differ}: `auxtune run` would refuse it, and this plan starts from nothing"]
        context, events = replace(context, accounts=Accounts()), []
    bare = _apply_new_reading(Forecast(context, allot(study.options.resources, machines), events))
    throughput, measured, more = _measure_throughput(bare, machines.cluster)
    return replace(bare, throughput=throughput, measured=measured, notes=(*notes, *bare.notes, *more))


def _apply_new_reading(basis: Forecast) -> Forecast:
    """``basis`` with the answer that a session would confirm: one that an older version recorded is read again."""
    context = basis.context
    accounts = context.accounts
    if not context.is_searched or accounts.selected is None:
        return basis
    reading = find_new_reading(accounts, context.fold(basis.events), context.confirmation)
    if reading is None or not reading.is_another:
        return basis
    accounts.selected = replace(accounts.selected, selection=reading.now, reading=reading.reading)
    note = reading.describe(context.folder, accounts.trained, context.options.budget.trials)
    return replace(basis, notes=(note,))


def _measure_throughput(basis: Forecast, cluster: bool) -> tuple[Throughput | None, dict[str, Any], list[str]]:
    """The best source of estimates there is, its description as JSON, and notes."""
    throughput = _measure_trials(basis)
    if measured := [*throughput.plain, *throughput.steered]:
        source = {"source": "trials", "trials": len(measured), "seconds_per_step": sum(measured) / len(measured)}
        return throughput, source, []
    if cluster:
        return None, {"source": None, "trials": 0, "seconds_per_step": None}, [CLUSTER_UNMEASURED]
    smoked, notes = find_figures(basis.context.folder, describe_conditions(basis.context, basis.slots))
    figures = {name: task.figures for name, task in smoked.items() if task.figures is not None}
    if figures:
        seconds = {name: found.seconds_per_step for name, found in figures.items()}
        return SmokeThroughput(figures), {"source": "smoke", "trials": 0, "seconds_per_step": seconds}, notes
    return None, {"source": None, "trials": 0, "seconds_per_step": None}, notes or [NO_THROUGHPUT]


def _measure_trials(basis: Forecast) -> TrialThroughput:
    """Seconds per step of the finished trials that had as many CPUs and GPUs as trials get now."""
    opened = [session.opened for session in basis.context.accounts.sessions]
    sessions = {one.session for one in opened if one.fingerprint == opened[-1].fingerprint}

    def alike(trial: Trial) -> bool:
        slots = basis.slots.of(trial.proposal)
        return all(
            attempt.session in sessions and (attempt.cpus, attempt.gpus) == (slots.cpus, slots.gpus)
            for attempt in trial.attempts
        )

    plain: list[float] = []
    steered: list[float] = []
    for trial in basis.context.accounts.trials.values():
        if trial.shows_throughput and alike(trial):
            seconds = sum(cost.wall_seconds for cost in trial.costs) / basis.context.translator.steps(trial.proposal)
            (steered if trial.proposal.inner is not None else plain).append(seconds)
    return TrialThroughput(tuple(plain), tuple(steered))


AHEAD = 50  # questions to a selector: enough to see its kinds of trials


@dataclass(frozen=True)
class UpcomingTrials:
    """The search trials that the selector asks for before it is told anything more.

    The first ``waiting`` were proposed before and have not ended. ``last`` means that it asks for no others, whatever
    comes of these; ``alike`` that those after them, if any, are of the same kind as far as was asked.
    """

    proposals: tuple[Proposal, ...]
    waiting: int
    last: bool
    alike: bool


def forecast_trials(fold: SelectorFold, accounts: Accounts, execute: Callable[[Proposal], Proposal]) -> UpcomingTrials:
    """Ask ``fold`` until it waits, is done, or was asked ``AHEAD`` times.

    It must be after all events of ``accounts``; when this returns, it is also after the proposals that it gave.
    """
    waiting = [trial.proposal for trial in accounts.unfinished if trial.phase in SELECTORS]
    asked: list[Proposal] = []
    while len(asked) < AHEAD:
        answer = fold.propose()
        if not isinstance(answer, Proposal):
            done = isinstance(answer, Done)
            return UpcomingTrials((*waiting, *asked), len(waiting), last=done, alike=done)
        asked.append(round_trip(execute(answer)))
        number = len(accounts.trials) + len(asked)  # no trial of the ledger has it
        fold.add(Proposed(id=number, time=0.0, proposal=asked[-1], phase="search", after=fold.after))
    return UpcomingTrials((*waiting, *asked), len(waiting), last=False, alike=True)


@dataclass(frozen=True)
class ComparisonArm:
    """One side of the final comparison, with ``seeds`` seeds, of whose trainings ``missing`` are still to be done.

    ``expected`` are the trainings with one seed, a proposal per model, or, where ``known`` is false, a stand-in for
    them until there is a selection.
    """

    name: str
    seeds: int
    missing: tuple[Proposal, ...]
    expected: Trainings
    known: bool


def list_comparison_arms(
    confirmation: Confirmation, accounts: Accounts, searched: bool, open_control: bool = False
) -> list[ComparisonArm]:
    """All arms of confirm. ``searched``: the ledger's selection is the answer that would be confirmed.

    A training that several arms ask for belongs to the first of them. ``open_control``: the control that searches by
    itself is not over yet.
    """
    known = searched and accounts.selected is not None
    arms: Mapping[str, Sequence[Trainings]] = (
        confirmation.arms(accounts.selected.selection)
        if searched and accounts.selected is not None
        else confirmation.expected(accounts)
    )
    if open_control:
        arms = {**arms, EQUAL_COST: confirmation.expected(accounts)[EQUAL_COST]}
    asked: list[Proposal] = []
    found = []
    for name, per_seed in arms.items():
        if not per_seed[0]:  # a control that came to nothing
            continue
        certain = (known and not (open_control and name == EQUAL_COST)) or not confirmation.depends(name)
        missing = [
            proposal
            for trainings in per_seed
            for proposal in trainings
            if not certain or (not is_among(proposal, asked) and not _has_ended(confirmation.find(accounts, proposal)))
        ]
        if certain:
            asked += missing
        found.append(ComparisonArm(name, len(per_seed), tuple(missing), per_seed[0], certain))
    return found


def _has_ended(trial: Trial | None) -> bool:
    return trial is not None and trial.told is not None
