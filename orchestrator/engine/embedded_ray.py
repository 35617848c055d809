"""A Ray of our own on this machine, for as long as a study needs it, and for no one else.

Ray runs the code of whoever reaches its ports, and it listens at all addresses of the machine. So it asks for a token,
whatever ``RAY_AUTH_MODE`` says in the user's shell: one for this Ray alone, in a file and a folder that only this user
can read, and none in their home folder. Its other files are in such a folder too: in its own, which is open to all,
another user could take the place of its sockets. A Ray that is joined by its address has its own rules.
"""

from __future__ import annotations

import logging
import os
import secrets
import stat
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory, gettempdir
from typing import Any

from auxtune.orchestrator.engine.loop import set_ray_defaults
from auxtune.orchestrator.engine.parent_death import tie_agents
from auxtune.orchestrator.errors import ClusterError, explain_os_error
from auxtune.orchestrator.planning.slots import Machines

# Of the 103 bytes that the path of a socket may have (104 with its end, on macOS), those before a name such as
# /session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1
_LONGEST_FOLDER = 103 - 68
# What a worker loads as it starts, and not when its first trial comes.
PRELOADED = ("auxtune.orchestrator.engine.trainable", "transformers.models.bert.modeling_bert")
_TRIES = 2  # Ray gives itself half a minute to start, which a busy machine may exceed once


class EmbeddedRay:
    """A Ray of our own on this machine, until it is closed.

    ``begin`` has it start beside other work, and with it the import of what its workers will need; ``running`` is the
    context in which it is used.
    """

    def __init__(self, machine: Machines) -> None:
        self._machine = machine
        self._stack = ExitStack()
        self._started: Future[ThreadPoolExecutor] | None = None

    def begin(self, workers: int = 1) -> None:
        """Start Ray, unless that was begun, with so many ``workers``. Does not wait for it."""
        if self._started is not None:
            return
        set_ray_defaults()
        # It imports Ray: here and not on a thread, because this one goes on to import other large libraries.
        self._stack.enter_context(require_token())
        starter = self._stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="ray-start"))
        self._started = starter.submit(_start_on_thread, partial(_start_ray, self._machine), workers)
        self._stack.callback(_end_ray, self._started)

    @contextmanager
    def running(self) -> Iterator[None]:
        """Ray, for as long as the context lasts. Raises ``ClusterError`` where it does not start, tried twice."""
        try:
            self.begin()
            assert self._started is not None
            self._started.result()
            with inherit_environment():
                yield
        finally:
            self.close()

    def close(self) -> None:
        """End Ray, if it was begun."""
        self._stack.close()


def _start_ray(machine: Machines) -> None:
    """Start Ray, even where some other one runs or has left its traces."""
    import ray

    [node] = machine.nodes
    ray.init(
        address="local",
        num_cpus=int(node.has["CPU"]),
        num_gpus=int(node.has["GPU"]),
        include_dashboard=False,
        log_to_driver=False,
        logging_level=logging.ERROR,
        _temp_dir=str(locate_ray_folder()),
        _system_config={"preload_python_modules": list(PRELOADED)},
    )


def _end_ray(started: Future[ThreadPoolExecutor]) -> None:
    """End Ray once it has started; where it has not, nothing is left of it."""
    import ray

    if started.exception() is None:
        ray.shutdown()
        started.result().shutdown()


@contextmanager
def inherit_environment() -> Iterator[None]:
    """While entered, Tune asks for no environment of its own for its workers: they have this process's already.

    If it did, Ray would leave the workers that are prepared unused, and start others by way of one more process each.
    """
    from ray.tune.execution import class_cache

    real = class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE
    class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = {}, set()
    try:
        yield
    finally:
        class_cache.DEFAULT_ENV_VARS, class_cache.ENV_VARS_TO_PROPAGATE = real


@contextmanager
def require_token() -> Iterator[None]:
    """While entered, a Ray that this process starts asks for a new token, and this process and its children have it."""
    with TemporaryDirectory(prefix="token-", dir=_find_private_folder()) as folder:  # of mode 700
        path = Path(folder, "token")
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(secrets.token_hex(32))
        required = {
            "RAY_AUTH_MODE": "token",
            "RAY_AUTH_TOKEN_PATH": str(path),
            "RAY_AUTH_TOKEN": None,  # it would go first
            "RAY_ENABLE_K8S_TOKEN_AUTH": None,  # then a cluster's own server would judge tokens
        }
        previous = {name: os.environ.get(name) for name in required}
        try:
            _set_authentication(required)
            yield
        finally:
            _set_authentication(previous)


def _set_authentication(variables: Mapping[str, str | None]) -> None:
    """Set variables, or unset them, and have Ray's core read them again, which has read them when it was imported."""
    from ray import _raylet

    core: Any = _raylet  # not described to type checkers
    for name, value in variables.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value
    core.Config.initialize("")
    core.AuthenticationTokenLoader.instance().reset_cache()


def locate_ray_folder() -> Path:
    """Where Ray keeps its logs, sockets and what does not fit into memory, in a folder for each of its sessions."""
    private = _find_private_folder()
    return private / "ray" if private else Path(os.environ.get("RAY_TMPDIR") or gettempdir(), "ray")


def _find_private_folder() -> Path | None:
    """A folder that no other user can enter, in which Ray's sockets have paths that the system takes.

    Ray lets everyone write to a folder of its own, so that is one inside. Where ``RAY_TMPDIR`` or ``TMPDIR`` says, if
    that is short enough; a job's may be of any length. ``None`` where there is none; then Ray decides.
    """
    for parent in (os.environ.get("RAY_TMPDIR") or gettempdir(), "/tmp", "/var/tmp", "/dev/shm", str(Path.home())):
        folder = Path(parent, f"auxtune-{os.getuid()}")
        if len(os.fsencode(folder / "ray")) > _LONGEST_FOLDER:
            continue
        with suppress(OSError):
            folder.mkdir(mode=0o700, exist_ok=True)
            found = folder.lstat()
            if stat.S_ISDIR(found.st_mode) and found.st_uid == os.getuid():  # else another user was faster
                folder.chmod(0o700)
                if os.access(folder, os.W_OK):
                    return folder
    return None


def _start_on_thread(start: Callable[[], object], workers: int) -> ThreadPoolExecutor:
    """Start Ray on a thread that lives as long as Ray, whose processes die with the thread that started them.

    On the main one Ray would take SIGTERM for itself and exit without a word to the ledger. Raises ``ClusterError``.
    """
    import ray

    for left in reversed(range(_TRIES)):
        thread = ThreadPoolExecutor(1, thread_name_prefix="ray")
        try:
            with _suppress_needless_processes(), _start_workers(workers), tie_agents():
                thread.submit(start).result()
            return thread
        except BaseException as error:
            ray.shutdown()
            thread.shutdown()  # and with it those of Ray's processes that have started
            if not isinstance(error, Exception) or (isinstance(error, OSError) and explain_os_error(error)):
                raise
            if not left:
                raise ClusterError(_explain_start(error)) from error
    raise AssertionError("the last try returns or raises")


def _explain_start(error: Exception) -> str:
    said = str(error).strip().partition("\n")[0].rstrip(".") or type(error).__name__
    logs = locate_ray_folder() / "session_latest" / "logs"
    return (
        f"Ray did not start on this machine, tried {_TRIES} times: {said}. On a machine that is too busy or short of "
        f"memory give the command again when it is less so; else see Ray's logs in {logs}"
    )


@contextmanager
def _start_workers(count: int) -> Iterator[None]:
    """While entered, a Ray that is started begins with ``count`` workers, and not with one for each CPU.

    Each has 0.4 GB once it has loaded what trials need. Ray has no setting for their number.
    """
    from ray._private import services

    inner: Any = services
    real, option = inner.start_ray_process, "--num_prestart_python_workers="

    def start(command: list[str], *arguments: Any, **named: Any) -> Any:
        asked = [f"{option}{count}" if part.startswith(option) else part for part in command]
        return real(asked, *arguments, **named)

    inner.start_ray_process = start
    try:
        yield
    finally:
        inner.start_ray_process = real


@contextmanager
def _suppress_needless_processes() -> Iterator[None]:
    """While entered, Ray starts neither its "API server" nor what adds nodes to a cluster nor what reads workers' logs.

    Without a dashboard the first is there for reports of Ray's use alone, and even where these are off it asks the
    metadata addresses of three clouds which of them this machine is in. No nodes are added here, and no worker's lines
    are shown; the two processes would import Ray just while this one starts. Ray has no settings for these.
    """
    from ray._private import services
    from ray._private.node import Node

    real = services.start_api_server, Node.start_monitor, Node.start_log_monitor
    inner: Any = Node
    # What the real one returns where no such process can be started.
    services.start_api_server = lambda *_, **__: (None, None)
    inner.start_monitor = inner.start_log_monitor = lambda self: None
    try:
        yield
    finally:
        services.start_api_server, inner.start_monitor, inner.start_log_monitor = real
