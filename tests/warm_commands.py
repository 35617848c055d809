"""``auxtune`` commands in processes that are forked from one that has already imported everything.

A process of its own spends most of its time on imports; a test of what comes afterwards need not pay for them each
time. A ``Nursery`` imports once, starts no thread, and forks for each command, which has a process, session, working
folder, standard streams, signals and exit status of its own, as from a shell. Imports read the environment, so a
nursery serves one environment only.

``warm_commands.py serve SOCKET`` is the nursery; ``warm_commands.py call SOCKET ARGUMENTS``, with a Python that loads
little, is the command ``auxtune`` in scripts.
"""

from __future__ import annotations

import gc
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import TypeAlias

# Modules that nearly every command loads; each command still decides what it loads besides.
WARM = (
    "auxtune.orchestrator.commands.run",
    "auxtune.orchestrator.commands.validate",
    "auxtune.orchestrator.commands.status",
    "auxtune.orchestrator.commands.report",
    "mlflow.store.tracking.sqlalchemy_store",
    "ray.tune",
)
# Variables with these beginnings may be read by an import; others are read when they are needed.
_IMPORTED = ("RAY_", "HF_", "TRANSFORMERS_", "OMP_", "ATEN_", "TORCH", "CUDA", "PYTHON", "AUXTUNE_", "HOME", "TMPDIR")
# Importing Ray or torch, and a study that ran in the test's own process, set these; a command sets them by itself.
_OWN = {"RAY_CLIENT_MODE", "RAY_CHDIR_TO_TRIAL_DIR", "RAY_AIR_NEW_OUTPUT", "TORCHINDUCTOR_CACHE_DIR"}
_OWN |= {"RAY_TRAIN_COUNT_PREEMPTION_AS_FAILURE", "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO"}
Environment: TypeAlias = Mapping[str, str]
_LENGTH = 4  # bytes in front of a request that say how long it is


class Nursery:
    """The process that commands are forked from, listening on a socket in ``folder``."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.environment = environment
        self.address = folder / "nursery"
        self._process = subprocess.Popen(
            [sys.executable, __file__, "serve", str(self.address)],
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
        python = shlex.join([sys.executable, "-I", "-S", __file__, "call", str(self.address)])
        command.write_text(f'#!/bin/sh\nexec {python} "$@"\n')
        command.chmod(0o755)

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


def ask(
    address: Path, home: Path, arguments: tuple[str, ...], descriptors: list[int], environment: Environment
) -> socket.socket:
    """Have a command forked with these standard streams; what is returned says its process number, then its status."""
    channel = socket.socket(socket.AF_UNIX)
    while True:
        try:
            channel.connect(str(address))
            break
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.05)  # it still imports
    request = {"home": str(home), "arguments": arguments, "environment": dict(environment)}
    message = json.dumps(request).encode()
    socket.send_fds(channel, [len(message).to_bytes(_LENGTH, "big")], descriptors)
    channel.sendall(message)
    return channel


def read_number(channel: socket.socket) -> int:
    """A number that the nursery said. Raises ``RuntimeError`` where it has ended."""
    if len(text := channel.recv(8, socket.MSG_WAITALL)) < 8:
        raise RuntimeError("the process that commands are forked from has ended")
    return int.from_bytes(text, "big", signed=True)


def serve(listener: socket.socket) -> list[str]:
    """Fork for each request until standard input is closed. Returns in a child only: the arguments of its command."""
    children: dict[int, socket.socket] = {}
    while True:
        ready, _, _ = select.select([listener, 0], [], [], 0.02 if children else None)
        for pid in list(children):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                _, status = os.waitpid(pid, 0)
                say_number(children.pop(pid), os.waitstatus_to_exitcode(status), last=True)
        if 0 in ready:
            os._exit(0)
        if listener not in ready:
            continue
        channel, _ = listener.accept()
        size, descriptors, _, _ = socket.recv_fds(channel, _LENGTH, 3)
        request = json.loads(channel.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
        if (pid := os.fork()) == 0:
            for other in (listener, channel, *children.values()):
                other.close()
            become(request, descriptors)
            return list(request["arguments"])
        for descriptor in descriptors:
            os.close(descriptor)
        children[pid] = channel
        say_number(channel, pid)


def say_number(channel: socket.socket, number: int, last: bool = False) -> None:
    """Tell the caller, which may be gone."""
    try:
        channel.sendall(number.to_bytes(8, "big", signed=True))
    except OSError:
        last = True
    if last:
        channel.close()


def become(request: dict[str, object], descriptors: list[int]) -> None:
    """Take on the session, streams, folder and environment of a command."""
    os.setsid()
    for target, descriptor in enumerate(descriptors):
        os.dup2(descriptor, target)
        os.close(descriptor)
    # New streams, since the old ones remember what kind of file they wrote to.
    sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
    sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
    sys.stderr = os.fdopen(2, "w", 1, encoding="utf-8", errors="backslashreplace", closefd=False)
    os.chdir(str(request["home"]))
    environment = request["environment"]
    assert isinstance(environment, dict)
    os.environ.clear()
    os.environ.update(environment)


def main() -> None:
    """Be the nursery, or a caller of it."""
    what, address, *arguments = sys.argv[1:]
    if what == "call":
        channel = ask(Path(address), Path.cwd(), tuple(arguments), [0, 1, 2], os.environ)
        read_number(channel)
        sys.exit(read_number(channel))
    from importlib import import_module, invalidate_caches

    sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parent)]
    import_module("auxtune.orchestrator.engine.loop").set_ray_defaults()  # which Ray reads when it is imported
    for name in WARM:
        import_module(name)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(address)
    listener.listen(16)
    gc.collect()
    gc.freeze()  # so that no child copies objects that it only looks through
    sys.argv = ["auxtune", *serve(listener)]
    invalidate_caches()  # packages may have been installed since
    from auxtune.orchestrator.cli import main as run_command

    run_command()


if __name__ == "__main__":
    main()
