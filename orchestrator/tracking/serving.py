"""Serves a study's store by MLflow's own server, on loopback alone, until the user stops it.

The server is a process that starts others. It gets a session of its own, so that Ctrl-C in the terminal reaches only us
and all of them are ended together: asked first, then killed. A request to stop is polled and never raised: a signal
between the start of a process and the assignment of its id would leave the process behind.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from http.client import HTTPException
from typing import IO

from auxtune.orchestrator.errors import AuxtuneError, Interrupted
from auxtune.orchestrator.tracking.store import redact_secrets

HOST, PORT = "127.0.0.1", 5000
_PATIENCE = 180.0  # seconds until a server answers; a slow disk needs many
_ENDING = 5.0  # seconds that it is given to end by itself
_TURN = 0.2  # seconds between two looks at it
# Settings of other MLflow servers that the environment may hold: another address, another path, no runs at all.
_OTHERS = (
    "MLFLOW_GUNICORN_OPTS",
    "MLFLOW_UVICORN_OPTS",
    "MLFLOW_STATIC_PREFIX",
    "MLFLOW_ARTIFACTS_ONLY",
    "MLFLOW_READ_REPLICA_BACKEND_STORE_URI",
    "MLFLOW_REGISTRY_STORE_URI",
    "MLFLOW_WORKSPACE_STORE_URI",
    "MLFLOW_SERVER_DISABLE_SECURITY_MIDDLEWARE",
    "MLFLOW_SERVER_ALLOWED_HOSTS",
    "MLFLOW_SERVER_CORS_ALLOWED_ORIGINS",
    "MLFLOW_TRACKING_URI",
)


class Server:
    """A running server; ``stopped`` says whether the user wants it to end."""

    def __init__(self, store: str, port: int, log: IO[bytes], stopped: Callable[[], bool]) -> None:
        self.address = f"http://{HOST}:{port}"
        self._store, self._log, self._stopped = store, log, stopped
        self._process = subprocess.Popen(
            [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"],
            env=_prepare_environment(store, os.environ),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )

    def wait(self) -> None:
        """Wait until it is stopped. Raises ``AuxtuneError`` where it ends by itself."""
        while self._process.poll() is None:
            if self._stopped():
                return
            time.sleep(_TURN)
        raise self._fallen(f"ended with exit code {self._process.returncode}")

    def wait_for_answer(self) -> None:
        """Wait until it answers. Raises ``AuxtuneError`` where it ends or takes too long, ``Interrupted``."""
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))  # no proxy: the server is on this machine
        end = time.monotonic() + _PATIENCE
        while self._process.poll() is None:
            if self._stopped():
                raise Interrupted("stopped before MLflow's server answered")
            if time.monotonic() > end:
                raise self._fallen(f"did not answer within {_PATIENCE:.0f} seconds")
            with suppress(OSError, HTTPException), direct.open(f"{self.address}/health", timeout=5):
                return
            time.sleep(_TURN)
        raise self._fallen(f"ended with exit code {self._process.returncode}")

    def end(self) -> None:
        """End it and what it started."""
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGTERM)
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_ENDING)
        with suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)  # processes that outlived it
        self._process.wait()

    def _fallen(self, how: str) -> AuxtuneError:
        """The error for a server that failed, with its last lines."""
        self._log.seek(0)
        lines = self._log.read().decode("utf-8", errors="replace").splitlines()[-15:]
        words = redact_secrets("\n".join(f"  {line}" for line in lines), self._store)
        return AuxtuneError(f"{self.address}: MLflow's server {how}; its last words:\n{words}")


@contextmanager
def serve_mlflow(store: str, port: int | None, stopped: Callable[[], bool]) -> Iterator[Server]:
    """A server over the tracking store at the URI ``store`` that answers while this is entered.

    At ``port``, or, for ``None``, at 5000 if that is free and else at any other. Raises ``AuxtuneError`` where the port
    is taken, and what ``Server.wait_for_answer`` raises.
    """
    with tempfile.TemporaryFile() as log:
        server = Server(store, _choose_port(port), log, stopped)
        try:
            server.wait_for_answer()
            yield server
        finally:
            server.end()


def _choose_port(wanted: int | None) -> int:
    """``wanted`` if it is free; with ``None`` the usual port, else any free one."""
    for port in (PORT, 0) if wanted is None else (wanted,):
        with socket.socket() as tried:
            tried.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will bind it
            with suppress(OSError):
                tried.bind((HOST, port))
                return int(tried.getsockname()[1])
    raise AuxtuneError(f"--port {wanted}: it is taken on {HOST}, or not ours to take; choose another, or leave it out")


def _prepare_environment(store: str, ours: Mapping[str, str]) -> dict[str, str]:
    """Our environment, for a server that only shows runs. It holds the store, because command lines are public."""
    kept = {key: value for key, value in ours.items() if key not in _OTHERS and not key.startswith("UVICORN_")}
    # Its log is ours to read, whatever this terminal writes.
    readable = {"PYTHONIOENCODING": "utf-8"}
    shows = {"MLFLOW_BACKEND_STORE_URI": store, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    return {**kept, **readable, **shows}
