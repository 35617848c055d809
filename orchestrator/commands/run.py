"""``auxtune run``: run a study here, or resume it; and what ``run`` and ``resume`` show of a study at work."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from rich.console import Console

    from auxtune.orchestrator.record.events import Event
    from auxtune.orchestrator.session.session import Result
    from auxtune.orchestrator.study import Study


@click.command("run", epilog="Example: auxtune run study.yaml --set budget.trials=40")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, as in training.steps=200.")
@click.option("--address", metavar="HOST:PORT", help="Run on the cluster of this head; auto: that of this machine.")
@click.option("--allow-drift", is_flag=True, help="Go on although tasks, model, recipe, selector or code changed.")
@click.option("--from-nothing", is_flag=True, help="Where the ledger is lost: set the folder aside and begin again.")
@click.option("--plain", is_flag=True, help="Print a line per event and no live view, as off a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print the content of selection.json; no lines on the way.")
def command(
    study: Path,
    overrides: tuple[str, ...],
    address: str | None,
    allow_drift: bool,
    from_nothing: bool,
    plain: bool,
    as_json: bool,
) -> None:
    """Search, confirm and answer the study file STUDY.

    Prints a line per event, on a terminal with a live view of the study below them, and the answer with its controls.
    Ctrl-C stops in order; the same command resumes. Run again with a larger budget, a finished study searches on.
    """
    from auxtune.orchestrator.study import Study

    read = Study.from_yaml(study, overrides)
    if from_nothing:
        _set_aside(read)
    run_and_show(read, allow_drift, as_json, address, plain)


def _set_aside(study: Study) -> None:
    from auxtune.orchestrator.session.prepare import set_aside

    if (kept := set_aside(study.folder)) is not None:
        click.echo(f"what was in {study.folder} is now in {kept}", err=True)


def run_and_show(study: Study, allow_drift: bool, as_json: bool, address: str | None, plain: bool) -> None:
    """Run a study; print its events, below them on a terminal the live view, and its answer; or ``selection.json``."""
    if as_json:
        from auxtune.orchestrator.views.summary import describe_missing_runs

        result = study.run(allow_drift=allow_drift, address=address)
        click.echo(json.dumps(result.selection, indent=2, ensure_ascii=False))
        if result.report_trouble:
            click.echo(f"report.html could not be written: {result.report_trouble}", err=True)
        if result.tracking_trouble:
            click.echo(describe_missing_runs(result), err=True)
        return
    from rich.console import Console

    from auxtune.orchestrator.record.ledger import LedgerReader
    from auxtune.orchestrator.study_file.paths import locate_study, resolve_tracking_uri
    from auxtune.orchestrator.views.progress import prepare_lines, print_line
    from auxtune.orchestrator.views.terminal import Terminal, count_terminal_columns, has_live_view, render_terminal

    folder = locate_study(study.file)
    reader = study.ledger or LedgerReader(folder / "ledger")
    reader.read_new()
    study, earlier = replace(study, ledger=reader), list(reader.events)
    print_line(f"study {study.file.options.study} in {folder}")
    terminal = Terminal()
    if plain or not has_live_view(terminal):
        result = study.run(prepare_lines(earlier, study.file), allow_drift, address)
    else:
        result = _run_in_sight(study, terminal, earlier, allow_drift, address)
    from auxtune.orchestrator.views.summary import list_summary_blocks

    shown = render_terminal(list_summary_blocks(result, study.file.options.budget, resolve_tracking_uri(study.file)))
    # Lines are wrapped on a terminal alone, and nowhere within a word: neither a name nor a path is cut.
    Console().print(shown, no_wrap=count_terminal_columns() is None, overflow="ignore", crop=False)


def _run_in_sight(
    study: Study, terminal: Console, earlier: list[Event], allow_drift: bool, address: str | None
) -> Result:
    from auxtune.orchestrator.study_file.paths import locate_study
    from auxtune.orchestrator.views.monitor import StudyMonitor
    from auxtune.orchestrator.views.progress import prepare_lines
    from auxtune.orchestrator.views.screen import RunScreen

    monitor = StudyMonitor(study.file, locate_study(study.file))
    with RunScreen(terminal, monitor, prepare_lines(earlier, study.file, terminal), earlier) as screen:
        return study.run(screen.observe, allow_drift, address)
