"""The foot of a terminal in the process that runs a study: whatever breaks or comes late there, the study goes on."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path

import pytest
from simulated_study import simulated
from terminal import shown
from watched_study import RANDOM

from auxtune.orchestrator.record.events import Tracked
from auxtune.orchestrator.views import screen
from auxtune.orchestrator.views.live import Spent, StudySnapshot
from auxtune.orchestrator.views.monitor import StudyMonitor
from auxtune.orchestrator.views.progress import EventLines
from auxtune.orchestrator.views.screen import RunScreen
from auxtune.orchestrator.views.terminal import Terminal

SNAPSHOT = StudySnapshot("x", "running", "tag", {}, (), "0.5", (), "", (), "", ())


@pytest.mark.parametrize(
    "snapshot",
    [None, replace(SNAPSHOT, budget=(Spent("usd", 1.0, None),)), replace(SNAPSHOT, best="\udcff")],
    ids=["folding", "drawing", "writing"],
)
def test_a_view_that_breaks_leaves_the_lines_and_the_study(
    snapshot: StudySnapshot | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = simulated(tmp_path, RANDOM)
    agenda = study.session()
    monitor = StudyMonitor(study.study, study.folder)
    monkeypatch.setattr(screen, "INTERVAL", 0.01)
    console = Terminal(force_terminal=True, width=200)
    said: list[str] = []
    with RunScreen(console, monitor, EventLines(lambda line, moment: said.append(line))) as view:
        view.observe(agenda._ledger.events[0])
        if snapshot is None:
            view.observe(Tracked(id=99, run_id="a"))  # of what was never proposed: no view can be made of it
        else:
            monkeypatch.setattr(monitor, "snapshot", lambda state, now: snapshot)
        while view._screen is not None:
            assert view.is_alive()
            view.join(0.01)
        assert agenda.next() is not None
        for event in agenda._ledger.events[-2:]:
            view.observe(event)
        while not said:
            assert view.is_alive()
            view.join(0.01)
    assert [line.split(" ", 2)[:2] for line in said] == [["search", "0000"]]
    assert "the live view broke and is gone, the study continues" in "\n".join(shown(capsys.readouterr().out))


def test_a_line_that_breaks_leaves_those_after_it_and_the_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = simulated(tmp_path, RANDOM)
    agenda = study.session()
    monkeypatch.setattr(screen, "INTERVAL", 0.01)
    console, said = Terminal(force_terminal=True, width=200), list[str]()
    lines = EventLines(lambda line, moment: said.append(line))
    with RunScreen(console, StudyMonitor(study.study, study.folder), lines) as view:
        assert agenda.next() is not None
        opened, proposed, started = agenda._ledger.events
        monkeypatch.setattr(view._monitor, "observe", lambda events: None)
        view.observe(opened)
        view.observe(started)  # nobody has said what it is
        view.observe(proposed)
        view.observe(started)
        while not said:
            assert view.is_alive()
            view.join(0.01)
        assert view._screen is not None
        view.observe(replace(started, id=98))  # the last word, on the driver's thread
    assert [line.split(" ", 2)[:2] for line in said] == [["search", "0000"]]
    assert capsys.readouterr().out.count("no line for an event (Started), the study continues: KeyError: ") == 2


@pytest.mark.parametrize("breaks", [True, False])
def test_a_view_that_is_left_while_it_looks_says_no_more(
    breaks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = simulated(tmp_path, RANDOM)
    monitor, looking, left = StudyMonitor(study.study, study.folder), threading.Event(), threading.Event()

    def snapshot(state: str, now: float) -> StudySnapshot:
        looking.set()
        left.wait(60)
        if breaks:
            raise ValueError("too late")
        return SNAPSHOT

    monkeypatch.setattr(screen, "INTERVAL", 0.01)
    monkeypatch.setattr(monitor, "snapshot", snapshot)
    with RunScreen(Terminal(force_terminal=True, width=200), monitor, EventLines(print)) as view:
        assert looking.wait(60)
    left.set()
    view.join(60)
    text = capsys.readouterr().out
    assert not view.is_alive() and "x by" not in text and "broke" not in text


def test_a_view_that_is_left_writes_nothing_beyond_the_height_of_its_terminal(
    capsys: pytest.CaptureFixture[str],
) -> None:
    console = Terminal(force_terminal=True, width=80, height=12)
    with screen.Screen(console) as view:
        view.draw(replace(SNAPSHOT, trouble=tuple(f"trouble {number}" for number in range(40))), 1000.0)
        assert "trouble 5" in "\n".join(shown(capsys.readouterr().out))
    assert "trouble" not in capsys.readouterr().out
