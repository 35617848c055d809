"""Ctrl-C and SIGTERM during a session: at once where nothing can break, in order where Ray is at work.

A handler that raises while Ray forks its processes can leave a lock held for ever, so inside ``held`` a signal is only
noted; Ray's loop looks at ``came`` in every turn and ends itself. A second signal in that loop interrupts it.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

_STOPPING = (signal.SIGINT, signal.SIGTERM)


class StopSignals:
    """While entered, both signals raise ``KeyboardInterrupt``, or are noted in ``came`` while held.

    Only the main thread can have handlers; entered elsewhere, nothing is caught.
    """

    def __init__(self) -> None:
        self.came: list[int] = []
        self._held = self._in_loop = False
        self._former: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        if threading.current_thread() is threading.main_thread():
            # SIGUSR1 too: an earlier Tune run in this process may have left its handler.
            self._former = {number: signal.getsignal(number) for number in (*_STOPPING, signal.SIGUSR1)}
            signal.signal(signal.SIGUSR1, signal.SIG_DFL)
            self.listen()
        return self

    def listen(self) -> None:
        """Have the signals come here; again after Ray has started, whose core takes SIGTERM for itself."""
        if self._former:
            for number in _STOPPING:
                signal.signal(number, self._stop)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._former.items():
            signal.signal(number, handler)

    @contextmanager
    def held(self) -> Iterator[None]:
        """Note signals instead of raising."""
        self._held = True
        try:
            yield
        finally:
            self._held = self._in_loop = False

    def end_loop(self) -> None:
        """In a turn of Tune's loop: if a signal came, end the loop by Tune's own way, its SIGUSR1 handler."""
        self._in_loop = True
        ending = signal.getsignal(signal.SIGUSR1)
        if self.came and callable(ending):
            ending(signal.SIGUSR1, None)

    def _stop(self, number: int, frame: FrameType | None) -> None:
        self.came.append(number)
        if not self._held or (self._in_loop and len(self.came) > 1):
            raise KeyboardInterrupt
