"""``auxtune stop``: have the process that runs a study end in order."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from auxtune.orchestrator.commands.place import StudyPlace
from auxtune.orchestrator.commands.remote import ADDRESS, query_remote
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import quote_path

if TYPE_CHECKING:
    from auxtune.orchestrator.record.driver import DriverLease


@click.command("stop", epilog="Example: auxtune stop studies/quickstart")
@click.argument("study_dir", type=StudyPlace())
@click.option(
    "--timeout",
    type=click.FloatRange(min=0),
    default=300.0,
    show_default=True,
    metavar="SECONDS",
    help="How long to wait for it to end; 0: do not wait.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of lines.")
@click.option("--address", metavar="URL", help=ADDRESS)
def command(study_dir: StoredPath, timeout: float, as_json: bool, address: str | None) -> None:
    """Stop the study in the folder STUDY_DIR in order, like one Ctrl-C where it runs.

    Running trials save a checkpoint and end; `auxtune resume` continues from there. It must be asked on the host where
    the study runs. Where nothing runs, that is said. The exit code is 2 if it does not end in time.
    """
    if address is not None:
        query_remote(address, ["stop", str(study_dir), "--timeout", f"{timeout:g}", *(["--json"] if as_json else [])])
    from auxtune.orchestrator.errors import AuxtuneError
    from auxtune.orchestrator.record.accounts import read_accounts
    from auxtune.orchestrator.record.driver import ask_to_stop, find_end, wait_until_gone

    folder = study_dir.resolve()
    driver = ask_to_stop(folder)
    if driver is None:
        read_accounts(folder)  # raises where there is no study at all
        _print_outcome({"study": folder.name, "process": None, "stopped": True, "state": None}, folder, as_json)
        return
    if not as_json:
        click.echo(_describe_request(driver, timeout))
    stopped = wait_until_gone(folder, driver, timeout)
    if not stopped and timeout:
        raise AuxtuneError(
            f"{folder}: process {driver.pid} has not ended within {timeout:g} s; it is still stopping. "
            "Ask again to wait longer"
        )
    state = find_end(folder, driver) if stopped else None
    _print_outcome({"study": folder.name, "process": driver.pid, "stopped": stopped, "state": state}, folder, as_json)


def _describe_request(driver: DriverLease, timeout: float) -> str:
    """The line that is printed before waiting."""
    begin = f"process {driver.pid} {'is stopping already' if driver.stopping else 'was asked to stop'}"
    return f"{begin}; waiting up to {timeout:g} s for running trials to save where they are" if timeout else begin


def _print_outcome(outcome: dict[str, Any], folder: StoredPath, as_json: bool) -> None:
    """Print how the driver ended, and how to resume."""
    if as_json:
        click.echo(json.dumps(outcome, indent=2))
        return
    resume = f"`auxtune resume {quote_path(folder)}` continues from there"
    if outcome["process"] is None:
        click.echo(f"{folder.name}: nothing is running; `auxtune status {quote_path(folder)}` says how far it is")
    elif not outcome["stopped"]:
        click.echo(f"{folder.name}: when it has ended, {resume}")
    elif outcome["state"] is None:
        click.echo(f"{folder.name}: stopped while it was being prepared; run it again as you did")
    elif outcome["state"] == "done":
        click.echo(f"{folder.name}: it was done before it could be stopped")
    else:
        click.echo(f"{folder.name}: {outcome['state']}; {resume}")
