"""Listing studies, and the status of the one that was active last."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Literal

import pytest
from click.testing import CliRunner, Result
from small_study import STUDY
from written_study import start_driver, written_study

from auxtune.orchestrator import cli
from auxtune.orchestrator.views.overview import _count_ended


def auxtune(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def active(study: Path, moment: float) -> None:
    """Have the study's last activity lie at ``moment``."""
    os.utime(study / "ledger", (moment, moment))


@pytest.fixture
def storage(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """``studies`` in the working directory: two that are whole, a damaged one, and what is no study."""
    monkeypatch.chdir(tmp_path)
    storage = tmp_path / "studies"
    ends: dict[str, Literal["interrupted", "done"]] = {"old": "done", "broken": "done", "new": "interrupted"}
    for number, (name, until) in enumerate(ends.items()):
        text = STUDY.replace("study: small", f"study: {name}")
        active(written_study(storage / name, until, text), 1000.0 + number)
    (storage / "broken" / "ledger" / "00000001.json").write_text("{")
    (storage / ".tokens").mkdir()
    return storage


def test_every_study_has_a_row_and_a_damaged_one_its_error(storage: Path) -> None:
    new, broken, old = json.loads(auxtune("list", "--json").stdout)
    assert [row["study"] for row in (new, broken, old)] == ["new", "broken", "old"]
    assert [row["state"] for row in (new, broken, old)] == ["interrupted", "damaged", "done"]
    assert "00000001.json" in broken["error"] and broken["cost"] is None and broken["last_activity"] == 1001.0
    assert new["trials"] == {"waiting": 0, "running": 1, "finished": 1, "reused": 0, "stopped": 0, "failed": 1}
    assert (new["best"]["trial"], new["best"]["score"]) == (0, 0.75)
    # Three attempts of 10 CPU seconds at 0.04 USD an hour; the interrupted one is not charged yet.
    assert new["cost"]["usd"] == pytest.approx(30 / 3600 * 0.04) and new["error"] is None


def test_the_table_says_the_same(storage: Path) -> None:
    result = auxtune("list", str(storage))
    lines = result.stdout.splitlines()
    assert result.exit_code == 0 and lines[0].split()[:3] == ["study", "state", "trials"]
    assert lines[1].startswith("new     interrupted  2 of 3, 1 failed  0.7500  0.00 USD")
    assert any(line.startswith("broken: ") and "damaged" in line for line in lines)


def test_what_was_reused_is_no_trial_of_the_table() -> None:
    trials = {"waiting": 1, "running": 0, "finished": 2, "reused": 5, "stopped": 0, "failed": 1}
    assert _count_ended(trials) == "3 of 4, 1 failed"


def test_a_study_whose_variables_are_not_set_here_is_listed_without_money(storage: Path) -> None:
    text = STUDY.replace("tasks/noises}", "'${NOT_SET_ANYWHERE}/noises'}")
    written_study(storage / "other", text=text)
    row = next(row for row in json.loads(auxtune("list", "--json").stdout) if row["study"] == "other")
    assert row["best"]["score"] == 0.75 and row["cost"]["cpu_hours"] > 0 and row["cost"]["usd"] is None
    assert "NOT_SET_ANYWHERE" in row["error"]


def test_a_study_at_work_is_running(storage: Path) -> None:
    driver = start_driver(storage / "old")
    try:
        first = json.loads(auxtune("list", "--json").stdout)[0]
    finally:
        driver.kill()
        driver.communicate()
    assert (first["study"], first["state"]) == ("old", "running")


def test_what_is_no_storage_is_refused_and_an_empty_one_is_empty(storage: Path, tmp_path: Path) -> None:
    missing = auxtune("list", "elsewhere")
    assert missing.exit_code == 2 and "elsewhere: expected a folder of studies" in missing.stderr
    inside = auxtune("list", str(storage / "new"))
    assert inside.exit_code == 2 and str(storage) in inside.stderr
    (tmp_path / "empty").mkdir()
    assert "no studies in" in auxtune("list", "empty").stdout
    assert json.loads(auxtune("list", "empty", "--json").stdout) == []


def test_status_without_a_folder_is_of_the_study_that_was_active_last(storage: Path) -> None:
    result = auxtune("status", "--json")
    assert result.stderr == "the study that was active last: studies/new\n"
    assert json.loads(result.stdout)["study"] == "new"
    active(storage / "old", 2000.0)
    assert auxtune("status").stdout.startswith("old: done")


def test_status_without_any_study_says_where_it_looked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    result = auxtune("status")
    assert result.exit_code == 2 and f"{tmp_path / 'studies'}: looked there" in result.stderr
