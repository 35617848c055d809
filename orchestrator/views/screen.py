"""The foot of a terminal on which a study is watched: the live view, with the lines of its events above it."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType

from rich.console import Console
from rich.live import Live
from rich.text import Text

from auxtune.orchestrator.record.events import Event, read_time
from auxtune.orchestrator.views.live import LiveView, StudySnapshot
from auxtune.orchestrator.views.monitor import RateLimiter, StudyMonitor
from auxtune.orchestrator.views.progress import EventLines

INTERVAL = 0.5  # seconds between two drawings
_LONGEST = 5.0  # seconds between two where each takes long


class Screen:
    """While entered, the view is at the foot of the terminal; left, it is gone."""

    def __init__(self, console: Console) -> None:
        view, self._console = LiveView(None, read_time()), console
        self._live = Live(view, console=console, auto_refresh=False, transient=True, vertical_overflow="crop")

    def __enter__(self) -> Screen:
        self._live.start(refresh=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._console.capture():  # text that could not be written would be tried again with the next
            pass
        self._live.update(Text("", end=""))  # stopping draws once more, and then beyond the terminal's height
        self._live.stop()

    def draw(self, snapshot: StudySnapshot | None, now: float) -> None:
        """The view as it is ``now``, by the clock of the study's session."""
        self._live.update(LiveView(snapshot, now), refresh=True)


class RunScreen(threading.Thread):
    """The screen of a study that this process runs, in a thread of its own: the driver only hands over its events.

    Where the view itself breaks, the lines continue without it; where a line breaks, the next ones do. Neither reaches
    the study.
    """

    def __init__(
        self, console: Console, monitor: StudyMonitor, lines: EventLines, earlier: Sequence[Event] = ()
    ) -> None:
        """``lines`` are written to ``console``; ``earlier`` events are looked at once this session has begun."""
        super().__init__(name="live view", daemon=True)
        self._console, self._monitor, self._lines = console, monitor, lines
        self._screen: Screen | None = Screen(console)
        self._earlier, self._heard = list(earlier), deque[Event]()
        self._over, self._writing, self._limiter = threading.Event(), threading.Lock(), RateLimiter()

    def observe(self, event: Event) -> None:
        """Called on the driver's thread for every event."""
        self._heard.append(event)

    def __enter__(self) -> RunScreen:
        if self._screen is not None:
            self._screen.__enter__()
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()  # the thread may be asking the selector: it draws no more
        try:
            self._say()
        finally:
            with self._writing:
                screen, self._screen = self._screen, None
            if screen is not None:
                screen.__exit__(kind, error, trace)

    def run(self) -> None:
        """The thread: write the lines of new events and draw the view, again and again."""
        while not self._over.wait(max(INTERVAL, min(self._limiter.seconds, _LONGEST))):
            events, screen = self._say(), self._screen
            if screen is not None:
                with self._limiter.at_work():
                    self._look(screen, events)

    def _look(self, screen: Screen, events: Sequence[Event]) -> None:
        try:
            if events:
                self._monitor.observe([*self._earlier, *events])
                self._earlier.clear()
            now = read_time()
            snapshot = self._monitor.snapshot("running", now)
            with self._writing:
                if not self._over.is_set():
                    screen.draw(snapshot, now)
        except Exception as error:
            with self._writing:
                if self._over.is_set():  # the view is gone, or going, in any case
                    return
                self._screen = None
                with suppress(Exception):  # the terminal itself may be gone
                    screen.__exit__(None, None, None)
                self._warn("the live view broke and is gone, the study continues", error)

    def _say(self) -> list[Event]:
        """Write the lines of new events above the view."""
        said = []
        with self._writing:
            while self._heard:
                said.append(self._heard.popleft())
                try:
                    self._lines(said[-1])
                except Exception as error:
                    self._warn(f"no line for an event ({type(said[-1]).__name__}), the study continues", error)
        return said

    def _warn(self, what: str, error: Exception) -> None:
        with suppress(Exception), self._console.capture():  # forget text that could not be written
            pass
        with suppress(Exception):
            self._console.print(Text(f"{what}: {type(error).__name__}: {error}", "yellow"), soft_wrap=True)
