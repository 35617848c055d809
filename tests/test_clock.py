"""A clock that is set: what a study takes is counted by another one, and nothing is ever negative."""

from __future__ import annotations

import json
import os
import time
from pathlib import Path

import pytest
from small_study import StudyRun
from written_study import SPENT, opened, written_study

from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.driver import DriverLease, read_study_time
from auxtune.orchestrator.record.events import Closed, Lost, Proposed, SessionClock, Started, Told, warn_of_jump
from auxtune.orchestrator.record.results import charge_lost_attempt, touch_heartbeat
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.orchestrator.views.monitor import list_warnings
from auxtune.selectors.protocol import Outcome, Proposal
from auxtune.trials.result import Cost

DAY = 86_400.0
SET_BACK = """
import os, time
real = time.time
time.time = lambda: real() - (86_400.0 if os.path.exists({trigger!r}) else 0.0)
"""


class Hands:
    """Two clocks that a test moves."""

    wall, steady = 1_000_000.0, 50.0

    def clock(self) -> SessionClock:
        """A session's clock of them."""
        return SessionClock(lambda: self.wall, lambda: self.steady)

    def pass_time(self, seconds: float) -> None:
        """Move both."""
        self.wall, self.steady = self.wall + seconds, self.steady + seconds


@pytest.mark.parametrize("jump", [-DAY, DAY])
def test_a_session_goes_by_what_no_one_sets(jump: float) -> None:
    hands = Hands()
    clock = hands.clock()
    began = clock.read()
    assert began == 1_000_000.0
    hands.pass_time(10.0)
    hands.wall += jump
    hands.pass_time(5.0)
    assert clock.read() - began == 15.0
    clock.restart()  # the next session of the process begins at the time of day
    assert clock.read() == hands.wall


def test_a_jump_is_said_once_and_a_small_one_never(caplog: pytest.LogCaptureFixture) -> None:
    hands = Hands()
    clock = hands.clock()
    hands.wall += 5.0
    warn_of_jump(clock)
    assert caplog.messages == []
    hands.wall -= DAY
    for _ in range(3):
        warn_of_jump(clock)
    [said] = caplog.messages
    assert "set back by 24 h" in said
    hands.wall += DAY
    warn_of_jump(clock)
    assert len(caplog.messages) == 2 and "24 h further" in caplog.messages[1]


def test_a_lost_attempt_is_charged_by_its_own_age(tmp_path: Path) -> None:
    touch_heartbeat(tmp_path, 12.5)
    os.utime(tmp_path / "alive", (1000.0, 1000.0))  # by a clock that was set back
    assert charge_lost_attempt(tmp_path, 90_000.0, cpus=2, gpus=0) == Cost(12.5, gpu_seconds=0, cpu_seconds=25.0)
    (tmp_path / "alive").write_text("7 nan\n")
    os.utime(tmp_path / "alive", (1000.0, 1000.0))
    assert charge_lost_attempt(tmp_path, 90_000.0, cpus=2, gpus=0).wall_seconds == 0


def test_negative_figures_of_an_old_ledger_count_as_0_and_that_is_said() -> None:
    proposal, minus = Proposal(("moods",), {"moods": 1.0}), Cost(-DAY, gpu_seconds=-1.0, cpu_seconds=-DAY)
    accounts = Accounts(
        [
            opened("first"),
            Proposed(id=0, time=1001.0, proposal=proposal, phase="search", after=0),
            Started(id=0, attempt=1, time=1002.0, session="first", cpus=1, gpus=0),
            Lost(id=0, attempt=1, time=1003.0, cost=minus),
            Started(id=0, attempt=2, time=1004.0, session="first", cpus=1, gpus=0),
            Told(id=0, attempt=2, time=1005.0 - DAY, outcome=Outcome(0.5), cost=SPENT, reused={"key": minus}),
            Closed(session="first", time=1006.0 - DAY, reason="done"),
        ]
    )
    nothing = Cost(0.0, gpu_seconds=0.0, cpu_seconds=0.0)
    assert accounts.trials[0].costs == [nothing, SPENT] and accounts.reused_costs == [nothing]
    assert accounts.elapsed_seconds() == 0.0 and accounts.elapsed_seconds(2000.0) == 0.0
    options = parse_study(opened("first").study, "study.yaml", Path()).options
    assert any("3 costs and durations are below 0" in line for line in list_warnings(accounts, options, "done"))


def test_others_read_the_time_of_the_session_at_work(tmp_path: Path) -> None:
    study = written_study(tmp_path / "small")
    lease = DriverLease("s", 7, "elsewhere", time=time.time(), session_time=5000.0)
    (study / "heartbeat.json").write_text(json.dumps(vars(lease)))
    assert 5000.0 <= read_study_time(study) <= 5060.0
    (study / "heartbeat.json").unlink()
    assert abs(read_study_time(study) - time.time()) < 60.0


@pytest.mark.slow
def test_a_study_on_whose_way_the_clock_goes_back_a_day_is_counted_right_and_ends(
    small: StudyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    trigger = tmp_path / "back"
    (tmp_path / "clock").mkdir()
    (tmp_path / "clock" / "sitecustomize.py").write_text(SET_BACK.format(trigger=str(trigger)))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "clock"))
    process = small.start("run", "study.yaml", "--set", "budget.wall_hours=1", "--set", "confirm.seeds=1")
    small.wait_for(lambda: small.told > 0, process)
    trigger.touch()
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0 and "Traceback" not in err, out + err
    assert err.count("set back by 24 h") == 1
    status = small.ask("status", str(small.folder), "--json")
    assert 0 < status["cost"]["wall_hours"] < 0.5 and status["cost"]["cpu_hours"] > 0
    times = [event.time for event in small.events if hasattr(event, "time")]
    assert times == sorted(times)
