"""One trial, shown: what was asked, what happened, what it said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from written_study import written_study

from auxtune.orchestrator import cli


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return written_study(tmp_path / "small")


def show(study: Path, *arguments: str) -> Result:
    return CliRunner().invoke(cli.main, ["show", str(study), *arguments])


def shown(study: Path, *arguments: str) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(show(study, *arguments, "--json").stdout)
    return content


def test_a_trial_that_took_two_attempts(study: Path) -> None:
    trial = shown(study, "0")
    assert (trial["phase"], trial["status"], trial["proposal"]["seed"]) == ("search", "finished", 70)
    assert trial["proposal"]["weights"] == {"moods": 0.5, "noises": 0.5} and trial["proposal"]["inner"] is None
    first, second = trial["attempts"]
    assert (first["end"], first["ended"], first["counts"]) == ("interrupted with its session", 1010.0, False)
    assert (second["end"], second["resume_from"], second["counts"]) == ("finished", 1, True)
    assert second["cost"]["cpu_seconds"] == 10.0
    assert second["folder"] == str(study / "trials" / "0000" / "2") and "result.json" in second["files"]
    assert trial["outcome"]["score"] == 0.75 and trial["traceback"] is None
    # The log is that of the attempt that counts.
    assert trial["log"] == [f"log.txt {line} of 0/2" for line in range(10, 30)]


def test_a_failed_trial_says_why_with_its_traceback(study: Path) -> None:
    text = show(study, "1", "--lines", "2").stdout
    assert "small, trial 0001: search, failed" in text and "failed: error" in text
    assert "ValueError: no such word" in text and "Traceback: in words.py" in text
    assert text.splitlines()[-2:] == ["  log.txt 28 of 1/1", "  log.txt 29 of 1/1"]
    assert shown(study, "1")["outcome"]["why"] == "error"


def test_a_trial_without_an_outcome_was_interrupted(study: Path) -> None:
    trial = shown(study, "2", "--lines", "0")
    assert trial["outcome"] is None and trial["log"] == []
    assert [attempt["end"] for attempt in trial["attempts"]] == ["interrupted with its session"]
    assert "moods 50.0% + noises 50.0%" in show(study, "2").stdout


def test_a_report_that_cannot_be_read_is_said(study: Path) -> None:
    (study / "trials" / "0001" / "1" / "result.json").write_text("{")
    result = show(study, "1")
    assert result.exit_code == 0 and "not a readable result" in result.stdout


@pytest.mark.parametrize("number", ["3", "99"])
def test_an_unknown_trial_is_answered_with_those_there_are(study: Path, number: str) -> None:
    result = show(study, number)
    assert result.exit_code == 2 and f"expected one of 0 to 2, found trial {number}" in result.stderr


def test_a_folder_without_a_study_is_refused(tmp_path: Path) -> None:
    assert "expected the folder of a study" in show(tmp_path, "0").stderr
