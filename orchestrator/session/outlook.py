"""What a plan stands on: the data's sizes, where the ledger is, and how fast trials were."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from auxtune.orchestrator.planning.confirm import Confirmation, confirmation_of
from auxtune.orchestrator.planning.estimate import Pace, SmokePace, TrialPace, Work, work_of
from auxtune.orchestrator.planning.foresight import Arm, Foreseen, foresee
from auxtune.orchestrator.planning.machines import Machines
from auxtune.orchestrator.planning.plan_size import problem_of
from auxtune.orchestrator.planning.read_anew import read_anew
from auxtune.orchestrator.planning.selector import selector_of
from auxtune.orchestrator.planning.slots import Slots, allot
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import Event, Opened
from auxtune.orchestrator.record.evidence import EvidenceStore, StoredEvidence
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.session.data import load_study_data
from auxtune.orchestrator.session.opening import drift_of
from auxtune.orchestrator.session.prepare import fingerprint_of
from auxtune.orchestrator.session.smoke import known_figures, true_of
from auxtune.orchestrator.study_file.paths import model_options, storage_folder, study_folder
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.protocol import Proposal
from auxtune.trials.data.tasks import Task
from auxtune.trials.encoder import BaseEncoder

NO_PACE = "what it costs is not known before something was measured: `auxtune validate --smoke` does that"
ELSEWHERE = "no trial of this study was finished yet; a smoke test would tell of this machine, not of the cluster's"


@dataclass(frozen=True)
class Outlook:
    """A study, its data's sizes and its ledger, and how fast its trials are, if anything is known of that."""

    study: StudyFile
    rows: Mapping[str, Mapping[str, int]]
    translator: Translator
    confirmation: Confirmation
    slots: Slots
    events: Sequence[Event]
    accounts: Accounts
    pace: Pace | None = None
    measured: Mapping[str, Any] = field(default_factory=dict)  # what the pace rests on, as JSON
    notes: tuple[str, ...] = ()

    @property
    def searched(self) -> bool:
        """Whether the search is over under this budget."""
        return self.accounts.selected_under(self.study.options.budget) is not None

    def foreseen(self) -> Foreseen:
        """The search trials that are still to come, as far as they can be known."""
        if self.searched:
            return Foreseen((), waiting=0, last=True, alike=True)
        return foresee(self.fold(), self.events, self.translator.execute)

    def fold(self) -> SelectorFold:
        """The selector before its first event."""
        evidence = StoredEvidence(EvidenceStore(storage_folder(self.study)))
        return SelectorFold(selector_of(self.study.options), self.translator.problem, evidence)

    def later(self) -> Work:
        """What stands for a search trial that cannot be foreseen: a plain training of all tasks."""
        return self.work(self.translator.execute(Proposal(self.translator.problem.names)))

    def work(self, proposal: Proposal, arm: Arm | None = None) -> Work:
        """What a trial of ``proposal`` does: a search trial, or one of an arm of confirm."""
        rounds = proposal.inner.rounds if proposal.inner is not None else None
        recipe = self.translator.recipe(proposal, "confirm" if arm else "search")
        least = None
        if arm is not None and not arm.known:
            primary = self.study.options.primary
            alone = Proposal((primary,), {primary: 1.0}) if primary else proposal  # without one all steps are alike
            least = min(recipe.steps, self.translator.steps(alone))
        return work_of(recipe, self.rows, rounds, least)


def outlook(study: StudyFile, machines: Machines) -> Outlook:
    """Where ``study`` stands, to go on with on ``machines``. Reads data, ledger and smoke test; trains nothing.

    Raises ``StudyDataError``, ``ResourceError`` and ``LedgerDamaged``.
    """
    tasks, base = load_study_data(study)
    events, notes = _usable_events(study, tasks, base)
    bare = _as_read_now(_ground(study, tasks, events, machines))
    pace, measured, more = _pace(bare, tasks, base, machines.cluster)
    return replace(bare, pace=pace, measured=measured, notes=(*notes, *bare.notes, *more))


def _ground(study: StudyFile, tasks: Mapping[str, Task], events: Sequence[Event], machines: Machines) -> Outlook:
    options = study.options
    problem = problem_of(study, tasks)
    translator, accounts = Translator(options, model_options(study), problem), Accounts(events)
    return Outlook(
        study=study,
        rows={name: {part: len(rows) for part, rows in task.splits.items()} for name, task in tasks.items()},
        translator=translator,
        confirmation=confirmation_of(options.confirm, problem, translator.execute).recalling(accounts),
        slots=allot(options.resources, machines),
        events=events,
        accounts=accounts,
    )


def _as_read_now(ground: Outlook) -> Outlook:
    """``ground`` with the answer that a session would confirm: one recorded in an older way is read anew."""
    accounts, study = ground.accounts, ground.study
    if not ground.searched or accounts.selected is None:
        return ground
    fold = ground.fold()
    for event in ground.events:
        fold.add(event)
    anew = read_anew(accounts, fold, ground.confirmation)
    if anew is None or not anew.is_another:
        return ground
    accounts.selected = replace(accounts.selected, selection=anew.now, reading=anew.reading)
    said = anew.describe(study_folder(study), accounts.trained, study.options.budget.trials)
    return replace(ground, notes=(said,))


def _usable_events(study: StudyFile, tasks: Mapping[str, Task], base: BaseEncoder) -> tuple[Sequence[Event], list[str]]:
    """The ledger's events, unless they are of another question than the study now asks."""
    events = read_events(study_folder(study) / "ledger")
    drift = drift_of(events, fingerprint_of(study, tasks, base))
    if not drift:
        return events, []
    differ = f"the study in {study_folder(study)} differs in {', '.join(drift)}"
    return [], [f"{differ}: `auxtune run` would refuse it, and this plan begins anew"]


def _pace(
    ground: Outlook, tasks: Mapping[str, Task], base: BaseEncoder, cluster: bool
) -> tuple[Pace | None, dict[str, Any], list[str]]:
    """The best source of estimates there is, what is said of it, and notes."""
    pace = _trial_pace(ground)
    if measured := [*pace.plain, *pace.steered]:
        source = {"source": "trials", "trials": len(measured), "seconds_per_step": sum(measured) / len(measured)}
        return pace, source, []
    if cluster:
        return None, {"source": None, "trials": 0, "seconds_per_step": None}, [ELSEWHERE]
    folder = study_folder(ground.study)
    smoked, notes = known_figures(folder, true_of(ground.study, tasks, base, ground.slots))
    figures = {name: task.figures for name, task in smoked.items() if task.figures is not None}
    if figures:
        seconds = {name: found.seconds_per_step for name, found in figures.items()}
        return SmokePace(figures), {"source": "smoke", "trials": 0, "seconds_per_step": seconds}, notes
    return None, {"source": None, "trials": 0, "seconds_per_step": None}, notes or [NO_PACE]


def _trial_pace(ground: Outlook) -> TrialPace:
    """Seconds per step of the finished trials that had as many CPUs and GPUs as trials get now."""
    last = [event.fingerprint for event in ground.events if isinstance(event, Opened)][-1:]
    sessions = {s.opened.session for s in ground.accounts.sessions if [s.opened.fingerprint] == last}

    def alike(trial: Trial) -> bool:
        slots = ground.slots.of(trial.proposal)
        return all(
            attempt.session in sessions and (attempt.cpus, attempt.gpus) == (slots.cpus, slots.gpus)
            for attempt in trial.attempts
        )

    plain: list[float] = []
    steered: list[float] = []
    for trial in ground.accounts.trials.values():
        if trial.tells_pace and alike(trial):
            seconds = sum(cost.wall_seconds for cost in trial.costs) / ground.translator.steps(trial.proposal)
            (steered if trial.proposal.inner is not None else plain).append(seconds)
    return TrialPace(tuple(plain), tuple(steered))
