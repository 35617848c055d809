"""Faults of an object store: drivers killed over one, listings that take long, throttling, credentials that expire."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from unittest.mock import patch

from faults.drivers import check_verified, kill_after, kill_driver
from faults.rows import Census, Count, Fault, Ground, wait_or_end
from object_store import BUCKET, s3_server, stored_study
from small_study import StudyRun
from storage_proxy import StorageProxy, storage_proxy

Trouble = Callable[[StorageProxy], None]
IMPATIENCE = {"AUXTUNE_STORAGE_PATIENCE": "5", "AWS_MAX_ATTEMPTS": "1"}  # seconds; else each question takes minutes


@contextmanager
def open_store(ground: Ground) -> Iterator[tuple[Ground, StorageProxy]]:
    """A store of its own for studies, and the proxy that their commands reach it through; tests ask it directly."""
    with s3_server() as server, storage_proxy(server.port) as proxy:

        def make_run(home: Path) -> StudyRun:
            return stored_study(home, f"s3://{BUCKET}/{home.name}", proxy.endpoint)

        yield replace(ground, make_run=make_run), proxy


def kill_over_store(ground: Ground, times: int) -> Count:
    """SIGKILL at random instants, with the storage in an object store."""
    with open_store(ground) as (stored, _):
        return kill_driver(stored, times)


def disturb_store(ground: Ground, times: int, start: Trouble, trouble: str) -> Count:
    """A store in trouble from beginning to end: the study is killed once over it, and resumed to the same answer."""
    total = Count()
    with open_store(ground) as (stored, proxy):
        start(proxy)
        for _ in range(times):
            proxy.came.clear()
            run = stored.make_study()
            census = Census(run)
            process = run.start()
            run.wait_for(run.trains, process)
            kill_after(process, float(stored.rng.uniform(0, 5)))
            census.note()
            run.finish("resume", str(run.folder))
            census.close(total, ground.whole)
            check_verified(run, total)
            attempts = [len(trial.attempts) for trial in run.accounts.trials.values()]
            total.require(sum(attempts) <= len(attempts) + 1, f"more attempts than the kill cost: {attempts}")
            total.require(proxy.came[trouble] > 0, "no request met the trouble")
            total.end("killed over it and resumed to the same answer")
    return total


def refuse_requests(ground: Ground, times: int, start: Trouble, reason: str) -> Count:
    """A store that refuses everything from an instant of training on, until the session has ended for it."""
    total = Count()
    for _ in range(times):
        with open_store(ground) as (stored, proxy), patch.dict(os.environ, IMPATIENCE):
            run = stored.make_study()
            census = Census(run)
            process = run.start()
            run.wait_for(run.trains, process)
            wait_or_end(process, float(stored.rng.uniform(0, 4)))
            start(proxy)
            out, err = process.communicate(timeout=300)
            census.note()
            total.require_exit(process, out + err, 2)
            total.require_no_traceback(out + err)
            said = f"the object store cannot be used: .*({reason}).*give the command again"
            total.require(re.search(said, err) is not None, f"not said: {err[-600:]}")
            proxy.is_expired, proxy.busy_share = False, 0.0
            run.finish("resume", str(run.folder))
            census.close(total, ground.whole)
            check_verified(run, total)
            failed = [trial.id for trial in run.accounts.trials.values() if trial.status == "failed"]
            total.require(not failed, f"charged to trials {failed}")
        total.end("exit 2 with one line that says it, resumed to the same answer")
    return total


def _list_slowly(proxy: StorageProxy) -> None:
    proxy.listing_seconds = 1.0


def _be_busy(proxy: StorageProxy) -> None:
    proxy.busy_share = 0.2


def _lose_replies(proxy: StorageProxy) -> None:
    proxy.lost_share = 0.1


def _be_too_busy(proxy: StorageProxy) -> None:
    proxy.busy_share = 1.0


def _expire(proxy: StorageProxy) -> None:
    proxy.is_expired = True


DISTURBED = "nothing lost, nothing doubled"
PAUSED = "ends with one line, nothing lost, resumable"
FAULTS = (
    Fault("store-kill", "the same over an object store", DISTURBED, kill_over_store, 6),
    Fault(
        "store-slow",
        "each listing of an object store takes a second",
        DISTURBED,
        partial(disturb_store, start=_list_slowly, trouble="slow"),
        2,
    ),
    Fault(
        "store-busy",
        "an object store that answers a fifth of requests with 503 SlowDown",
        DISTURBED,
        partial(disturb_store, start=_be_busy, trouble="SlowDown"),
        2,
    ),
    Fault(
        "store-replies",
        "a tenth of the replies of an object store lost, after the work was done",
        DISTURBED,
        partial(disturb_store, start=_lose_replies, trouble="lost"),
        2,
    ),
    Fault(
        "store-closed",
        "an object store that answers only 503 SlowDown, for longer than it is waited for",
        PAUSED,
        partial(refuse_requests, start=_be_too_busy, reason="reduce your request rate|Service Unavailable"),
        2,
    ),
    Fault(
        "store-expired",
        "credentials of an object store that expire while trials train",
        PAUSED,
        partial(refuse_requests, start=_expire, reason="PermissionError: Forbidden|token has expired"),
        2,
    ),
)
