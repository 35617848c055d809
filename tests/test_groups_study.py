"""A study without a primary from its file to its answer: without training, in words, and under a real Ray."""

from __future__ import annotations

import io
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from rich.console import Console
from small_study import StudyRun, kill
from test_agenda import World, differences
from test_groups import ACCURACY, LABELS, ROWS, SPENT, STUDY, answers, groups, problem

from auxtune.orchestrator import cli
from auxtune.orchestrator.answer.answer import Answer, read_answer, write_answer
from auxtune.orchestrator.answer.build import build_answer
from auxtune.orchestrator.answer.verdict import write_verdict
from auxtune.orchestrator.errors import SelectorError, StudyFileError
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.planning.context import compute_fingerprint
from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.record.events import Selected
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.record.results import write_result
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.orchestrator.views.progress import describe_choice
from auxtune.orchestrator.views.status import describe_status
from auxtune.orchestrator.views.summary import group_tables
from auxtune.orchestrator.views.terminal import render_terminal
from auxtune.selectors.methods.random_groups import RandomGroups
from auxtune.selectors.protocol import Selection
from auxtune.trials.encoder import load_base
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.result import Result


@dataclass
class Groups(World):
    """Models that are as good at a task as its group makes them: d with a and c with b help each other."""

    text: str = STUDY

    def __post_init__(self) -> None:
        self.problem = problem()

    def report(self, trial: Trial, **changes: object) -> None:
        """What a worker would leave: scores of all tasks, and for confirm 200 predictions of each."""
        tasks, seed = trial.proposal.tasks, trial.proposal.seed
        good = {t: 0.8 if {*"da"} == {*tasks} or {*"cb"} == {*tasks} else 0.7 - 0.03 * len(tasks) for t in tasks}
        ours = {t: answers(LABELS["b"], good[t], seed + list(ROWS).index(t)) for t in tasks}
        scores = {t: {"accuracy": one.metric("accuracy")} for t, one in ours.items()}
        folder = self.attempt(trial)
        folder.mkdir(parents=True)
        reported = {}
        if trial.phase == "confirm":
            reported = scores
            arrays = {
                f"{t}/{key}": getattr(one, key) for t, one in ours.items() for key in ("labels", "predictions", "rows")
            }
            np.savez(folder / "predictions.npz", **arrays)
        mean = float(np.mean([good[t] for t in tasks]))
        write_result(folder, Result(mean, SPENT, 60, 60, scores, reported))

    def answer(self, agenda: Agenda) -> dict[str, Any]:
        """What ``selection.json`` would hold."""
        return self.typed_answer(agenda).as_json()

    def typed_answer(self, agenda: Agenda) -> Answer:
        """The same as values of the product."""
        return build_answer("x", self.folder, agenda.accounts, agenda._confirmation, ACCURACY, Price())


def test_a_study_answers_with_groups_their_lift_and_each_tasks_own(tmp_path: Path) -> None:
    world = Groups(tmp_path)
    agenda = world.session()
    world.run(agenda)
    assert agenda.finished and differences(world.study, read_events(tmp_path / "ledger")) == []
    answer = world.typed_answer(agenda)
    content = answer.as_json()
    assert content == json.loads(write_answer(tmp_path, answer).read_text())
    assert read_answer(tmp_path) == answer
    assert (content["kind"], content["primary"], content["weights"], content["contribution"]) == (
        "groups",
        None,
        None,
        None,
    )
    assert [len(group["tasks"]) for group in content["groups"]] == [2, 2]
    assert sorted(task for group in content["groups"] for task in group["serves"]) == sorted(ROWS)
    assert {name: lift["models"] for name, lift in content["lift"].items()} == {
        "single_task": 4,
        "all_tasks": 1,
        "random_subset": 2,
        "same_tasks_equal": 2,
    }
    assert content["recommended"] == {"arm": "selection", "why": "gain", "level": pytest.approx(1 - 0.05 / 3)}
    same = content["lift"].pop("same_tasks_equal")  # the sampling rule is equal shares
    assert same["same_training"] and (same["mean"], same["low"], same["high"], same["seeds"]) == (0, None, None, 4)
    assert all(own["same_training"] for own in same["tasks"].values()) and list(same["tasks"]) == list(ROWS)
    for lift in content["lift"].values():
        assert (lift["metric"], lift["seeds"], list(lift["tasks"])) == ("mean", 4, list(ROWS))
        assert lift["low"] < lift["mean"] < lift["high"]
        assert lift["mean"] == pytest.approx(np.mean([one["mean"] for one in lift["tasks"].values()]))
    assert list(content["report"]) == list(ROWS) and agenda.accounts.best is None
    status = describe_status(tmp_path, agenda.accounts, world.study.options)
    assert status["groups"] == [group["tasks"] for group in content["groups"]]
    assert sorted(status["selected"]) == sorted(ROWS) and status["best"] is None


@pytest.mark.parametrize("cut", [0, 3, 5, 10])
def test_interrupted_it_keeps_its_proposals_and_its_answer(tmp_path: Path, cut: int) -> None:
    whole, broken = (Groups(tmp_path / name, overrides=("confirm.seeds=1",)) for name in ("whole", "broken"))
    first = whole.session()
    whole.run(first)
    before = broken.session()
    broken.run(before, at_most=cut)
    before.next()
    before.flush()
    after = broken.session()
    broken.run(after)
    assert broken.events() == whole.events() and len(whole.events()) > 20
    assert {**broken.answer(after), "cost": None} == {**whole.answer(first), "cost": None}


def test_an_answer_that_cannot_be_confirmed_is_not_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    world = Groups(tmp_path)
    agenda = world.session()
    monkeypatch.setattr(RandomGroups, "select", lambda self, state, evidence: groups("da", "c"))
    with pytest.raises(SelectorError, match="b in none"):
        world.run(agenda)
    agenda.flush()
    assert not any(isinstance(event, Selected) for event in read_events(tmp_path / "ledger"))


# What people see


def lift_of(low: float | None, high: float | None) -> dict[str, Any]:
    own = {"metric": "f1", "mean": 0.01, "low": low, "high": high, "seeds": 4}
    return {"metric": "mean", "mean": 0.01, "low": low, "high": high, "seeds": 4, "models": 4, "tasks": {"d": own}}


def content_of(lift: dict[str, Any] | None) -> Answer:
    served_by = [
        {"tasks": ["d", "a"], "serves": ["d"]},
        {"tasks": ["a", "c", "b"], "serves": ["a", "c", "b"]},
        {"tasks": ["c"], "serves": []},
    ]
    report = {"d": {"f1": 0.5, "accuracy": 0.75}}
    return Answer.from_json({"groups": served_by, "lift": {"single_task": lift}, "report": report})


@pytest.mark.parametrize(
    ("lift", "said"),
    [
        (None, ". Its gain over single task was not measured."),
        (lift_of(None, None), "of unknown certainty"),
        (lift_of(0.005, 0.015), ": a gain of +0.0100 on average over 1 tasks, 95 % interval +0.0050 to +0.0150, over"),
        (lift_of(-0.03, -0.01), ": a loss of"),
        (lift_of(-0.01, 0.03), ". No measurable gain over single task, which takes 4 models (+0.0100 on average"),
    ],
)
def test_the_sentence_says_what_to_serve_and_is_honest(lift: dict[str, Any] | None, said: str) -> None:
    sentence = write_verdict(content_of(lift))
    assert sentence.startswith("Serve 2 models: d + a (for d); a + c + b") and said in sentence


def test_the_tables_show_every_model_and_every_task() -> None:
    printed = io.StringIO()
    Console(width=120, file=printed).print(render_terminal(group_tables(content_of(lift_of(-0.01, 0.03)))))
    shown = printed.getvalue()
    assert "nothing: others do better" in shown and "-0.0100 … +0.0300" in shown
    assert "f1 0.5000" in shown and "accuracy 0.7500" in shown and "±0.0200" in shown


def test_a_line_names_the_groups() -> None:
    assert describe_choice(groups("da", "cb")) == "d + a | c + b"
    assert describe_choice(Selection("mixture", ("d", "a"))) == "d + a"


# The study file and the ledger


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("training.early_stopping=asha", "training.early_stopping"),
        ("training.match=primary_examples", "training.match"),
        ("confirm.leave_one_out=true", "confirm.leave_one_out"),
        ("search_seeds=2", "search_seeds"),
        ("selector=[random_groups, random_groups]", "selector"),
        ("selector=random_subset", "selector"),
    ],
)
def test_what_needs_a_primary_is_refused(override: str, key: str) -> None:
    with pytest.raises(StudyFileError) as caught:
        parse_study(STUDY, "study.yaml", Path(), (override,))
    assert [mistake.key for mistake in caught.value.mistakes] == [key]
    if key == "selector" and "subset" in override:
        assert "groups are answered by: auto, random_groups, " in str(caught.value)


def test_the_number_of_models_belongs_to_the_question_and_older_ledgers_do_not_name_it() -> None:
    base = load_base(ModelOptions())

    def fingerprint(*overrides: str) -> dict[str, str]:
        return compute_fingerprint(parse_study(STUDY, "study.yaml", Path(), overrides), {}, base)

    two, three = fingerprint(), fingerprint("models=3")
    assert {key for key in two if two[key] != three[key]} == {"objective"}
    assert "objective" not in fingerprint("objective=null", "models=null", "primary=d", "selector=random_subset")


def test_a_plan_counts_every_model(small: StudyRun, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(small.home)
    asked = ["primary=", "objective=groups", "models=2", "selector=random_groups", "confirm.controls=[single_task]"]
    settings = [word for one in asked for word in ("--set", one)]
    planned = CliRunner().invoke(cli.main, ["plan", "study.yaml", "--json", *settings])
    assert planned.exit_code == 0, planned.output
    selection, single = json.loads(planned.stdout)["confirm"]
    assert (selection["missing"], selection["tasks"], selection["groups"]) == (2, None, None)
    assert (single["missing"], single["groups"]) == (3, [["moods"], ["echoes"], ["noises"]])
    shown = CliRunner().invoke(cli.main, ["plan", "study.yaml", *settings])
    assert "moods | echoes | noises" in shown.output
    checked = CliRunner().invoke(cli.main, ["validate", "study.yaml", *settings])
    assert "at least 5 (5 to confirm, 0 to search)" in checked.output


@pytest.mark.slow
def test_a_real_study_of_groups_is_killed_and_goes_on_to_its_answer(small: StudyRun) -> None:
    asked = [
        "primary=",
        "objective=groups",
        "models=2",
        "selector={name: random_groups, groupings: 2}",
        "budget.trials=14",
        "training.sampling=proportional",
    ]
    settings = [word for one in asked for word in ("--set", one)]
    process = small.start("run", "study.yaml", *settings)
    small.wait_for(lambda: small.told >= 5 and small.trains(), process)
    kill(process)
    said = small.finish("resume", str(small.folder))
    assert "Serve " in said and "of unknown certainty" in said and "Each task's own lift over" in said
    assert "verified" in small.finish("status", str(small.folder), "--verify")
    content = json.loads((small.folder / "selection.json").read_text())
    assert sorted(task for group in content["groups"] for task in group["serves"]) == ["echoes", "moods", "noises"]
    lift = content["lift"]["single_task"]
    assert (lift["models"], lift["seeds"], set(lift["tasks"])) == (3, 1, {"moods", "echoes", "noises"})
    assert lift["mean"] == pytest.approx(np.mean([own["mean"] for own in lift["tasks"].values()]))
    shown = small.finish("status", str(small.folder))
    assert "selected: " in shown and " | " in shown and "best so far" not in shown
