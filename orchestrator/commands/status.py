"""``auxtune status``: where a study stands, and whether its ledger is consistent."""

from __future__ import annotations

import json
from pathlib import Path

import click

from auxtune.orchestrator.commands.place import StudyPlace
from auxtune.orchestrator.commands.remote import ADDRESS, follow_remote, query_remote
from auxtune.orchestrator.storage.protocol import StoredPath


@click.command("status", epilog="Example: auxtune status studies/quickstart --watch")
@click.argument("study_dir", required=False, type=StudyPlace())
@click.option("--verify", is_flag=True, help="Ask again for every recorded proposal, and compare scores and costs.")
@click.option("--watch", is_flag=True, help="Go on showing it, live on a terminal, until its session ends.")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of lines.")
@click.option("--address", metavar="URL", help=ADDRESS)
def command(study_dir: StoredPath | None, verify: bool, watch: bool, as_json: bool, address: str | None) -> None:
    """Show how far the study in the folder STUDY_DIR is: progress, best so far, cost.

    Without STUDY_DIR it is the study in ./studies that was active last, and its folder is said on stderr. Reads the
    ledger only, so it may be asked at any time, and --watch follows a study that runs anywhere on its storage. With
    --verify the exit code is 2 if a recorded proposal does not follow from the events before it, or if a score or a
    cost is not that of the trial's own result.
    """
    if watch and (verify or as_json):
        raise click.UsageError(f"expected --watch alone, found it with {'--verify' if verify else '--json'}: ask twice")
    if address is not None:
        asked = {"--verify": verify, "--json": as_json}
        folder = [str(study_dir)] if study_dir else []
        if watch:
            follow_remote(address, ["status", *folder, "--watch"])
        query_remote(address, ["status", *folder, *(flag for flag, given in asked.items() if given)])
    from auxtune.orchestrator.planning.context import StudyContext
    from auxtune.orchestrator.planning.verification import verify_study
    from auxtune.orchestrator.study import Study
    from auxtune.orchestrator.views.status import describe_status, list_status_blocks
    from auxtune.orchestrator.views.terminal import print_blocks

    if study_dir is None:
        study_dir = _find_latest(Path("studies"))
        click.echo(f"the study that was active last: {study_dir}", err=True)
    if watch:
        _watch_study(study_dir)
        return
    study = Study.from_folder(study_dir)
    events = study.read_events()
    context = StudyContext.from_events(study.file, events)
    status = describe_status(study_dir, context.accounts, study.file.options)
    if verify:
        status |= verify_study(context, events).as_json()
    if as_json:
        click.echo(json.dumps(status, indent=2, ensure_ascii=False))
    else:
        print_blocks(list_status_blocks(status))
    if status.get("differences"):
        raise SystemExit(2)


def _watch_study(study_dir: StoredPath) -> None:
    from auxtune.orchestrator.commands.watching import watch_lines, watch_live
    from auxtune.orchestrator.study import Study
    from auxtune.orchestrator.views.status import list_status_blocks
    from auxtune.orchestrator.views.terminal import Terminal, has_live_view, print_blocks

    if has_live_view(terminal := Terminal()):
        watch_live(study_dir.resolve(), terminal)
        return
    before = Study.from_folder(study_dir).status()
    print_blocks(list_status_blocks(before))
    watch_lines(study_dir.resolve())
    if (after := Study.from_folder(study_dir).status()) != before:  # where no process runs it, nothing is new
        print_blocks(list_status_blocks(after))


def _find_latest(storage: StoredPath) -> StoredPath:
    from auxtune.orchestrator.errors import AuxtuneError
    from auxtune.orchestrator.views.overview import list_study_folders

    studies = list_study_folders(storage) if storage.is_dir() else []
    if not studies:
        raise AuxtuneError(
            f"{storage.resolve()}: looked there for the study that was active last, found none; name a study's folder, "
            "as in `auxtune status STORAGE/STUDY`"
        )
    return studies[0]
