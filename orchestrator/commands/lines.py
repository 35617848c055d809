"""Lines of what happens in a study, each with the time of day, as every command that watches one prints them."""

from __future__ import annotations

import time
from collections.abc import Sequence

import click
from rich.console import Console
from rich.text import Text

from auxtune.orchestrator.record.events import Event
from auxtune.orchestrator.study_file.paths import study_folder, tracking_uri
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.tracking.links import where_to_look
from auxtune.orchestrator.views.progress import EventLines


def lines_after(earlier: Sequence[Event], study: StudyFile, console: Console | None = None) -> EventLines:
    """What prints a line per event of a study, on ``console`` if there is one, and knows of ``earlier`` ones."""
    uri, folder = tracking_uri(study), study_folder(study)
    lines = EventLines(
        print_line if console is None else lambda line: _print_above(console, line),
        lambda experiment: where_to_look(uri, folder, experiment),
    )
    for event in earlier:
        lines.learn(event)
    return lines


def print_line(line: str) -> None:
    """A line with the time of day before it."""
    click.echo(f"{_clock()}  {line}")


def _print_above(console: Console, line: str) -> None:
    console.print(Text.assemble((_clock(), "dim"), f"  {line}"), soft_wrap=True)


def _clock() -> str:
    return time.strftime("%H:%M:%S")
