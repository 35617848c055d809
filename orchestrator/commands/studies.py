"""``auxtune list``: the studies of a storage folder."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from auxtune.orchestrator.commands.place import Place
from auxtune.orchestrator.commands.saying import say
from auxtune.orchestrator.record.scores import shown_value

_COLUMNS = ("study", "state", "trials", "best", "cost", "last active", "selected")


@click.command("list", epilog="Example: auxtune list ./studies")
@click.argument("storage", default="studies", type=Place())
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead of a table.")
def command(storage: Path, as_json: bool) -> None:
    """List the studies in the folder STORAGE (default ./studies), the one that was active last first.

    A study that cannot be read is listed with its error.
    """
    from auxtune.orchestrator.views.fitting import plain_table, print_table
    from auxtune.orchestrator.views.overview import overview_of, study_folders

    rows = [overview_of(folder) for folder in study_folders(storage)]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo(f"no studies in {storage.resolve()}")
        return
    table = plain_table(*_COLUMNS)
    for row in rows:
        table.add_row(*_cells(row))
    print_table(table)
    for row in rows:
        if row["error"]:
            say(f"{row['study']}: {row['error']}")


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    trials, best, active = row["trials"], row["best"], time.localtime(row["last_activity"])
    return (
        row["study"],
        row["state"],
        _counted(trials) if trials else "–",
        shown_value(best["value"], best["search_score"]) if best else "–",
        _cost(row["cost"]) if row["cost"] else "–",
        time.strftime("%Y-%m-%d %H:%M", active),
        " | ".join(map(" + ".join, row["groups"] or [row["selected"]])) if row["selected"] else "–",
    )


def _counted(trials: dict[str, int]) -> str:
    """How many trials have ended of those that were proposed, and how many of them failed; what was reused is none."""
    ended, failed = trials["finished"] + trials["stopped"] + trials["failed"], trials["failed"]
    return f"{ended} of {sum(trials.values()) - trials['reused']}" + (f", {failed} failed" if failed else "")


def _cost(cost: dict[str, Any]) -> str:
    """Money where it is known, else the hours of what is dear."""
    if cost["usd"] is not None:
        return f"{cost['usd']:.2f} USD"
    return f"{cost['gpu_hours']:.2f} GPU h" if cost["gpu_hours"] else f"{cost['cpu_hours']:.2f} CPU h"
