"""``auxtune resume``: resume a study from its folder alone."""

from __future__ import annotations

import click

from auxtune.orchestrator.commands.place import StudyPlace
from auxtune.orchestrator.commands.remote import run_remote
from auxtune.orchestrator.storage.protocol import StoredPath


@click.command("resume", epilog="Example: auxtune resume studies/quickstart --set budget.trials=80")
@click.argument("study_dir", type=StudyPlace())
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, as in budget.trials=80.")
@click.option("--address", metavar="HOST:PORT", help="A cluster's head; auto: this one's; http://HEAD:8265: as a job.")
@click.option("--allow-drift", is_flag=True, help="Go on although tasks, model, recipe, selector or code changed.")
@click.option("--plain", is_flag=True, help="Print a line per event and no live view, as off a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print the content of selection.json; no lines on the way.")
def command(
    study_dir: StoredPath,
    overrides: tuple[str, ...],
    address: str | None,
    allow_drift: bool,
    plain: bool,
    as_json: bool,
) -> None:
    """Resume the study in the folder STUDY_DIR, as its last session had it.

    Finished trials are not run again; unfinished ones continue from their checkpoints. Tasks, storage and tracking are
    found where the last session found them, from any directory.
    """
    if address is not None and "://" in address:
        settings = [part for override in overrides for part in ("--set", override)]
        flags = [flag for flag, given in {"--allow-drift": allow_drift, "--json": as_json}.items() if given]
        run_remote(address, ["resume", str(study_dir), *settings, *flags, "--address", "auto"], study_dir.name)
    from auxtune.orchestrator.commands.run import run_and_show
    from auxtune.orchestrator.study import Study

    run_and_show(Study.from_folder(study_dir, overrides), allow_drift, as_json, address, plain)
