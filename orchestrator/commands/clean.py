"""``auxtune clean``: delete what a study no longer needs."""

from __future__ import annotations

import json
import os
import uuid
from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from auxtune.orchestrator.commands.place import StudyPlace
from auxtune.orchestrator.storage.protocol import StoredPath

if TYPE_CHECKING:
    from auxtune.orchestrator.record.leftovers import Leftover

_MEGABYTE = 1e6


@click.command("clean", epilog="Example: auxtune clean studies/quickstart")
@click.argument("study_dir", type=StudyPlace())
@click.option("--yes", is_flag=True, help="Delete without asking.")
@click.option("--json", "as_json", is_flag=True, help="Print one object with every path; deletes only with --yes.")
def command(study_dir: StoredPath, yes: bool, as_json: bool) -> None:
    """Show what the study in the folder STUDY_DIR no longer needs, with sizes, and delete it once that is confirmed.

    That is Ray's scratch, checkpoints of trials that have ended, attempts that do not count (not their results and
    logs), and evidence that no study of the storage names any more. The study can still be resumed, extended, verified
    and answered. What is behind a link is left alone. The exit code is 4 while the study is running.
    """
    from auxtune.orchestrator.record.accounts import read_accounts
    from auxtune.orchestrator.record.driver import CLEANING, Heartbeat
    from auxtune.orchestrator.record.leftovers import delete, list_leftovers

    folder = study_dir.resolve()
    read_accounts(folder)  # a heartbeat is written into a study's folder only
    # The heartbeat keeps drivers away while the question waits for its answer, so what is shown is what is deleted.
    with Heartbeat(folder, f"{CLEANING}{uuid.uuid4().hex[:12]}"):
        found = list_leftovers(folder, read_accounts(folder))
        if not as_json:
            _show_leftovers(folder, found)
        deleting = bool(found) and (yes or (not as_json and _ask_to_delete()))
        # While the question waited, another study of the storage may have begun to use evidence that no study used.
        still = {each.path for each in list_leftovers(folder, read_accounts(folder))} if deleting else set()
        for leftover in found:
            if leftover.path in still:
                delete(leftover)
    if as_json:
        paths = [{"path": str(each.path), "kind": each.kind, "bytes": each.size} for each in found]
        total = sum(each.size for each in found)
        click.echo(json.dumps({"study": folder.name, "deleted": deleting, "bytes": total, "paths": paths}, indent=2))
    elif found:
        click.echo("deleted" if deleting else "nothing was deleted")


def _ask_to_delete() -> bool:
    from auxtune.orchestrator.errors import AuxtuneError

    try:
        return click.confirm("Delete all this?")
    except click.Abort as error:
        raise AuxtuneError("not confirmed, so nothing was deleted; --yes deletes without asking") from error


def _show_leftovers(folder: StoredPath, found: Sequence[Leftover]) -> None:
    """A line per kind, and where to find them."""
    if not found:
        click.echo(f"{folder.name}: nothing to delete")
        return
    for kind in dict.fromkeys(each.kind for each in found):
        of_kind = [each for each in found if each.kind == kind]
        first, others = os.path.relpath(str(of_kind[0].path), str(folder)), len(of_kind) - 1
        where = f"{first} and {others} more" if others else f"{first}"
        click.echo(f"{kind:19}  {sum(each.size for each in of_kind) / _MEGABYTE:10.1f} MB  {where}")
    click.echo(f"{'in all':19}  {sum(each.size for each in found) / _MEGABYTE:10.1f} MB  in {folder}")
