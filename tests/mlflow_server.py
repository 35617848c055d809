"""A real ``mlflow server`` on loopback, and a proxy in front of it that checks credentials."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

from small_study import make_store

WITHOUT_JOBS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # eight processes that have nothing to do


class Server:
    """An ``mlflow server`` on loopback that can be stopped and started again over the same store."""

    def __init__(self, home: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self._port = probe.getsockname()[1]
        self.uri = f"http://127.0.0.1:{self._port}"
        self._home = home
        (home / "server.db").write_bytes(make_store())
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        store = ["--backend-store-uri", f"sqlite:///{self._home}/server.db", "--workers", "1"]
        files = ["--artifacts-destination", str(self._home / "artifacts")]
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        ours = {**os.environ, **WITHOUT_JOBS}
        with (self._home / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, *store, *files], cwd=self._home, env=ours, stdout=log, stderr=log, start_new_session=True
            )
        end = time.monotonic() + 120
        while True:
            try:
                with urllib.request.urlopen(f"{self.uri}/health", timeout=2):
                    return
            except OSError:
                assert time.monotonic() < end, (self._home / "server.log").read_text()
                time.sleep(0.3)

    def stop(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@contextmanager
def door(uri: str, *allowed: str) -> Iterator[str]:
    """The address of a proxy of the server at ``uri``: requests without one of these ``Authorization`` get a 401."""

    class Door(BaseHTTPRequestHandler):
        def do(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if self.headers.get("Authorization") not in allowed:
                self._answer(401, b"You are not authenticated.")
                return
            inner = http.client.HTTPConnection(urlsplit(uri).netloc, timeout=60)
            kind = {"Content-Type": given} if (given := self.headers.get("Content-Type")) else {}
            inner.request(self.command, self.path, body, kind)
            answer = inner.getresponse()
            self._answer(answer.status, answer.read())
            inner.close()

        do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = do  # noqa: N815  # names of the base class

        def _answer(self, status: int, body: bytes) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *said: object) -> None:
            """Log nothing between the lines of the tests."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Door) as proxy:
        threading.Thread(target=proxy.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{proxy.server_address[1]}"
        proxy.shutdown()
