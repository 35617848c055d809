"""A proxy on loopback in front of an S3 server: listings that take long, 503 and 403, and replies that are lost."""

from __future__ import annotations

import http.client
import random
import socket
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

# Statuses and bodies as Amazon's service sends them; the reply to a HEAD has no body.
REFUSALS = {
    "SlowDown": (503, "Please reduce your request rate."),
    "ExpiredToken": (403, "The provided token has expired."),
}
HOP_BY_HOP = ("connection", "content-length", "date", "keep-alive", "server", "transfer-encoding")


@dataclass
class StorageProxy:
    """What is wrong with the store at the moment; all may be changed while requests come in."""

    server_port: int
    listing_seconds: float = 0.0
    """So long a listing takes."""
    busy_share: float = 0.0
    """This share of requests is answered with SlowDown."""
    lost_share: float = 0.0
    """This share is carried out, and its reply is lost with the connection."""
    is_expired: bool = False
    """Whether the credentials count as expired."""
    port: int = 0
    came: Counter[str] = field(default_factory=Counter)
    """Trouble -> how many requests met it."""
    _rng: random.Random = field(default_factory=lambda: random.Random(0))

    @property
    def endpoint(self) -> str:
        """Where clients find it."""
        return f"http://127.0.0.1:{self.port}"

    def refuse(self) -> str | None:
        """The code of the error that the next request is answered with, if it is."""
        if self.is_expired:
            return self._count("ExpiredToken")
        if self._rng.random() < self.busy_share:
            return self._count("SlowDown")
        return None

    def delay(self, method: str, path: str) -> None:
        """Take as long as a request takes."""
        if self.listing_seconds and method == "GET" and "list-type" in parse_qs(urlsplit(path).query):
            self._count("slow")
            time.sleep(self.listing_seconds)

    def loses_reply(self) -> bool:
        """Whether the reply of the next request is lost."""
        return self._rng.random() < self.lost_share and bool(self._count("lost"))

    def _count(self, trouble: str) -> str:
        self.came[trouble] += 1
        return trouble


@contextmanager
def storage_proxy(server_port: int) -> Iterator[StorageProxy]:
    """A proxy of the S3 server on a port of loopback, at first without any trouble."""
    proxy = StorageProxy(server_port)
    with _Server(("127.0.0.1", 0), _make_handler(proxy)) as http_server:
        proxy.port = http_server.server_port
        threading.Thread(target=http_server.serve_forever, daemon=True).start()
        try:
            yield proxy
        finally:
            http_server.shutdown()


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    block_on_close = False  # clients keep their connections

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that were killed while they waited."""
        if not isinstance(sys.exc_info()[1], ConnectionError):
            super().handle_error(request, client_address)


def _make_handler(proxy: StorageProxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def pass_on(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            if (code := proxy.refuse()) is not None:
                self._refuse(code)
                return
            proxy.delay(self.command, self.path)
            inner = http.client.HTTPConnection("127.0.0.1", proxy.server_port, timeout=60)
            try:
                inner.request(self.command, self.path, body, dict(self.headers))
                reply = inner.getresponse()
                content = reply.read()
            except OSError:  # the server itself is away
                self._hang_up()
                return
            finally:
                inner.close()
            if proxy.loses_reply():
                self._hang_up()
                return
            self._reply(reply.status, dict(reply.getheaders()), content)

        do_GET = do_HEAD = do_PUT = do_POST = do_DELETE = pass_on  # noqa: N815  # names of the base class

        def _refuse(self, code: str) -> None:
            status, message = REFUSALS[code]
            text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{message}</Message></Error>'
            content = b"" if self.command == "HEAD" else text.encode()
            self._reply(status, {"Content-Type": "application/xml"}, content)

        def _reply(self, status: int, headers: dict[str, Any], content: bytes) -> None:
            self.send_response_only(status)
            for name, value in headers.items():
                if name.lower() not in HOP_BY_HOP:
                    self.send_header(name, value)
            lengths = {name.lower(): value for name, value in headers.items()}
            of_head = lengths.get("content-length", "0")  # of a body that is not sent
            self.send_header("Content-Length", of_head if self.command == "HEAD" else str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def _hang_up(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *said: object) -> None:
            """Log nothing between the lines of the tests."""

    return Handler
