"""One study, one set of numbers: in the terminal, in selection.json, in MLflow and on the page."""

from __future__ import annotations

import io
import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from mlflow.entities import Run
from mlflow.tracking import MlflowClient
from reported import WITH_EACH, Reader, finished
from rich.console import Console
from simulated_study import GROUPS

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.verdict import write_verdict
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.report.study_page import write_report
from auxtune.orchestrator.session.session import Result, build_ending
from auxtune.orchestrator.study import Study
from auxtune.orchestrator.study_file.paths import resolve_tracking_uri
from auxtune.orchestrator.tracking.tracker import Tracker, describe_study
from auxtune.orchestrator.views.summary import list_summary_blocks
from auxtune.orchestrator.views.terminal import render_terminal

pytestmark = pytest.mark.slow
STUDIES = {
    "shares": ("{name: random_subset, trials: 4}", WITH_EACH),
    "inside": ("{name: thompson, rounds: 12}", WITH_EACH),
    "groups": ("tag", GROUPS.replace("{seeds: 1}", "{seeds: 4}")),
}


@dataclass(frozen=True)
class Told:
    """What each of the four says of a study."""

    accounts: Accounts
    answer: dict[str, Any]  # selection.json
    terminal: str
    page: str  # its text
    client: MlflowClient
    parent: Run
    children: list[Run]

    def kept(self, path: str) -> str:
        """A file of the study's run."""
        return Path(self.client.download_artifacts(self.parent.info.run_id, path)).read_text(encoding="utf-8")

    @property
    def note(self) -> str:
        return str(self.parent.data.tags["mlflow.note.content"])


@pytest.fixture(scope="module", params=STUDIES)
def told(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Told:
    home = tmp_path_factory.mktemp(request.param)
    folder = finished(home, *STUDIES[request.param])
    study = Study.from_folder(folder, [f"tracking.uri=sqlite:///{home}/mlflow.db"]).file
    (folder / "study.yaml").write_text(study.text)
    events, answer = read_events(folder / "ledger"), json.loads((folder / "selection.json").read_text())
    accounts, typed = Accounts(events), Answer.from_json(answer)
    page, trouble = write_report(folder, study, events, typed)
    assert trouble is None
    problem = accounts.sessions[-1].opened.problem
    rows = {task.name: {"train": task.train_rows, "validation": task.validation_rows} for task in problem.tasks}
    tracker = Tracker(describe_study(replace(StudyContext.from_events(study, events, folder), rows=rows)), events)
    tracker.start()
    tracker.finish(build_ending("done", folder, typed, page), patience=200)
    assert tracker.trouble is None
    printed = io.StringIO()
    uri = resolve_tracking_uri(study)
    blocks = list_summary_blocks(Result(folder, typed, accounts, None), study.options.budget, uri)
    Console(width=300, file=printed).print(render_terminal(blocks))
    client, made = MlflowClient(uri), tracker.made()
    runs = {event.id: client.get_run(event.run_id) for event in made}
    children = [run for trial, run in runs.items() if trial is not None]
    html = (folder / "report.html").read_text()
    return Told(accounts, answer, printed.getvalue(), Reader(html).text, client, runs[None], children)


def test_all_say_the_same_sentence(told: Told) -> None:
    said = write_verdict(Answer.from_json(told.answer))
    assert said in told.terminal and said in told.page and told.note.startswith(f"**{said}**")


def test_what_the_terminal_shows_is_on_the_page_and_in_the_note(told: Told) -> None:
    shown = set(re.findall(r"[+-]\d\.\d{4}|\d+\.\d%", told.terminal))
    assert len(shown) > 5
    assert shown <= set(re.findall(r"[+-]?\d+\.\d+%?", told.page))
    assert shown <= set(re.findall(r"[+-]?\d+\.\d+%?", told.note))


def test_the_numbers_of_the_note_are_on_the_page(told: Told) -> None:
    text, _, foot = told.note.partition("All of it: ")
    shown = set(re.findall(r"[+-]?\d+\.\d+%?", text))
    assert len(shown) > 10 and shown <= set(re.findall(r"[+-]?\d+\.\d+%?", told.page))
    assert foot.count("`auxtune ") == 3


def test_costs_are_those_of_the_answer_and_add_up(told: Told) -> None:
    cost, metrics = told.answer["cost"], told.parent.data.metrics
    assert metrics["cost/cpu_seconds"] / 3600 == pytest.approx(cost["cpu_hours"])
    assert metrics["cost/gpu_seconds"] / 3600 == pytest.approx(cost["gpu_hours"])
    assert metrics["cost/usd"] == pytest.approx(cost["usd"])
    costs = [name for name in metrics if name.startswith("cost/")]
    assert len(costs) == 6
    for name in costs:
        assert sum(child.data.metrics.get(name, 0.0) for child in told.children) == pytest.approx(metrics[name])
    attempts = sum(int(child.data.tags["auxtune.attempts"]) for child in told.children)
    reused = sum("auxtune.reused_from" in child.data.tags for child in told.children)
    assert (len(told.children) - reused, attempts) == (cost["trials"], cost["attempts"])
    phases = [child.data.tags["auxtune.phase"] for child in told.children]
    assert {phase: part["trials"] for phase, part in cost["phases"].items()} == {
        phase: phases.count(phase) for phase in cost["phases"]
    }
    assert f"{cost['trials']} trials" in told.terminal and f"{cost['attempts']} attempts" in told.terminal


def test_lifts_and_scores_are_those_of_the_answer(told: Told) -> None:
    metrics = told.parent.data.metrics
    expected = {
        f"test/{task}/{name}": value for task, each in told.answer["report"].items() for name, value in each.items()
    }
    for control, lift in told.answer["lift"].items():
        expected |= {f"lift/{control}": lift["mean"]}
        if not lift["same_training"]:
            expected |= {f"lift/{control}/{end}": lift[end] for end in ("low", "high")}
    assert len(told.answer["lift"]) == 4
    assert {key: value for key, value in metrics.items() if key.startswith(("lift/", "test/"))} == expected
    scores = {int(child.data.tags["auxtune.proposal_id"]): child.data.metrics["score"] for child in told.children}
    assert scores == {trial.id: trial.score for trial in told.accounts.trials.values()}
    if told.accounts.best is not None:
        assert metrics["best_score"] == max(scores[trial.id] for trial in told.accounts.in_phase("search"))


def test_every_child_says_the_share_of_every_task_and_what_it_learned_from(told: Told) -> None:
    opened = told.accounts.sessions[-1].opened
    for child in told.children:
        trial = told.accounts.trials[int(child.data.tags["auxtune.proposal_id"])]
        shares = {key: float(value) for key, value in child.data.params.items() if key.startswith("weight/")}
        assert sorted(shares) == sorted(f"weight/{name}" for name in opened.problem.names)
        assert sum(shares.values()) == pytest.approx(1.0, abs=1e-3)  # each in four digits
        assert {key for key, share in shares.items() if share} <= {f"weight/{task}" for task in trial.proposal.tasks}
        assert {each.dataset.name for each in child.inputs.dataset_inputs} == set(trial.proposal.tasks)
    known = {each.dataset.name: each.dataset.digest for each in told.parent.inputs.dataset_inputs}
    assert known == {name: opened.fingerprint[f"tasks.{name}"] for name in opened.problem.names}


def test_the_files_are_those_of_the_study_and_the_figures_those_of_the_page(told: Told) -> None:
    assert json.loads(told.kept("selection.json")) == told.answer
    html = Reader(told.kept("report.html"))
    assert html.text == told.page
    pictures = [attributes["aria-label"] for tag, attributes in html.elements if tag == "svg"]
    figures = [file.path for file in told.client.list_artifacts(told.parent.info.run_id, "figures")]
    drawn = [Reader(told.kept(path)).elements[0] for path in figures]
    assert {tag for tag, _ in drawn} == {"svg"} and len(pictures) > 1
    assert sorted(str(attributes["aria-label"]) for _, attributes in drawn) == sorted(map(str, pictures))
