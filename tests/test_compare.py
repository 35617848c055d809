"""Studies of one question, compared: the numbers are those of their answers, and nobody wins by chance."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from small_study import StudyRun

from auxtune.orchestrator.answer.comparison import Difference, _find_winner
from auxtune.orchestrator.answer.lift import Lift
from auxtune.orchestrator.cli import main

SELECTORS = {"all": "all_tasks", "alone": "single_task", "one": "{name: random_subset, trials: 1}"}


def pair(a: str, b: str, low: float | None, high: float | None) -> Difference:
    return Difference(a, b, Lift("accuracy", 0.0, low, high, 4))


def test_the_winner_is_above_every_other_by_its_interval_and_no_dearer() -> None:
    cheap = {"a": 1.0, "b": 1.0, "c": 0.95}
    clear = [pair("a", "b", 0.01, 0.03), pair("a", "c", 0.01, 0.05), pair("b", "c", -0.02, 0.02)]
    assert _find_winner("abc", clear, cheap) == "a"
    assert _find_winner("abc", clear, {**cheap, "a": 1.2}) is None  # more than a tenth dearer than b
    assert _find_winner("abc", [pair("a", "b", -0.01, 0.03), *clear[1:]], cheap) is None
    assert _find_winner("abc", [pair("a", "b", None, None), *clear[1:]], cheap) is None
    turned = [pair("b", "a", -0.03, -0.01), pair("c", "a", -0.05, -0.01), clear[2]]
    assert _find_winner("abc", turned, cheap) == "a"


def compare(*arguments: object) -> Any:
    done = CliRunner().invoke(main, ["compare", *map(str, arguments)])
    assert done.exit_code == 0, done.output
    return done.output


@pytest.fixture(scope="module")
def three(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    from small_study import small_study

    run = small_study(tmp_path_factory.mktemp("three"))
    for name, selector in SELECTORS.items():
        run.finish(
            "run",
            "study.yaml",
            "--set",
            f"study={name}",
            "--set",
            f"selector={selector}",
            "--set",
            "confirm.seeds=4",
            "--set",
            "budget.trials=20",
        )
    return {name: run.home / "studies" / name for name in SELECTORS}


@pytest.mark.slow
def test_what_is_compared_is_what_the_answers_say(three: dict[str, Path], tmp_path: Path) -> None:
    page = tmp_path / "compared.html"
    found = json.loads(compare(*three.values(), "--json", "--to", page))
    assert (found["unit"], found["level"]) == ("usd", pytest.approx(1 - 0.05 / 3))
    assert page.read_text().count("<svg") == 2 and "none is named" in page.read_text()
    for study in found["studies"]:
        answer = json.loads((three[study["study"]] / "selection.json").read_text())
        assert study["test"]["mean"] == pytest.approx(answer["report"]["moods"]["accuracy"])
        assert study["lift"] == answer["lift"]["single_task"]
        phases = answer["cost"]["phases"]
        paid = phases["search"]["usd"] + phases["measure"]["usd"]
        assert study["cost"] == pytest.approx(paid + answer["cost"]["reused"]["usd"])
    scores = {study["study"]: study["test"]["mean"] for study in found["studies"]}
    assert scores["all"] != scores["alone"]
    for one in found["pairs"]:
        assert one["mean"] == pytest.approx(scores[one["a"]] - scores[one["b"]]) and one["seeds"] == 4
    assert found["equal_cost"] == min(study["cost"] for study in found["studies"])


@pytest.mark.slow
def test_three_differences_have_wider_intervals_than_one(three: dict[str, Path]) -> None:
    [alone] = json.loads(compare(three["all"], three["alone"], "--json"))["pairs"]
    several = json.loads(compare(*three.values(), "--json"))["pairs"]
    same = next(one for one in several if (one["a"], one["b"]) == ("all", "alone"))
    assert same["mean"] == alone["mean"]
    assert same["high"] - same["low"] > 1.1 * (alone["high"] - alone["low"]) > 0
    said = compare(*three.values())
    assert "all 3 differences" in " ".join(said.split())


@pytest.mark.slow
def test_another_question_and_what_is_no_answer_are_refused(three: dict[str, Path], small: StudyRun) -> None:
    def refused(*folders: Path) -> str:
        done = CliRunner().invoke(main, ["compare", *map(str, folders)])
        assert done.exit_code == 2
        return " ".join(done.output.split())

    small.finish("run", "study.yaml", "--set", "training.steps=20")
    assert "these keys of their study files mean something else: training." in refused(three["all"], small.folder)
    assert "two of the studies are called all" in refused(three["all"], three["all"])
    assert "two studies or more" in refused(three["all"])
    (small.folder / "selection.json").unlink()
    assert "has no answer yet" in refused(three["all"], small.folder)
