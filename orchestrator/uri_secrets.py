"""The secret parts of URIs: where they are, so that they are refused in files and never shown.

A secret is a password or a token before the ``@`` of a URI, and the value of a parameter whose name sounds like one
(``?token=…``, ``&password=…``). A user's name alone is one only where it is asked of a web server, which takes tokens
there; a database takes names. ``${VARIABLE}`` in the place of a secret is how it should be written.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from urllib.parse import unquote

_URI = re.compile(r"(?P<scheme>[A-Za-z][A-Za-z0-9+.-]*)://(?P<rest>[^\s'\"<>]*)")
_VARIABLE = re.compile(r"\$\{[A-Za-z_]\w*\}", re.ASCII)
_PARAMETER = re.compile(r"[?&;#](?P<name>[^=&;#?]+)=(?P<value>[^&;#]*)")
_SECRET_WORDS = (
    "token",
    "password",
    "passwd",
    "secret",
    "apikey",
    "accesskey",
    "signature",
    "credential",
    "authorization",
)
_SECRET_NAMES = ("key", "pwd", "pass", "pw", "sig", "auth", "sas")  # as whole names: `keyword` is none
_WEB = ("http", "https")
_HIDDEN = "…"


def has_literal_secret(text: str) -> bool:
    """Whether a URI in ``text`` holds a secret as it is, and not as ``${VARIABLE}``.

    >>> [has_literal_secret(f"http://{part}") for part in ("t0k@h", "${T}@h", "u:p@h", "h/?token=1", "h/?page=1")]
    [True, False, True, True, False]
    """
    return any(not _VARIABLE.fullmatch(secret) for _, secret in _find_secrets(text))


def list_secrets(text: str) -> list[str]:
    """The secrets of the URIs in ``text``, as written and unquoted; the longest first, because it may hold another."""
    written = {secret for _, secret in _find_secrets(text)}
    return sorted({*written, *map(unquote, written)} - {""}, key=lambda secret: (-len(secret), secret))


def hide_secrets(text: str) -> str:
    """``text`` as it may be shown: nothing before the ``@`` of a URI, and no secret parameter.

    >>> hide_secrets("https://me:se@c/r#et@host/path"), hide_secrets("http://h:5000/?token=t0k&a=1")
    ('https://…@host/path', 'http://h:5000/?token=…&a=1')
    """
    text = re.sub(r"//.*@", f"//{_HIDDEN}@", text)  # a password may hold any sign, also a space
    for start, secret in sorted(_find_secrets(text), reverse=True):
        if secret != _HIDDEN:
            text = text[:start] + _HIDDEN + text[start + len(secret) :]
    return text


def _find_secrets(text: str) -> Iterator[tuple[int, str]]:
    """Where in ``text`` a secret begins, and the secret."""
    for uri in _URI.finditer(text):
        begin, rest = uri.start("rest"), uri["rest"]
        user_info, at, _ = rest.rpartition("@")  # a password may hold any sign, a host no @
        end = len(user_info) + len(at)
        if at:
            name, colon, password = user_info.partition(":")
            if colon:
                yield begin + len(name) + 1, password
            if name and (not colon or not password) and uri["scheme"].lower() in _WEB:
                yield begin, name
        for parameter in _PARAMETER.finditer(rest, end):
            if parameter["value"] and _sounds_secret(parameter["name"]):
                yield begin + parameter.start("value"), parameter["value"]


def _sounds_secret(name: str) -> bool:
    """Whether a parameter of this name holds a secret: `api_key`, `X-Amz-Signature`, `sslpassword`."""
    plain = re.sub(r"[^a-z]", "", unquote(name).lower())
    return plain in _SECRET_NAMES or any(word in plain for word in _SECRET_WORDS)
