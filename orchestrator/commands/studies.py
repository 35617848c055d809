"""``auxtune list``: the studies of a storage folder."""

from __future__ import annotations

import json

import click

from auxtune.orchestrator.commands.place import Place
from auxtune.orchestrator.storage.protocol import StoredPath


@click.command("list", epilog="Example: auxtune list ./studies")
@click.argument("storage", default="studies", type=Place())
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects instead of a table.")
def command(storage: StoredPath, as_json: bool) -> None:
    """List the studies in the folder STORAGE (default ./studies), the one that was active last first.

    A study that cannot be read is listed with its error.
    """
    from auxtune.orchestrator.views.overview import overview_blocks, overview_of, study_folders
    from auxtune.orchestrator.views.terminal import print_blocks

    rows = [overview_of(folder) for folder in study_folders(storage)]
    if as_json:
        click.echo(json.dumps(rows, indent=2, ensure_ascii=False))
        return
    if not rows:
        click.echo(f"no studies in {storage.resolve()}")
        return
    print_blocks(overview_blocks(rows))
