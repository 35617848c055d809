"""A small Hugging Face hub on loopback: repositories with commits, behind the part of its HTTP API that readers use.

If ``HF_ENDPOINT`` names it, the real libraries talk to it. It is also the proxy for everything else, so that requests
that would leave the machine arrive here too, are refused, and are listed with the host they were meant for.
"""

from __future__ import annotations

import hashlib
import json
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import psutil

LARGE = (".safetensors", ".parquet")  # served from elsewhere, behind a redirect


@dataclass
class Repository:
    """Files by commit, and the names of commits: ``main`` is the last one. ``gated`` is the status of a refusal."""

    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    names: dict[str, str] = field(default_factory=dict)
    gated: int | None = None

    def commit(self, files: Mapping[str, bytes], tag: str | None = None) -> str:
        """Add a commit of ``files``, perhaps with a tag; its 40 digits."""
        digest = hashlib.sha256(f"{len(self.commits)} {sorted(files)}".encode()).hexdigest()[:40]
        self.commits[digest] = dict(files)
        self.names["main"] = digest
        if tag is not None:
            self.names[tag] = digest
        return digest


@dataclass(frozen=True)
class Request:
    """One request: the host it was meant for, and the process that sent it (``None`` if it has ended since)."""

    method: str
    host: str
    path: str
    process: int | None


class LoopbackHub:
    """The hub. Keys of ``repositories`` are as in its paths: ``org/model`` and ``datasets/org/rows``."""

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[Request] = []
        self.host = self.elsewhere = ""  # large files lie on another host than the hub's
        self._server: ThreadingHTTPServer | None = None

    def open(self) -> None:
        """Answer from now on."""
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"hub": self}))
        port = self._server.server_port
        self.host, self.elsewhere = f"127.0.0.1:{port}", f"localhost:{port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))
        self._thread.start()

    def close(self) -> None:
        """Stop answering; nothing listens on the port then."""
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()
            self._thread.join()
            self._server = None

    def environment(self, home: Path) -> dict[str, str]:
        """The environment in which a process uses this hub and no other, with a cache of its own in ``home``."""
        address = f"http://{self.host}"
        proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), address)
        return {
            **proxies,
            "NO_PROXY": "127.0.0.1,localhost",
            "no_proxy": "127.0.0.1,localhost",
            "HF_ENDPOINT": address,
            "HF_HOME": str(home),
            "HF_HUB_DISABLE_TELEMETRY": "1",
            "HF_UPDATE_DOWNLOAD_COUNTS": "0",
        }


class _Handler(BaseHTTPRequestHandler):
    hub: LoopbackHub
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self._answer()

    do_HEAD = do_POST = do_CONNECT = do_GET  # noqa: N815

    def log_message(self, *arguments: Any) -> None:
        """Log nothing."""

    def _answer(self) -> None:
        given = urlsplit(self.path)
        host, path = given.netloc or self.headers.get("Host", self.path), unquote(given.path)
        self.hub.requests.append(Request(self.command, host, path, self._sender()))
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.command == "CONNECT" or host not in (self.hub.host, self.hub.elsewhere):
            self._refuse(404, "Unreachable", "nothing leaves this machine")
        elif path.startswith("/elsewhere/"):
            self._send(200, self._blob(path.removeprefix("/elsewhere/")))
        elif path.startswith("/api/"):
            self._api(path.removeprefix("/api/").removeprefix("models/").split("/"), body)
        else:
            self._file(path.strip("/").split("/"))

    def _sender(self) -> int | None:
        """The process at the other end of this connection."""
        there = self.client_address[:2]
        for _ in range(50):  # processes are listed before connections: one opened in between has no process yet
            found = [link.pid for link in psutil.net_connections("tcp4") if tuple(link.laddr) == there]
            if not found or found[0] is not None:
                break
            time.sleep(0.05)
        return found[0] if found else None

    def _blob(self, digest: str) -> bytes:
        every = (files for one in self.hub.repositories.values() for files in one.commits.values())
        return next(b for files in every for b in files.values() if hashlib.sha256(b).hexdigest() == digest)

    def _file(self, steps: list[str]) -> None:
        """``[datasets/]ORG/NAME/resolve/REVISION/PATH``."""
        if "resolve" not in steps:
            return self._refuse(404, "RepoNotFound", "no such page")
        at = steps.index("resolve")
        found = self._commit("/".join(steps[:at]), steps[at + 1])
        if found is None:
            return None
        commit, files = found
        path = "/".join(steps[at + 2 :])
        if path not in files:
            return self._refuse(404, "EntryNotFound", f"{path} is not in this repository")
        content, digest = files[path], hashlib.sha256(files[path]).hexdigest()
        headers = {"X-Repo-Commit": commit, "ETag": f'"{digest}"'}
        if not path.endswith(LARGE):
            return self._send(200, content, headers)
        linked = {"X-Linked-ETag": f'"{digest}"', "X-Linked-Size": str(len(content))}
        return self._send(
            302, b"", {**headers, **linked, "Location": f"http://{self.hub.elsewhere}/elsewhere/{digest}"}
        )

    def _api(self, steps: list[str], body: bytes) -> None:
        """``[datasets/]ORG/NAME`` alone, or with ``revision/R``, ``tree/R[/FOLDER]`` or ``paths-info/R``."""
        size = 3 if steps[0] == "datasets" else 2
        name, (verb, revision, *folder) = "/".join(steps[:size]), steps[size:] or ["revision", "main"]
        found = self._commit(name, revision)
        if found is None:
            return None
        commit, files = found
        if verb == "revision":
            siblings = [{"rfilename": path} for path in files]
            return self._json({"id": name.removeprefix("datasets/"), "sha": commit, "siblings": siblings, "tags": []})
        if verb == "paths-info":
            asked = json.loads(body)["paths"]
            return self._json([entry for entry in _entries(files) if entry["path"] in asked])
        inside = "".join(f"{step}/" for step in folder)
        below = [entry for entry in _entries(files) if entry["path"].startswith(inside)]
        if "recursive=true" not in self.path.lower():
            below = [entry for entry in below if "/" not in entry["path"].removeprefix(inside)]
        if inside and not below:
            return self._refuse(404, "EntryNotFound", f"{inside} is not in this repository")
        return self._json(below)

    def _commit(self, name: str, revision: str) -> tuple[str, dict[str, bytes]] | None:
        """The commit of ``revision`` in the repository ``name``; ``None`` after a refusal."""
        repository = self.hub.repositories.get(name)
        if repository is None:
            return self._refuse(401, "RepoNotFound", "Repository not found")
        if repository.gated is not None:
            return self._refuse(repository.gated, "GatedRepo", f"Access to {name} is restricted")
        commit = repository.names.get(revision, revision)
        if commit not in repository.commits:
            return self._refuse(404, "RevisionNotFound", f"Invalid rev id: {revision}")
        return commit, repository.commits[commit]

    def _refuse(self, status: int, code: str, message: str) -> None:
        self._send(status, message.encode(), {"X-Error-Code": code, "X-Error-Message": message})

    def _json(self, value: Any) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _send(self, status: int, content: bytes, headers: Mapping[str, str] = {}) -> None:  # only read
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(content)


def _entries(files: Mapping[str, bytes]) -> list[dict[str, Any]]:
    """Files and folders as the hub lists them."""
    folders = {str(parent) for path in files for parent in Path(path).parents if str(parent) != "."}
    listed: list[dict[str, Any]] = [{"type": "directory", "path": path, "oid": "0" * 40, "size": 0} for path in folders]
    for path, content in files.items():
        oid = hashlib.sha256(content).hexdigest()[:40]
        listed.append({"type": "file", "path": path, "oid": oid, "size": len(content)})
    return sorted(listed, key=lambda entry: str(entry["path"]))
