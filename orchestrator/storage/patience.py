"""Asking an object store: its many kinds of errors as one, and how long one that does not answer is waited for.

Stores' own clients try again for some seconds. Code that runs for hours waits longer: inside ``survive_silence`` a
question is asked again until nothing has come through for ``PATIENCE`` seconds. Elsewhere, as in a command that looks
something up or in the thread of a heartbeat, an error is raised at once.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeVar

from auxtune.orchestrator.errors import StorageError

PATIENCE = 300.0  # seconds; a variable of the environment says otherwise
PAUSE = 2.0  # seconds between questions
_VARIABLE = "AUXTUNE_STORAGE_PATIENCE"

_patient: ContextVar[bool] = ContextVar("patient", default=False)  # threads begin without
_silence: dict[str, float] = {}  # protocol -> since when (monotonic) nothing has come through
Answer = TypeVar("Answer")


@contextmanager
def survive_silence() -> Iterator[None]:
    """Inside, on this thread, a store that does not answer is waited for."""
    token = _patient.set(True)
    try:
        yield
    finally:
        _patient.reset(token)


def ask_patiently(question: Callable[[], Answer], place: str) -> Answer:
    """The answer to a ``question`` about ``place``, an object's URL.

    Raises ``FileNotFoundError`` and ``FileExistsError`` as the store's client does, ``StorageError`` for all else.
    """
    store = place.partition(":")[0]
    while True:
        try:
            answer = question()
        except (FileNotFoundError, FileExistsError):  # answers, too
            _silence.pop(store, None)
            raise
        except Exception as error:
            failure = StorageError(place, _describe_error(error), lasting=_is_lasting(error))
            if failure.lasting:
                raise failure from error
            _silence.setdefault(store, time.monotonic())
            if not _patient.get() or has_given_up(store):
                raise failure from error
            time.sleep(PAUSE)
        else:
            _silence.pop(store, None)
            return answer


def has_given_up(store: str) -> bool:
    """Whether the store of this protocol has been silent for longer than anyone waits."""
    since = _silence.get(store)
    silent = 0.0 if since is None else time.monotonic() - since
    return silent >= _read_patience()


def _read_patience() -> float:
    return float(os.environ.get(_VARIABLE) or PATIENCE)


def _is_lasting(error: Exception) -> bool:
    """Whether asking again is pointless: it is not allowed, not possible, or credentials are missing."""
    refused = isinstance(error, (PermissionError, ValueError, TypeError, ImportError))
    refused = refused or str(error).startswith("Forbidden")  # so gcsfs says it, as a plain OSError
    return refused or "Credentials" in type(error).__name__


def _describe_error(error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"{error}; `pip install 'auxtune[s3]'` or `'auxtune[gs]'`, on every node of a cluster"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
