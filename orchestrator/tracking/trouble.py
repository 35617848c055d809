"""Why MLflow could not be written to or read, in words that can be shown: they hold no name, password or token."""

from __future__ import annotations

import os
from urllib.parse import unquote, urlsplit

from mlflow.exceptions import MlflowException

from auxtune.orchestrator.tracking.links import shown

NAME, PASSWORD, TOKEN = (f"MLFLOW_TRACKING_{part}" for part in ("USERNAME", "PASSWORD", "TOKEN"))


def is_refused(error: Exception) -> bool:
    """Whether a server wants other credentials, which another try would not bring and might lock the account."""
    return isinstance(error, MlflowException) and error.get_http_status_code() == 401


def said_of(error: Exception, uri: str) -> str:
    """One line on what went wrong at the tracking URI, without what is secret in the URI and in the environment."""
    if is_refused(error):
        given = any(os.environ.get(name) for name in (NAME, PASSWORD, TOKEN)) or shown(uri) != uri.rstrip("/")
        does = "refuses these credentials" if given else "asks for credentials"
        return f"{shown(uri)} {does} (401): set {NAME} and {PASSWORD}, or {TOKEN}, in the environment"
    return redacted(f"{type(error).__name__}: {error}".splitlines()[0].rstrip(": "), uri)


def redacted(text: str, uri: str) -> str:
    """``text`` without what is secret in the tracking URI and in the environment."""
    text = text.replace(uri, shown(uri))
    for secret in _secrets(uri):
        text = text.replace(secret, "…")
    return text


def _secrets(uri: str) -> list[str]:
    """What must not be shown, as it is written and as it is meant; the longest first, which may hold another."""
    name_and_password = urlsplit(uri).netloc.rpartition("@")[0].split(":", 1)
    written = {*name_and_password, *(os.environ.get(name, "") for name in (NAME, PASSWORD, TOKEN))}
    return sorted({*written, *map(unquote, written)} - {""}, key=lambda secret: (-len(secret), secret))
