"""``auxtune`` commands in processes that are forked from one that has already imported everything.

A process of its own spends most of its time on imports; a test of what comes afterwards need not pay for them each
time. A nursery imports once, starts no thread, and forks for each command, which has a process, session, working
folder, standard streams, signals and exit status of its own, as from a shell. Imports read the environment, so a
nursery serves one environment only.

A command has the workers and agents of its own Ray forked likewise, from a second such process, which has imported all
that they need but Ray: that is to find the environment of each. They are started as ever, by the path of Python, which
for a forked command is a script that has Ray's own scripts forked and is Python itself for all else. A Ray that a test
starts in any other way, such as a cluster's, has workers that import for themselves.

``warm_commands.py serve SOCKET`` is the nursery, which ``nursery.Nursery`` starts. With a Python that loads little,
``warm_commands.py call SOCKET ARGUMENTS`` is the command ``auxtune`` in scripts, or ``python`` if the first argument is
``-c``, and ``warm_commands.py ray SOCKET SCRIPT ARGUMENTS`` is a process of Ray's.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Mapping
from importlib import import_module, invalidate_caches
from pathlib import Path
from runpy import run_path
from types import ModuleType
from typing import TypeAlias

# Modules that nearly every worker or agent loads, without Ray; each still decides what it loads besides.
WARM_FOR_RAY = (
    "aiohttp.web",
    "auxtune.orchestrator.planning.measure_plan",
    "auxtune.selectors.kit.rounds",
    "auxtune.trials.probes.probe",
    "auxtune.trials.run",
    "auxtune.trials.training",
    "google.protobuf.json_format",
    "jsonschema",
    "msgpack",
    "pandas",
    "pyarrow.json",
    "pyarrow.parquet",
    "pydantic.v1",
    "requests",
    "rich.layout",
    "s3fs",
    "sklearn.metrics",
    "starlette.datastructures",
    "torch.profiler",
    "transformers.models.bert.modeling_bert",
    "wcwidth",
)
# Those that nearly every command loads besides, or every one that starts Ray and writes a report.
WARM = (
    "alembic.command",
    "auxtune.orchestrator.commands.report",
    "auxtune.orchestrator.commands.run",
    "auxtune.orchestrator.commands.status",
    "auxtune.orchestrator.commands.validate",
    "auxtune.orchestrator.engine.search",
    "auxtune.orchestrator.engine.trainable",
    "auxtune.orchestrator.report.study_page",
    "auxtune.orchestrator.session.ray_backend",
    "auxtune.orchestrator.session.session",
    "auxtune.orchestrator.views.screen",
    "auxtune.orchestrator.views.summary",
    "matplotlib.backends.backend_svg",
    "matplotlib.figure",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.store.tracking.sqlalchemy_workspace_store",
    "opentelemetry.exporter.prometheus",
    "ray.air.integrations.mlflow",
    "ray.dag",
    "ray.tune",
)
SET_UP = "/workers/setup_worker.py"  # Ray's script that sets a worker's variables and then starts it
_CONTEXT, _LANGUAGE = "--serialized-runtime-env-context=", "--language="  # what it is told
Environment: TypeAlias = Mapping[str, str]
_LENGTH = 4  # bytes in front of a request that say how long it is


def ask(
    address: Path,
    home: Path,
    arguments: tuple[str, ...],
    descriptors: list[int],
    environment: Environment,
    is_tied: bool = False,
) -> socket.socket:
    """Have a command forked with these standard streams; what is returned says its process number, then its status.

    One that ``is_tied`` is killed where the caller is gone.
    """
    channel = socket.socket(socket.AF_UNIX)
    while True:
        try:
            channel.connect(str(address))
            break
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.05)  # it still imports
    request = {
        "home": str(home),
        "arguments": arguments,
        "environment": dict(environment),
        "blocked": [int(number) for number in signal.pthread_sigmask(signal.SIG_BLOCK, [])],
        "is_tied": is_tied,
    }
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
    tied: dict[socket.socket, int] = {}  # those that are killed when their caller is
    while True:
        ready, _, _ = select.select([listener, 0, *tied], [], [], 0.02 if children else None)
        for channel in tied.keys() & set(ready):  # closed at the other end, since callers have nothing more to say
            os.kill(tied.pop(channel), signal.SIGKILL)
        for pid in list(children):
            if os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                _, status = os.waitpid(pid, 0)
                tied.pop(children[pid], None)
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
        if not request["is_tied"]:
            continue
        if channel.fileno() < 0:  # the caller was killed before it heard
            os.kill(pid, signal.SIGKILL)
        else:
            tied[channel] = pid


def say_number(channel: socket.socket, number: int, last: bool = False) -> None:
    """Tell the caller, which may be gone."""
    try:
        channel.sendall(number.to_bytes(8, "big", signed=True))
    except OSError:
        last = True
    if last:
        channel.close()


def become(request: dict[str, object], descriptors: list[int]) -> None:
    """Take on the session, signals, streams, folder and environment of a command."""
    os.setsid()
    blocked = request["blocked"]
    assert isinstance(blocked, list)
    signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
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


def find_second(address: Path) -> Path:
    """Where Ray's processes are asked for, beside the commands."""
    return address.with_name("second")


def listen(address: Path) -> socket.socket:
    """A socket at which forks are asked for."""
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen(16)
    return listener


def set_up(arguments: list[str]) -> list[str]:
    """Set what a worker's variables are to be; the script that is to run, and its arguments.

    Where it is to have more of its own than variables, this process becomes Ray's script.
    """
    if not arguments[0].endswith(SET_UP):
        return arguments[arguments[0] == "-u" :]  # output without a buffer: they write to files
    [context] = [json.loads(text.removeprefix(_CONTEXT)) for text in arguments if text.startswith(_CONTEXT)]
    variables: dict[str, str] = context.pop("env_vars")
    own = [name for name, value in context.items() if value and (name, value) != ("py_executable", sys.executable)]
    if own or any("$" in value for value in variables.values()):
        os.execv(sys.executable, [sys.executable, *arguments])
    os.environ.update(variables)
    return [text for text in arguments[1:] if not text.startswith((_CONTEXT, _LANGUAGE))]


def wait_for_one(listener: socket.socket) -> list[str]:
    """Serve; returns in a child only, with the arguments of its command."""
    gc.collect()
    gc.freeze()  # so that no child copies objects that it only looks through
    arguments = serve(listener)
    invalidate_caches()  # packages may have been installed since
    return arguments


def be_ray(arguments: list[str]) -> None:
    """Run a script of Ray's."""
    sys.argv = arguments
    run_path(arguments[0], run_name="__main__")


def be_command(arguments: list[str], address: Path) -> None:
    """Run ``auxtune``, or a program for ``python``, with a Python that has Ray's processes forked."""
    sys.executable = str(address.with_name("python"))
    if arguments[0] == "-c":
        sys.argv = ["-c", *arguments[2:]]
        program = sys.modules["__main__"] = ModuleType("__main__")
        exec(compile(arguments[1], "<string>", "exec"), vars(program))
        return
    sys.argv = ["auxtune", *arguments]
    from auxtune.orchestrator.cli import main as run_command

    run_command()


def be_nursery(address: Path) -> None:
    """Import what is needed in both places, then be the nursery of Ray's in one process, of commands in another."""
    sys.path[:] = [folder for folder in sys.path if folder != str(Path(__file__).parent)]
    for name in WARM_FOR_RAY:
        import_module(name)
    if os.fork() == 0:
        be_ray(wait_for_one(listen(find_second(address))))
        return
    import_module("auxtune.orchestrator.engine.loop").set_ray_defaults()  # which Ray reads when it is imported
    for name in WARM:
        import_module(name)
    be_command(wait_for_one(listen(address)), address)


def main() -> None:
    """Be the nursery, or a caller of it."""
    what, address, *arguments = sys.argv[1:]
    if what == "serve":
        be_nursery(Path(address))
        return
    if is_tied := what == "ray":
        arguments = set_up(arguments)
    channel = ask(Path(address), Path.cwd(), tuple(arguments), [0, 1, 2], os.environ, is_tied)
    read_number(channel)
    sys.exit(read_number(channel))


if __name__ == "__main__":
    main()
