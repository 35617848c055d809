"""Finds requests beyond this machine: a proxy that refuses everything, and an ear in every Python process.

The proxy hears the HTTP requests of all code that heeds ``HTTP_PROXY``. The ear is an audit hook, which no library can
bypass in Python: it notes every connection and every name that is looked up, including those that use no proxy.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path
from threading import Thread

# Variables that say that tests run here, which make MLflow silent by itself, and those that forbid requests.
_TELLTALES = ("CI", "GITHUB_ACTIONS", "GITLAB_CI", "JENKINS_URL", "TRAVIS", "CIRCLECI", "TF_BUILD", "TEAMCITY_VERSION")
_SETTINGS = ("PYTEST_", "HF_", "MLFLOW_", "RAY_USAGE", "DO_NOT_TRACK", "TRANSFORMERS_OFFLINE", "DISABLE_TELEMETRY")
_EAR = """
import json, os, sys

def note(event, asked):
    line = json.dumps([event, os.getpid(), sys.orig_argv, asked], default=repr)
    file = os.open(os.environ["OUTSIDE_WORLD"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(file, f"{line}\\n".encode())
    os.close(file)

def hear(event, arguments):
    if event in ("socket.connect", "socket.sendto"):
        note(event, arguments[1])
    elif event in ("socket.getaddrinfo", "socket.gethostbyname"):
        note(event, [arguments[0]])

note("begin", None)
sys.addaudithook(hear)
"""


@dataclass
class OutsideWorld:
    """``environment`` is for the processes to listen to; ``asked`` holds the requests that the proxy received."""

    environment: dict[str, str]
    heard: Path
    asked: list[str] = field(default_factory=list)

    def heard_of(self, program: str) -> bool:
        """Whether a process with this in its command line was listened to."""
        return any(program in " ".join(who) for event, _, who, _ in self._notes() if event == "begin")

    def strangers(self) -> list[str]:
        """Every address and name beyond this machine that was asked for, with the process that asked."""
        return [f"{event} {asked} by {' '.join(who)}" for event, _, who, asked in self._notes() if not is_here(asked)]

    def _notes(self) -> list[tuple[str, int, list[str], object]]:
        lines = self.heard.read_text().splitlines() if self.heard.exists() else []
        return [tuple(json.loads(line)) for line in lines]


@contextmanager
def outside_world(home: Path) -> Iterator[OutsideWorld]:
    """A proxy that answers while this is entered; its files are in ``home``."""
    (home / "ear").mkdir(parents=True)
    (home / "ear" / "sitecustomize.py").write_text(_EAR)
    world = OutsideWorld({}, home / "heard.jsonl")
    proxy = ThreadingHTTPServer(("127.0.0.1", 0), _refusing(world.asked))
    kept = {key: value for key, value in os.environ.items() if not key.startswith(_SETTINGS) and key not in _TELLTALES}
    address, here = f"http://127.0.0.1:{proxy.server_port}", "localhost,127.0.0.1,::1"
    proxies = {name: address for way in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY") for name in (way, way.lower())}
    world.environment = {
        **kept,
        **proxies,
        "NO_PROXY": here,
        "no_proxy": here,
        "RAY_AUTH_MODE": "disabled",
        "PYTHONPATH": str(home / "ear"),
        "OUTSIDE_WORLD": str(world.heard),
        "HF_HOME": str(home / "hf"),
    }
    Thread(target=proxy.serve_forever, daemon=True).start()
    try:
        yield world
    finally:
        proxy.shutdown()
        proxy.server_close()


def _refusing(asked: list[str]) -> type[BaseHTTPRequestHandler]:
    class Refusing(BaseHTTPRequestHandler):
        def refuse(self) -> None:
            asked.append(f"{self.command} {self.path}")
            self.send_error(403)

        do_CONNECT = do_GET = do_HEAD = do_POST = refuse  # noqa: N815  # names of the base class
        do_PUT = do_DELETE = do_OPTIONS = do_PATCH = refuse  # noqa: N815

        def log_message(self, *said: object) -> None:
            """Log nothing: requests are in the list."""

    return Refusing


def is_here(asked: object) -> bool:
    """Whether an address is a file, a loopback address, or another of this machine's own, which we may bind to."""
    if not isinstance(asked, list):  # nothing, or the path of a socket's file
        return asked is None or str(asked).startswith(("/", "\x00", "b'"))
    host = asked[0]
    if host in (None, "", "localhost", socket.gethostname()):
        return True
    try:
        address = ip_address(str(host))
    except ValueError:
        return False
    with socket.socket(socket.AF_INET6 if address.version == 6 else socket.AF_INET, socket.SOCK_DGRAM) as tried:
        try:
            tried.bind((str(address), 0))
        except OSError:
            return address.is_loopback
    return True
