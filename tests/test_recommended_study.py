"""A study whose control is better than what its selector chose: every output says so, and what to train instead."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from reported import finished, material_of, told
from rich.console import Console
from simulated_study import GROUPS, NAMES, STUDY

from auxtune.orchestrator import cli
from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.comparison import compare_studies, describe_comparison
from auxtune.orchestrator.answer.verdict import write_verdict
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.export.model_spec import model_specs
from auxtune.orchestrator.planning.arms import SELECTION, is_same_training
from auxtune.orchestrator.report.markdown import write_note
from auxtune.orchestrator.report.material import Material
from auxtune.orchestrator.report.study_page import build_study_page
from auxtune.orchestrator.session.answered import read_answered
from auxtune.orchestrator.session.session import Result
from auxtune.orchestrator.study import Study
from auxtune.orchestrator.views.status import describe_status
from auxtune.orchestrator.views.summary import list_summary_blocks
from auxtune.orchestrator.views.terminal import render_terminal

EIGHT = STUDY.replace("{seeds: 1}", "{seeds: 8}")
SAID = "Train all tasks in equal shares: all_tasks is better than what was chosen (p alone) by 0."


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The primary alone, where all tasks together are 0.04 better."""
    return finished(tmp_path_factory.mktemp("beaten"), "single_task", EIGHT)


def answer_of(folder: Path) -> dict[str, Any]:
    answer: dict[str, Any] = json.loads((folder / "selection.json").read_text())
    return answer


def test_the_answer_recommends_the_control_and_nothing_is_trained_twice(folder: Path) -> None:
    answer, material = answer_of(folder), material_of(folder)
    # One comparison: the other three controls of a primary alone are its own training.
    assert answer["recommended"] == {"arm": "all_tasks", "why": "control", "level": pytest.approx(0.95)}
    assert [name for name, lift in answer["lift"].items() if lift["same_training"]] == [
        "single_task",
        "random_subset",
        "same_tasks_equal",
    ]
    assert len(material.accounts.in_phase("confirm")) == 2 * 8
    assert answer["cost"]["phases"]["confirm"]["trials"] == 2 * 8


def test_all_outputs_begin_with_the_same_sentence(folder: Path) -> None:
    answer, material = Answer.from_json(answer_of(folder)), material_of(folder)
    said, printed = write_verdict(answer), io.StringIO()
    assert said.startswith(SAID)
    result = Result(folder, answer, material.accounts, None)
    Console(width=300, file=printed).print(
        render_terminal(list_summary_blocks(result, material.options.budget, "sqlite:///x.db"))
    )
    note = write_note(build_study_page(material), answer, folder)
    page = told(folder)
    for output in (printed.getvalue(), note, page["answer"]["said"]):
        assert said in output and "--arm all_tasks" in output and "Train p alone" not in output
    assert printed.getvalue().count("the same training") == 3
    status = describe_status(folder, material.accounts, material.options)
    assert (status["recommended"], status["answer"]) == ("all_tasks", said)
    shown = CliRunner().invoke(cli.main, ["status", str(folder)])
    assert f"answer: {said}" in shown.stdout


def test_studies_that_are_compared_name_the_control(folder: Path, tmp_path: Path) -> None:
    other = finished(tmp_path, "all_tasks", EIGHT)
    one, two = (read_answered(Study.from_folder(each).file) for each in (folder, other))
    found = compare_studies([replace(one, name="alone"), replace(two, name="everything")])
    assert [study.recommended for study in found.studies] == ["all_tasks", "selection"]
    assert "In alone the control all_tasks is better for sure than what was chosen." in describe_comparison(found)
    assert "In everything" not in describe_comparison(found)


def wanted(material: Material, answer: Mapping[str, Any], arm: str, group: int | None = None) -> list[Any]:
    typed = Answer.from_json(answer)
    return model_specs(material.folder, typed, material.accounts, material.confirmation, 3, group, arm)


def test_an_export_takes_any_arm(folder: Path) -> None:
    answer, material = answer_of(folder), material_of(folder)
    (all_tasks,) = wanted(material, answer, "all_tasks")
    assert (all_tasks.proposal.tasks, all_tasks.proposal.seed, all_tasks.serves) == (NAMES, 3, ("p",))
    (selection,) = wanted(material, answer, SELECTION)
    assert selection.proposal.tasks == ("p",)
    with pytest.raises(AuxtuneError, match=r"expected --arm to be one of .*, selection, single.*; found size_sqrt"):
        wanted(material, answer, "size_sqrt")


def test_an_export_of_groups_takes_any_arm_with_the_tasks_that_each_model_serves(tmp_path: Path) -> None:
    folder = finished(tmp_path, "tag", GROUPS)
    answer, material = answer_of(folder), material_of(folder)
    assert answer["models"] == 2 and answer["recommended"]["why"] == "uncertain"
    assert [each.serves for each in wanted(material, answer, "single_task")] == [(name,) for name in NAMES]
    (together,) = wanted(material, answer, "all_tasks")
    assert together.serves == NAMES and together.name == "group-1"
    drawn = wanted(material, answer, "random_subset")
    assert sorted(task for each in drawn for task in each.serves) == sorted(NAMES)
    chosen, equal = (wanted(material, answer, arm) for arm in (SELECTION, "same_tasks_equal"))
    assert all(is_same_training(a.proposal, b.proposal) for a, b in zip(chosen, equal, strict=True))
    (second,) = wanted(material, answer, "single_task", 2)
    assert second.serves == (NAMES[1],) and second.name == ""


def test_an_answer_of_an_earlier_version_is_read_by_its_intervals(folder: Path) -> None:
    """Without what this version added, and with an interval of no width where the training was the same."""
    answer = answer_of(folder)
    old = {key: value for key, value in answer.items() if key not in ("recommended", "models")}
    old["lift"] = {
        name: {
            **{key: lift[key] for key in ("metric", "mean", "low", "high", "seeds")},
            **({"low": 0.0, "high": 0.0} if lift["same_training"] else {}),
        }
        for name, lift in answer["lift"].items()
    }
    older, said = Answer.from_json(old), write_verdict(Answer.from_json(answer))
    assert write_verdict(older) == said
    material = replace(material_of(folder), answer=older)
    assert write_note(build_study_page(material), older, folder).startswith(f"**{said}**")
