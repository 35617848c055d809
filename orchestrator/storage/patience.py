"""Asking an object store: its many kinds of errors as one, and how long one that does not answer is waited for.

Stores' own clients try again for some seconds. What goes on for hours waits longer: inside ``patient`` a question is
asked again until nothing has come through for ``PATIENCE`` seconds. Elsewhere, as in a command that looks something up
or in the thread of a heartbeat, an error is one at once.
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
def patient() -> Iterator[None]:
    """Inside, on this thread, a store that does not answer is waited for."""
    token = _patient.set(True)
    try:
        yield
    finally:
        _patient.reset(token)


def patiently(question: Callable[[], Answer], place: str) -> Answer:
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
            failure = StorageError(place, _reason(error), lasting=_lasting(error))
            if failure.lasting:
                raise failure from error
            _silence.setdefault(store, time.monotonic())
            if not _patient.get() or gave_up(store):
                raise failure from error
            time.sleep(PAUSE)
        else:
            _silence.pop(store, None)
            return answer


def silent_for(store: str) -> float:
    """For how many seconds nothing has come through from the store of this protocol; 0 if the last question did."""
    since = _silence.get(store)
    return 0.0 if since is None else time.monotonic() - since


def gave_up(store: str) -> bool:
    """Whether the store has been silent for longer than anybody waits."""
    return silent_for(store) >= _patience()


def _patience() -> float:
    return float(os.environ.get(_VARIABLE) or PATIENCE)


def _lasting(error: Exception) -> bool:
    """Whether asking again is pointless: it is not allowed, not possible, or nobody said who asks."""
    refused = isinstance(error, (PermissionError, ValueError, TypeError, ImportError))
    refused = refused or str(error).startswith("Forbidden")  # so gcsfs says it, as a plain OSError
    return refused or "Credentials" in type(error).__name__


def _reason(error: Exception) -> str:
    if isinstance(error, ImportError):
        return f"{error}; `pip install 'auxtune[s3]'` or `'auxtune[gs]'`, on every node of a cluster"
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0]}" if text else type(error).__name__
