"""Memory that is really taken on this machine, until Ray's memory monitor ends a worker of a study."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from unittest.mock import patch

from small_study import Process, StudyRun

from auxtune.orchestrator.record.events import Lost

GIB = 1 << 30
SPARE = 5 * GIB  # for a study and for what else begins on this machine meanwhile


@contextmanager
def limit_memory() -> Iterator[int]:
    """While entered, a Ray that is started ends workers above this many bytes in use on the machine.

    Raises ``PermissionError`` where so much is not free.
    """
    from ray._private.utils import get_system_memory, get_used_memory

    total, used = get_system_memory(), get_used_memory()
    if total - used < 2 * SPARE:
        raise PermissionError(f"needs {2 * SPARE / GIB:.0f} GiB of free memory, found {(total - used) / GIB:.1f}")
    limit = used + SPARE
    with patch.dict(os.environ, RAY_memory_usage_threshold=str(limit / total)):
        yield limit


def take_memory(run: StudyRun, process: Process, limit: int) -> None:
    """Take memory until Ray has ended the worker of a running study; others may free some meanwhile.

    The worker is suspended, or its trial might be over before enough is taken.
    """
    from ray._private.utils import get_used_memory

    hoard = []
    run.worker().suspend()

    def is_one_lost() -> bool:
        if get_used_memory() < limit + GIB:
            hoard.append(bytearray(os.urandom(1 << 20) * 256))  # a page that was never written takes no memory
        return any(isinstance(event, Lost) for event in run.events)

    run.wait_for(is_one_lost, process)
