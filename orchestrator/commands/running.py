"""What ``run`` and ``resume`` have in common: lines while it runs, the answer at the end."""

from __future__ import annotations

import json
import time

import click
from rich.console import Console

from auxtune.orchestrator.record.events import Event, Tracked
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.study import Study
from auxtune.orchestrator.study_file.paths import study_folder, tracking_uri
from auxtune.orchestrator.tracking.links import where_to_look
from auxtune.orchestrator.views.progress import EventLines
from auxtune.orchestrator.views.summary import summary


def run_and_show(study: Study, allow_drift: bool, as_json: bool, address: str | None) -> None:
    """Run a study; print its events and its answer, or only ``selection.json``."""
    if as_json:
        result = study.run(allow_drift=allow_drift, address=address)
        click.echo(json.dumps(result.selection, indent=2, ensure_ascii=False))
        if result.report_trouble:
            click.echo(f"report.html could not be written: {result.report_trouble}", err=True)
        return
    lines = EventLines(_print_line)
    folder = study_folder(study.file)
    for event in read_events(folder / "ledger"):
        lines.learn(event)
    uri = tracking_uri(study.file)
    _print_line(f"study {study.file.options.study} in {folder}")

    def heard(event: Event) -> None:
        lines(event)
        if isinstance(event, Tracked) and event.id is None:
            _print_line(f"MLflow: {where_to_look(uri, folder, event.experiment)}")

    result = study.run(heard, allow_drift, address)
    Console().print(summary(result, study.file.options.budget, uri), soft_wrap=True)


def _print_line(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {line}")
