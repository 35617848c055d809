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
from auxtune.orchestrator.views.progress import EventLines
from auxtune.orchestrator.views.scene import Scene, Spent
from auxtune.orchestrator.views.screen import RunScreen, Terminal
from auxtune.orchestrator.views.watched import Watched

SCENE = Scene("x", "running", "tag", {}, (), "0.5", (), "", (), "", ())


@pytest.mark.parametrize(
    "scene",
    [None, replace(SCENE, budget=(Spent("usd", 1.0, None),)), replace(SCENE, best="\udcff")],
    ids=["folding", "drawing", "writing"],
)
def test_a_view_that_breaks_leaves_the_lines_and_the_study(
    scene: Scene | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = simulated(tmp_path, RANDOM)
    agenda = study.session()
    watched = Watched(study.study, study.folder)
    monkeypatch.setattr(screen, "INTERVAL", 0.01)
    console = Terminal(force_terminal=True, width=200)
    said: list[str] = []
    with RunScreen(console, watched, EventLines(lambda line, moment: said.append(line))) as view:
        view.hear(agenda._ledger.events[0])
        if scene is None:
            view.hear(Tracked(id=99, run_id="a"))  # of what was never proposed: no view can be made of it
        else:
            monkeypatch.setattr(watched, "scene", lambda state, now: scene)
        while view._screen is not None:
            assert view.is_alive()
            view.join(0.01)
        assert agenda.next() is not None
        for event in agenda._ledger.events[-2:]:
            view.hear(event)
        while not said:
            assert view.is_alive()
            view.join(0.01)
    assert [line.split(" ", 2)[:2] for line in said] == [["search", "0000"]]
    assert "the live view broke and is gone, the study goes on" in "\n".join(shown(capsys.readouterr().out))


def test_a_line_that_breaks_leaves_those_after_it_and_the_view(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = simulated(tmp_path, RANDOM)
    agenda = study.session()
    monkeypatch.setattr(screen, "INTERVAL", 0.01)
    console, said = Terminal(force_terminal=True, width=200), list[str]()
    lines = EventLines(lambda line, moment: said.append(line))
    with RunScreen(console, Watched(study.study, study.folder), lines) as view:
        assert agenda.next() is not None
        opened, proposed, started = agenda._ledger.events
        monkeypatch.setattr(view._watched, "hear", lambda events: None)
        view.hear(opened)
        view.hear(started)  # nobody has said what it is
        view.hear(proposed)
        view.hear(started)
        while not said:
            assert view.is_alive()
            view.join(0.01)
        assert view._screen is not None
        view.hear(replace(started, id=98))  # the last word, on the driver's thread
    assert [line.split(" ", 2)[:2] for line in said] == [["search", "0000"]]
    assert capsys.readouterr().out.count("no line for an event (Started), the study goes on: KeyError: ") == 2


@pytest.mark.parametrize("breaks", [True, False])
def test_a_view_that_is_left_while_it_looks_says_no_more(
    breaks: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = simulated(tmp_path, RANDOM)
    watched, looking, left = Watched(study.study, study.folder), threading.Event(), threading.Event()

    def scene(state: str, now: float) -> Scene:
        looking.set()
        left.wait(60)
        if breaks:
            raise ValueError("too late")
        return SCENE

    monkeypatch.setattr(screen, "INTERVAL", 0.01)
    monkeypatch.setattr(watched, "scene", scene)
    with RunScreen(Terminal(force_terminal=True, width=200), watched, EventLines(print)) as view:
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
        view.draw(replace(SCENE, trouble=tuple(f"trouble {number}" for number in range(40))))
        assert "trouble 5" in "\n".join(shown(capsys.readouterr().out))
    assert "trouble" not in capsys.readouterr().out
