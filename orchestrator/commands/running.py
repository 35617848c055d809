"""Shows a study while ``run`` or ``resume`` works on it: events, the live view and, in the end, the answer."""

from __future__ import annotations

import json
from dataclasses import replace

import click
from rich.console import Console

from auxtune.orchestrator.commands.lines import prepare_lines, print_line
from auxtune.orchestrator.record.events import Event
from auxtune.orchestrator.record.ledger import LedgerReader
from auxtune.orchestrator.session.session import Result
from auxtune.orchestrator.study import Study
from auxtune.orchestrator.study_file.paths import locate_study, resolve_tracking_uri
from auxtune.orchestrator.views.monitor import StudyMonitor
from auxtune.orchestrator.views.screen import RunScreen, Terminal, has_live_view
from auxtune.orchestrator.views.summary import list_summary_blocks
from auxtune.orchestrator.views.terminal import count_terminal_columns, render_terminal


def run_and_show(study: Study, allow_drift: bool, as_json: bool, address: str | None, plain: bool) -> None:
    """Run a study; print its events, below them on a terminal the live view, and its answer; or ``selection.json``."""
    if as_json:
        result = study.run(allow_drift=allow_drift, address=address)
        click.echo(json.dumps(result.selection, indent=2, ensure_ascii=False))
        if result.report_trouble:
            click.echo(f"report.html could not be written: {result.report_trouble}", err=True)
        return
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
    shown = render_terminal(list_summary_blocks(result, study.file.options.budget, resolve_tracking_uri(study.file)))
    # Lines are wrapped on a terminal alone, and nowhere within a word: neither a name nor a path is cut.
    Console().print(shown, no_wrap=count_terminal_columns() is None, overflow="ignore", crop=False)


def _run_in_sight(
    study: Study, terminal: Console, earlier: list[Event], allow_drift: bool, address: str | None
) -> Result:
    monitor = StudyMonitor(study.file, locate_study(study.file))
    with RunScreen(terminal, monitor, prepare_lines(earlier, study.file, terminal), earlier) as screen:
        return study.run(screen.observe, allow_drift, address)
