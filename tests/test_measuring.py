"""Evidence from the worker to the selector: a real agenda, real trainings and probes, in this process without Ray."""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from synthetic_tasks import BASE, TASKS

from auxtune.orchestrator.answer.cost import sum_cost
from auxtune.orchestrator.engine.trainable import Assignment, StudyTrainable
from auxtune.orchestrator.errors import SelectorError
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.budget import Budget, Price
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.measure_plan import MeasurePlanner
from auxtune.orchestrator.planning.probe_texts import ProbeTexts
from auxtune.orchestrator.planning.slots import Slots
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import Opened
from auxtune.orchestrator.record.ledger import Ledger, read_events
from auxtune.orchestrator.record.leftovers import list_stale_evidence
from auxtune.orchestrator.record.results import (
    EvidenceStore,
    StoredEvidence,
    locate_attempt,
    read_kept_rows,
    read_result,
)
from auxtune.orchestrator.study_file.reading import StudyFile, parse_study
from auxtune.selectors.protocol import Measure, Problem, Proposal, TaskInfo
from auxtune.trials.tokens import EncodedTask
from auxtune.trials.training import TrainingRun

pytestmark = pytest.mark.arithmetic

TEXT = """
study: {study}
primary: sign
tasks: {{{tasks}}}
model: {{max_length: 16}}
training: {{steps: 6, batch_size: 8, learning_rate: 3.0e-3, evaluate_every: 3}}
selector: {selector}
confirm: {{seeds: 1, controls: []}}
budget: {{trials: 40}}
storage: studies
"""


class Local(StudyTrainable):
    """In this process, without Ray's ``with_parameters``."""

    tasks: Mapping[str, EncodedTask] = TASKS

    def setup(self, config: dict[str, Any]) -> None:  # type: ignore[override]  # Ray would hand over the rest
        super().setup(config, self.tasks, BASE)


@dataclass
class Session:
    """One study over some of the synthetic tasks, in a storage that studies share."""

    home: Path
    selector: str
    names: Sequence[str] = ("sign", "share.of")
    study: str = "x"

    def run(self, at_most: int = 100) -> Accounts:
        """Go on with the study to its answer, or for ``at_most`` trials, one at a time."""
        agenda, measuring = self._agenda()
        trained = 0
        while trained < at_most and (trial := agenda.next()) is not None:
            worker = Local({"assignment": self._assignment(agenda, measuring, trial)})
            try:
                while not worker.step()["done"]:
                    pass
            except Exception:
                assert read_result(worker._assignment.folder) is not None, "what fails has said so"
            agenda.end_attempt(trial.id, len(trial.attempts))
            trained += 1
        agenda.flush()
        return agenda.accounts

    @property
    def folder(self) -> Path:
        return self.home / "studies" / self.study

    @property
    def store(self) -> EvidenceStore:
        return EvidenceStore(self.home / "studies")

    def differences(self) -> list[str]:
        """What ``auxtune status --verify`` would say."""
        events = read_events(self.folder / "ledger")
        return list(StudyContext.from_events(self._file, events, self.folder).differences(events))

    @property
    def _file(self) -> StudyFile:
        tasks = ", ".join(f"{name}: {{path: p}}" for name in self.names)
        text = TEXT.format(study=self.study, tasks=tasks, selector=self.selector)
        return replace(parse_study(text, "x.yaml", self.home, ()), working_folder=self.home)

    def _agenda(self) -> tuple[Agenda, MeasurePlanner]:
        tasks = {name: TASKS[name] for name in self.names}
        file = self._file
        infos = tuple(TaskInfo(name, task.kind, len(task.splits["train"])) for name, task in tasks.items())
        problem = Problem(infos, file.options.primary, file.options.seed)
        storage = self.home / "studies"
        opened = Opened(
            session=uuid.uuid4().hex,
            time=0.0,
            study=file.text,
            overrides=(),
            study_folder=str(self.home),
            working_folder=str(self.home),
            problem=problem,
            fingerprint={},
            versions={},
        )
        ledger = Ledger(self.folder / "ledger", opened)
        first = next(event for event in ledger.events if isinstance(event, Opened))
        context = StudyContext.from_events(file, ledger.events, self.folder)
        measuring = MeasurePlanner(
            self.folder,
            context.translator,
            tasks,
            BASE,
            ProbeTexts(storage, tasks, "tiny"),
            0.0,
            f"{self.study} {first.session}",
        )
        budget = Budget(file.options, context.translator.steps, Slots(1, 0, 1))
        return Agenda(context, ledger, budget, find_known=measuring.find_known), measuring

    def _assignment(self, agenda: Agenda, measuring: MeasurePlanner, trial: Trial) -> Assignment:
        return Assignment(
            trial=trial.id,
            attempt=len(trial.attempts),
            recipe=measuring.translator.recipe(trial.proposal, trial.phase),
            folder=locate_attempt(self.folder, trial.id, len(trial.attempts)),
            checkpoint=None,
            start=agenda.start_of(trial),
            judged=False,
            cpus=1,
            gpus=0,
            wanted={"CPU": 1},
            proposal=trial.proposal,
            problem=measuring.translator.problem,
            study=self.folder,
            measure=measuring.plan(trial.proposal) if trial.proposal.measure else None,
        )


HEADS = "{name: gradts_threshold, threshold: 0.0}"


def measured(accounts: Accounts) -> list[tuple[str, ...]]:
    """The tasks of the trials that measured something, of those that were really trained."""
    return [trial.proposal.tasks for trial in accounts.in_phase("measure") if not trial.reused]


def test_a_selector_is_told_what_its_runs_measured(tmp_path: Path) -> None:
    session = Session(tmp_path, HEADS)
    accounts = session.run()
    assert accounts.selected is not None and set(accounts.selected.selection.belief["tau"]) == {"share.of"}
    for trial in accounts.in_phase("measure"):
        assert trial.told is not None and trial.told.outcome.ok
        arrays = session.store.arrays(trial.told.outcome.evidence["head_importance"])
        assert arrays["importance"].shape == (2, 2) and (arrays["importance"] > 0).all()
    assert accounts.best is None, "a probe is scored on its own task, and is no candidate for the best"
    assert session.differences() == []


@pytest.mark.parametrize(
    ("measures", "message"),
    [
        ((Measure("cka"),), "cannot be measured: .* found 'cka'"),
        ((Measure("gradients"), Measure("gradients", {"batches": 2})), "twice: gradients, gradients"),
    ],
)
def test_what_cannot_be_asked_of_a_run_is_said(tmp_path: Path, measures: tuple[Measure, ...], message: str) -> None:
    with pytest.raises(SelectorError, match=message):
        Session(tmp_path, HEADS)._agenda()[1].plan(Proposal(("sign",), {"sign": 1.0}, measure=measures))


def test_a_second_study_trains_only_what_is_new(tmp_path: Path) -> None:
    first = Session(tmp_path, HEADS).run()
    assert measured(first) == [("sign",), ("share.of",)]
    session = Session(tmp_path, HEADS, names=("sign", "share.of", "tags"), study="y")
    second = session.run()
    assert measured(second) == [("tags",)]
    assert second.trained == 1 + len(second.in_phase("confirm"))
    served = [trial for trial in second.in_phase("measure") if trial.reused]
    assert [trial.proposal.tasks for trial in served] == [("sign",), ("share.of",)]
    assert all(t.told and t.told.cost.wall_seconds == 0 and str(t.told.source).startswith("x, trial") for t in served)
    # The scores are those of the runs that were spared, and so is what is on the bill as reused.
    assert [t.score for t in served] == [t.score for t in first.in_phase("measure")]
    paid, reused = (sum_cost(accounts, Price(cpu_hour=1.0), None) for accounts in (first, second))
    assert reused.reused.trials == 2
    kept = [session.store.find(key) for trial in served if trial.told for key in trial.told.reused]
    assert len(kept) == 4, "two runs, and what was measured of each"
    hours = sum(entry.cost.cpu_seconds for entry in kept if entry) / 3600
    assert reused.reused.cpu_hours == pytest.approx(hours, rel=1e-9)
    assert 0 < hours <= paid.phases["measure"].cpu_hours, "of an attempt, reading and starting are not the run's"
    assert reused.phases["measure"].trials == 1
    assert session.differences() == []


def test_other_probes_of_a_run_that_is_kept_train_nothing(tmp_path: Path) -> None:
    Session(tmp_path, HEADS).run()
    kept = {path: path.stat().st_mtime_ns for path in (tmp_path / "studies" / ".evidence").rglob("*") if path.is_file()}
    second = Session(tmp_path, "{name: gradts_threshold, threshold: 0.0, released: true}", study="y")
    accounts = second.run()
    trials = accounts.in_phase("measure")
    assert not any(trial.reused for trial in trials), "the other form was not measured yet"
    for trial in trials:
        assert trial.told is not None and len(trial.told.reused) == 1, "the weights"
        report = read_result(locate_attempt(second.folder, trial.id, 1))
        assert report is not None and (report.steps, report.cost.examples) == (0, 0)
    assert [t.score for t in trials] == [t.score for t in Session(tmp_path, HEADS).run().in_phase("measure")]
    assert all(path.stat().st_mtime_ns == moment for path, moment in kept.items()), "what was there is untouched"


def test_what_an_attempt_measured_before_it_died_is_on_its_studys_own_bill(tmp_path: Path) -> None:
    """The evidence is there, the report is not: the trial is told at once, is charged, and nothing counts as reused."""
    session = Session(tmp_path, HEADS)
    agenda, measuring = session._agenda()
    trial = agenda.next()
    assert trial is not None
    worker = Local({"assignment": session._assignment(agenda, measuring, trial)})
    while not worker.step()["done"]:
        pass
    (locate_attempt(session.folder, 0, 1) / "result.json").unlink()
    agenda.flush()
    accounts = session.run()
    first = accounts.trials[0]
    assert first.told is not None and (first.told.attempt, len(first.attempts), first.told.reused) == (0, 1, {})
    assert (first.reused, first.status, first.shows_throughput) == (False, "finished", False)
    assert [cost.wall_seconds > 0 for cost in first.costs] == [True], "up to its last sign of life"
    cost = sum_cost(accounts, Price(), None)
    assert cost.phases["measure"].trials == 2 and cost.reused.trials == 0
    assert accounts.trained == 2 + len(accounts.in_phase("confirm"))
    assert measured(accounts) == [("sign",), ("share.of",)]


def test_a_run_that_died_while_it_was_measured_goes_on_from_its_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its checkpoint is of a training that is over: neither that nor the weights are trained again."""
    session = Session(tmp_path, HEADS)
    agenda, measuring = session._agenda()
    trial = agenda.next()
    assert trial is not None
    worker = Local({"assignment": session._assignment(agenda, measuring, trial)})
    with monkeypatch.context() as patched:
        patched.setattr(TrainingRun, "measure", _killed)
        with pytest.raises(KeyboardInterrupt):
            while not worker.step()["done"]:
                pass
    assert worker._run is not None and worker._run.finished
    worker._run.save()
    agenda.end_attempt(0, 1)
    again = agenda.next()
    assert again is trial and trial.attempts[-1].resume_from == 1
    checkpoint = locate_attempt(session.folder, 0, 1) / "checkpoint"
    second = Local({"assignment": replace(session._assignment(agenda, measuring, trial), checkpoint=checkpoint)})
    while not second.step()["done"]:
        pass
    agenda.end_attempt(0, 2)
    report = read_result(locate_attempt(session.folder, 0, 2))
    assert report is not None and (report.steps, report.reused) == (0, {})
    assert trial.told is not None and trial.told.outcome.evidence.keys() == {"head_importance"}
    kept = [session.store.find(key) for key in session.store]
    assert [entry.score for entry in kept if entry] == [trial.score, trial.score], "of the run and of what was measured"
    assert (trial.shows_throughput, len(trial.costs)) == (False, 2)


def _killed(*_: object) -> None:
    raise KeyboardInterrupt


def test_evidence_stays_as_long_as_a_study_names_it(tmp_path: Path) -> None:
    """Both studies name the same runs: one may go, and only with the other they are nobody's."""
    first, second = Session(tmp_path, HEADS), Session(tmp_path, HEADS, study="y")
    first.run()
    second.run()
    keys = list(first.store)
    assert len(keys) == 4 and list_stale_evidence(tmp_path / "studies") == []
    shutil.rmtree(first.folder)
    assert list_stale_evidence(tmp_path / "studies") == []
    assert second.differences() == []
    shutil.rmtree(second.folder)
    assert [path.name for path in list_stale_evidence(tmp_path / "studies")] == keys


def test_a_ledger_that_cannot_be_read_keeps_all_evidence(tmp_path: Path) -> None:
    session = Session(tmp_path, HEADS)
    session.run()
    shutil.rmtree(session.folder / "ledger")
    (session.folder / "ledger").mkdir()
    (session.folder / "ledger" / "00000001.json").write_text("{")
    assert list_stale_evidence(tmp_path / "studies") == []


def test_damaged_evidence_is_measured_again(tmp_path: Path) -> None:
    first = Session(tmp_path, HEADS).run()
    told = first.trials[0].told
    assert told is not None
    path = tmp_path / "studies" / ".evidence" / told.outcome.evidence["head_importance"] / "arrays.npz"
    before = np.load(path)["importance"]
    path.write_bytes(path.read_bytes()[:-10])
    second = Session(tmp_path, HEADS, study="y").run()
    assert measured(second) == [("sign",)], "from its weights, for these are whole"
    assert np.allclose(np.load(path)["importance"], before, rtol=1e-6)


def test_damaged_weights_are_trained_again_once(tmp_path: Path) -> None:
    Session(tmp_path, HEADS).run()
    released = "{name: gradts_threshold, threshold: 0.0, released: true}"
    for path in (tmp_path / "studies" / ".evidence").glob("*/weights/*"):
        path.write_bytes(path.read_bytes()[:-10])
    second = Session(tmp_path, released, study="y").run()
    assert [trial.shows_throughput for trial in second.in_phase("measure")] == [True, True], (
        "what is damaged spares nothing"
    )
    third = Session(tmp_path, "representation_gradient", study="z").run()
    told = [trial.told for trial in third.in_phase("measure")]
    assert [len(one.reused) for one in told if one] == [1, 1], "the weights, whole again"


def test_a_twin_learns_from_shuffled_labels_and_is_no_task_of_its_own(tmp_path: Path) -> None:
    session = Session(tmp_path, "{name: gradts_threshold, twins: 3}")
    accounts = session.run()
    probes = accounts.in_phase("measure")
    assert [trial.proposal.tasks for trial in probes] == [("sign",), ("share.of",), *[("share.of",)] * 3]
    keys = {trial.told.outcome.evidence["head_importance"] for trial in probes if trial.told}
    assert len(keys) == 5, "five different runs"
    assert accounts.selected is not None and len(accounts.selected.selection.belief["twins"]) == 3
    assert session.differences() == []


def test_rows_are_kept_by_rule_and_trained_on(tmp_path: Path) -> None:
    session = Session(tmp_path, "{name: gradts_instance, threshold: 0.9}")
    accounts = session.run()
    assert accounts.selected is not None
    instances = accounts.selected.selection.instances
    assert instances is not None and 0 < instances["share.of"].kept < instances["share.of"].rows == 240
    tried = next(trial for trial in accounts.in_phase("search") if trial.proposal.rows)
    assert tried.score is not None and tried.proposal.rows == instances
    confirmed = accounts.in_phase("confirm")[0]
    assert confirmed.proposal.rows == instances, "confirm trains on the same rows"
    single = [trial for trial in accounts.in_phase("measure") if trial.proposal.stage.startswith("instances")]
    assert [trial.reused for trial in single] == [True, False] and single[1].told is not None
    report = read_result(locate_attempt(session.folder, single[1].id, 1))
    assert report is not None and report.steps == 0, "only the rows are measured, on the weights of stage 1"
    assert single[1].told.reused == {}, "which this study has paid for"
    first = next(trial for trial in accounts.in_phase("measure") if trial.proposal.tasks == ("share.of",))
    assert (first.shows_throughput, single[1].shows_throughput) == (True, False), (
        "what was spared does not tell what runs take"
    )
    kept = instances["share.of"]
    path = session.folder / "rows" / f"{kept.sha256}.npy"
    rows, content = np.load(path), path.read_bytes()
    assert len(rows) == kept.kept and (np.diff(rows) > 0).all()
    path.write_bytes(content[:-8])  # damaged: the rule gives them again
    assert np.array_equal(read_kept_rows(kept, session.folder, StoredEvidence(session.store)), rows)
    assert path.read_bytes() == content
    assert session.differences() == []
