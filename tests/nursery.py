"""A process that ``auxtune`` commands are forked from, and the commands: see ``warm_commands``."""

from __future__ import annotations

import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import warm_commands
from warm_commands import SET_UP, Environment, ask, find_second, read_number

# Variables with these beginnings may be read by an import; others are read when they are needed.
_IMPORTED = ("RAY_", "HF_", "TRANSFORMERS_", "OMP_", "ATEN_", "TORCH", "CUDA", "PYTHON", "HOME", "TMPDIR")
# Importing Ray or torch, and a study that ran in the test's own process, set these; a command sets them by itself.
_OWN = {"RAY_CLIENT_MODE", "RAY_CHDIR_TO_TRIAL_DIR", "RAY_AIR_NEW_OUTPUT", "TORCHINDUCTOR_CACHE_DIR"}
_OWN |= {"RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "PYTHONBREAKPOINT"}
_PYTHON = f"""\
#!/bin/sh
case "$1 $2" in
*{SET_UP}* | */workers/default_worker.py* | "-u "*/ray/*.py) exec {{caller}} "$@" ;;
*) exec {{python}} "$@" ;;
esac
"""


class Nursery:
    """The process that commands are forked from, listening on a socket in ``folder``."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.environment = environment
        self.address = folder / "nursery"
        self._write_python(folder / "python")
        self._process = subprocess.Popen(
            [sys.executable, warm_commands.__file__, "serve", str(self.address)],
            env=environment,
            stdin=subprocess.PIPE,  # it ends when this is closed
            start_new_session=True,
        )

    def fits(self, environment: Environment) -> bool:
        """Whether imports would find the same environment."""
        return keep_imported(environment) == keep_imported(self.environment)

    def start(self, home: Path, arguments: tuple[str, ...]) -> WarmProcess:
        """``auxtune ARGUMENTS`` in ``home``, its output and error to be had from what is returned."""
        (out, out_end), (err, err_end) = os.pipe(), os.pipe()
        nothing = os.open(os.devnull, os.O_RDONLY)
        channel = ask(self.address, home, arguments, [nothing, out_end, err_end], os.environ)
        for descriptor in (nothing, out_end, err_end):
            os.close(descriptor)
        return WarmProcess(channel, [out, err])

    def start_on(self, terminal: int, home: Path, arguments: tuple[str, ...], environment: Environment) -> WarmProcess:
        """``auxtune ARGUMENTS`` in ``home`` with an open terminal for all three of its streams."""
        return WarmProcess(ask(self.address, home, arguments, [terminal] * 3, environment), [])

    def write_command(self, folder: Path) -> None:
        """Write ``auxtune``, an executable for scripts, into a folder."""
        command = folder / "auxtune"
        command.write_text(f'#!/bin/sh\nexec {shlex.join(self.caller("call"))} "$@"\n')
        command.chmod(0o755)

    def _write_python(self, path: Path) -> None:
        """Write what forked commands take for Python."""
        python = shlex.quote(sys.executable)
        path.write_text(_PYTHON.format(caller=shlex.join(self.caller("ray")), python=python))
        path.chmod(0o755)

    def caller(self, what: str) -> list[str]:
        """The beginning of a command line that has something forked: a process of ``ray``, or what is a ``call``."""
        address = self.address if what == "call" else find_second(self.address)
        return [sys.executable, "-I", "-S", warm_commands.__file__, what, str(address)]

    def close(self) -> None:
        """End the nursery; commands that still run are left alone."""
        self._process.kill()
        self._process.communicate()


class WarmProcess:
    """A forked command: as much of ``subprocess.Popen`` as tests of studies use."""

    def __init__(self, channel: socket.socket, printed: list[int]) -> None:
        self.returncode: int | None = None
        self._channel = channel
        self.pid = read_number(channel)
        self._printed = dict.fromkeys(printed, b"")
        self._open = printed

    def poll(self) -> int | None:
        """The exit status, negative for a signal, or ``None`` while the command runs."""
        if self.returncode is None and select.select([self._channel], [], [], 0)[0]:
            self.returncode = read_number(self._channel)
            self._channel.close()
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """The exit status once there is one. Raises ``subprocess.TimeoutExpired`` after ``timeout`` seconds."""
        end = time.monotonic() + (float("inf") if timeout is None else timeout)
        while self.poll() is None:
            if time.monotonic() > end:
                raise subprocess.TimeoutExpired("auxtune", timeout or 0.0)
            self._read(0.02)
        assert self.returncode is not None
        return self.returncode

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Everything the command printed to its output and error, once it has ended."""
        self.wait(timeout)
        while self._open:
            self._read(None if timeout is None else 0.02)
        out, err = (text.decode("utf-8", "replace") for text in self._printed.values())
        return out, err

    def send_signal(self, number: int) -> None:
        """Send a signal to the command, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        """End the command at once."""
        self.send_signal(signal.SIGKILL)

    def _read(self, seconds: float | None) -> None:
        """Take what was printed, waiting up to ``seconds`` for something."""
        for descriptor in select.select(self._open, [], [], seconds)[0]:
            if more := os.read(descriptor, 65536):
                self._printed[descriptor] += more
            else:
                os.close(descriptor)
                self._open.remove(descriptor)


def keep_imported(environment: Environment) -> dict[str, str]:
    """The variables that an import may read."""
    return {name: value for name, value in environment.items() if name.startswith(_IMPORTED) and name not in _OWN}
