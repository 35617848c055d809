"""The studies of a storage folder, a row for each; one that cannot be read has its error in the row."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from auxtune.orchestrator.answer.cost import sum_cost
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.budget import Price, price_of
from auxtune.orchestrator.record.accounts import Accounts, count_trials, find_study_status, read_accounts
from auxtune.orchestrator.record.driver import is_alive, read_study_time
from auxtune.orchestrator.record.scores import show_value
from auxtune.orchestrator.report.blocks import Block, Paragraph, Table
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.orchestrator.views.status import describe_chosen, shorten_trial

_COLUMNS = ("study", "state", "trials", "best", "cost", "last active", "selected")


def list_study_folders(storage: StoredPath) -> list[StoredPath]:
    """The studies in ``storage``, the one that was active last first.

    Raises ``AuxtuneError`` where there is no such folder, or where it is itself a study.
    """
    if not storage.is_dir():
        raise AuxtuneError(f"{storage}: expected a folder of studies (a study file's `storage`), found none")
    if (storage / "ledger").is_dir():
        raise AuxtuneError(f"{storage}: is a study, expected the folder it lies in, {storage.resolve().parent}")
    studies = [folder for folder in storage.iterdir() if _may_be_study(folder)]
    return sorted(studies, key=lambda folder: find_last_activity(folder) or 0.0, reverse=True)


def _may_be_study(folder: StoredPath) -> bool:
    try:
        return (folder / "ledger").is_dir()
    except PermissionError:  # whether it is one, only its owner can see
        return True


def find_last_activity(folder: StoredPath) -> float | None:
    """When the study in ``folder`` last wrote to its ledger or showed life, in seconds since the epoch.

    Told by the file system, so that it is known of a damaged study too, and without reading any. ``None`` of a folder
    that may not be entered.
    """
    signs = [folder / "ledger", folder / "heartbeat.json"]
    try:
        return max((sign.stat().st_mtime for sign in signs if sign.exists()), default=None)
    except PermissionError:
        return None


def describe_study(folder: StoredPath) -> dict[str, Any]:
    """One row as JSON values. What could not be learned is ``None``, and ``error`` says why."""
    row: dict[str, Any] = {
        "study": folder.name,
        "folder": str(folder.resolve()),
        "state": "damaged",
        "trials": None,
        "best": None,
        **describe_chosen(None),
        "cost": None,
        "last_activity": find_last_activity(folder),
        "error": None,
    }
    try:
        accounts = read_accounts(folder)
        alive = is_alive(folder, accounts)
    except (AuxtuneError, OSError) as error:
        return {**row, "error": str(error)}
    selected, best = accounts.selected, accounts.best
    price, trouble = _price(accounts)
    return {
        **row,
        "state": find_study_status(accounts, alive),
        "trials": count_trials(accounts),
        "best": shorten_trial(best, accounts) if best else None,
        **describe_chosen(selected.selection if selected else None),
        "cost": asdict(sum_cost(accounts, price, read_study_time(folder) if alive else None)),
        "error": trouble,
    }


def _price(accounts: Accounts) -> tuple[Price, str | None]:
    """The last session's prices. A study file may name variables that are not set here: then money is unknown."""
    opened = accounts.sessions[-1].opened
    try:
        return price_of(parse_study(opened.study, "study.yaml", Path(), opened.overrides).options), None
    except AuxtuneError as error:
        return Price(), f"money is unknown: {error}"


def list_overview_blocks(rows: Sequence[Mapping[str, Any]]) -> Iterator[Block]:
    """A table of the studies, and below it the errors of some."""
    yield Table("", _COLUMNS, tuple(map(_list_cells, rows)), rules="none")
    yield from (Paragraph(f"{row['study']}: {row['error']}") for row in rows if row["error"])


def _list_cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    trials, best, active = row["trials"], row["best"], row["last_activity"]
    return (
        row["study"],
        row["state"],
        _count_ended(trials) if trials else "–",
        show_value(best["value"], best["search_score"]) if best else "–",
        _describe_cost(row["cost"]) if row["cost"] else "–",
        "–" if active is None else time.strftime("%Y-%m-%d %H:%M", time.localtime(active)),
        " | ".join(map(" + ".join, row["groups"] or [row["selected"]])) if row["selected"] else "–",
    )


def _count_ended(trials: Mapping[str, int]) -> str:
    """How many trials have ended of those that were proposed, and how many failed; reused ones do not count."""
    ended, failed = trials["finished"] + trials["stopped"] + trials["failed"], trials["failed"]
    return f"{ended} of {sum(trials.values()) - trials['reused']}" + (f", {failed} failed" if failed else "")


def _describe_cost(cost: Mapping[str, Any]) -> str:
    """Money where it is known, else GPU hours where there are any, else CPU hours."""
    if cost["usd"] is not None:
        return f"{cost['usd']:.2f} USD"
    return f"{cost['gpu_hours']:.2f} GPU h" if cost["gpu_hours"] else f"{cost['cpu_hours']:.2f} CPU h"
