"""A terminal for a command: a pseudo-terminal that it runs on, and what it currently shows."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import signal
import struct
import subprocess
import termios
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from small_study import COLD, Process, start_nursery
from warm_commands import Environment

_PARTS = re.compile(r"\x1b\[[?0-9;]*[A-Za-z]|\r|\n|[^\x1b\r\n]+")


def shown(text: str) -> list[str]:
    """The lines that a terminal shows after ``text``. Raises ``AssertionError`` for unknown control sequences."""
    lines, row, column = [""], 0, 0
    for part in _PARTS.findall(text):
        if part == "\r":
            column = 0
        elif part == "\n":
            row += 1
            lines += [""] * (row == len(lines))
        elif part.startswith("\x1b"):
            count, kind = part[2:-1], part[-1]
            if kind == "A":
                row = max(0, row - int(count or 1))
            elif kind == "K" and count == "2":
                lines[row] = ""
            else:
                assert kind == "m", f"found the control sequence {part!r}"
        else:
            line = lines[row].ljust(column)
            lines[row] = line[:column] + part + line[column + len(part) :]
            column += len(part)
    return [line.rstrip() for line in lines]


class CommandTerminal:
    """``auxtune ARGUMENTS`` in ``home`` on a terminal of its own; its output is read as it comes."""

    def __init__(
        self, home: Path, *arguments: str, environment: Mapping[str, str] | None = None, columns: int = 120
    ) -> None:
        self._own, theirs = pty.openpty()
        fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 40, columns, 0, 0))
        unset = {"NO_COLOR", "TERM", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_COMPATIBLE", "TTY_INTERACTIVE"}
        kept = {name: value for name, value in os.environ.items() if name not in unset}
        self.process = self._start(home, arguments, theirs, {**kept, "TERM": "xterm-256color", **(environment or {})})
        os.close(theirs)
        self._read = b""
        self._reader = threading.Thread(target=self._listen, daemon=True)
        self._reader.start()

    @staticmethod
    def _start(home: Path, arguments: tuple[str, ...], terminal: int, environment: Environment) -> Process:
        if (nursery := start_nursery()).fits(environment):
            return nursery.start_on(terminal, home, arguments, environment)
        command = [*COLD, *arguments]
        streams = {"stdin": terminal, "stdout": terminal, "stderr": terminal}
        return subprocess.Popen(command, cwd=home, env=environment, start_new_session=True, text=True, **streams)

    @property
    def text(self) -> str:
        """All output so far, control characters included."""
        return self._read.decode(errors="replace")

    @property
    def screen(self) -> str:
        """What the terminal currently shows."""
        return "\n".join(shown(self.text))

    def wait_for(self, condition: Callable[[], bool], seconds: float = 200) -> None:
        """Wait until something is true."""
        end = time.monotonic() + seconds
        while not condition():
            assert self.process.poll() is None, self.text
            assert time.monotonic() < end, f"waited too long:\n{self.screen}"
            time.sleep(0.05)

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def ended(self) -> int:
        """Its exit code, once it has ended and all was read."""
        code = self.process.wait(timeout=300)
        self._reader.join(timeout=30)
        os.close(self._own)
        return code

    def _listen(self) -> None:
        while True:
            try:
                piece = os.read(self._own, 65536)
            except OSError:  # the other side is closed
                return
            if not piece:
                return
            self._read += piece
