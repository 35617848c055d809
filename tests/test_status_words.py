"""A status is its word wherever it is written: in JSON, in texts, as a key."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from written_study import written_study

from auxtune.orchestrator.record.accounts import (
    StudyStatus,
    TrialStatus,
    count_trials,
    find_study_status,
    read_accounts,
)
from auxtune.orchestrator.record.driver import is_alive


@pytest.mark.parametrize("status", [*TrialStatus, *StudyStatus])
def test_a_status_is_written_as_its_word(status: TrialStatus | StudyStatus) -> None:
    word = status.value
    assert (f"{status}", str(status), json.dumps({status: status}), f"{status:>12}") == (
        word,
        word,
        f'{{"{word}": "{word}"}}',
        f"{word:>12}",
    )
    assert status == word and {word: 1}[status] == 1


def test_trials_and_the_study_have_the_status_that_the_ledger_tells(tmp_path: Path) -> None:
    folder = written_study(tmp_path / "small")
    accounts = read_accounts(folder)
    found = [trial.status for trial in accounts.trials.values()]
    assert found == [TrialStatus.FINISHED, TrialStatus.FAILED, TrialStatus.RUNNING]
    counts = {"waiting": 0, "running": 1, "finished": 1, "reused": 0, "stopped": 0, "failed": 1}
    assert count_trials(accounts) == counts
    assert find_study_status(accounts, is_alive(folder, accounts)) is StudyStatus.INTERRUPTED
