"""``auxtune status --watch``: follows a study that another process runs, until its session ends."""

from __future__ import annotations

import time
from collections.abc import Callable

from auxtune.orchestrator.record.driver import CLEANING, find_active_driver, read_study_time
from auxtune.orchestrator.record.events import Event, Opened
from auxtune.orchestrator.record.ledger import LedgerReader
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import is_local, store_of
from auxtune.orchestrator.study import Study
from auxtune.orchestrator.views.live import LiveView
from auxtune.orchestrator.views.monitor import StudyMonitor
from auxtune.orchestrator.views.progress import prepare_lines
from auxtune.orchestrator.views.screen import INTERVAL, Screen
from auxtune.orchestrator.views.terminal import Terminal

_FAR = 5.0  # seconds between looks into an object store


def watch_live(folder: StoredPath, terminal: Terminal) -> None:
    """Draw the study's live view below its events while a driver works on it; the last view stays."""
    reader = LedgerReader(folder / "ledger")
    heard = reader.read_new()
    lines, monitor = prepare_lines(heard, Study.from_folder(folder).file, terminal), _build_monitor(folder, heard)
    with Screen(terminal) as screen:
        now = read_study_time(folder)
        screen.draw(monitor.snapshot(monitor.state, now), now)

        def see(events: list[Event]) -> None:
            nonlocal monitor
            heard.extend(events)
            if any(isinstance(event, Opened) for event in events):  # its budget may have changed
                monitor = _build_monitor(folder, heard)
            else:
                monitor.observe(events)
            for event in events:
                lines(event)
            now = read_study_time(folder)
            screen.draw(monitor.snapshot(monitor.state, now), now)

        _follow_events(folder, reader, see)
    monitor.closed()
    now = read_study_time(folder)
    terminal.print(LiveView(monitor.snapshot(monitor.state, now), now))


def watch_lines(folder: StoredPath) -> None:
    """Print a line for each new event while a driver works on the study."""
    reader = LedgerReader(folder / "ledger")
    lines = prepare_lines(reader.read_new(), Study.from_folder(folder).file)

    def see(events: list[Event]) -> None:
        for event in events:
            lines(event)

    _follow_events(folder, reader, see)


def _follow_events(folder: StoredPath, reader: LedgerReader, see: Callable[[list[Event]], None]) -> None:
    """Pass new events to ``see`` while a driver lives. A store that does not answer is waited for."""
    pause = INTERVAL if is_local(folder) else _FAR
    with store_of(folder).survive_silence():
        while (sign := find_active_driver(folder)) is not None and not sign.session.startswith(CLEANING):
            see(reader.read_new())
            time.sleep(pause)
        see(reader.read_new())  # a driver's last word is durable before its sign is gone


def _build_monitor(folder: StoredPath, heard: list[Event]) -> StudyMonitor:
    monitor = StudyMonitor(Study.from_folder(folder).file, folder)
    monitor.observe(heard)
    return monitor
