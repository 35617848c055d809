"""Prints a line per event of a study, each with its time of day, for every command that watches one."""

from __future__ import annotations

import time
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from auxtune.orchestrator.planning.translate import search_score_of
from auxtune.orchestrator.record.events import Event
from auxtune.orchestrator.study_file.paths import locate_study, resolve_tracking_uri
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.tracking.store import describe_runs_place
from auxtune.orchestrator.views.progress import EventLines
from auxtune.orchestrator.views.terminal import fit_line, say


def prepare_lines(earlier: Sequence[Event], study: StudyFile, console: Console | None = None) -> EventLines:
    """A printer of a line per event, on ``console`` if there is one, that has learnt the ``earlier`` events."""
    uri, folder = resolve_tracking_uri(study), locate_study(study)
    lines = EventLines(
        print_line if console is None else lambda line, moment: _print_above(console, line, moment),
        lambda experiment: describe_runs_place(uri, folder, experiment),
        search_score_of(study.options),
    )
    for event in earlier:
        lines.learn(event)
    return lines


def print_line(line: str, moment: float | None = None) -> None:
    """Print a line behind the time of day, of ``moment`` in seconds since the epoch, or of now."""
    say(f"{_format_clock(moment)}  {line}")


def _print_above(console: Console, line: str, moment: float | None) -> None:
    clock = _format_clock(moment)
    said = fit_line(f"{clock}  {line}", console.width)
    console.print(Text.assemble((clock, "dim"), said.removeprefix(clock)), soft_wrap=True)


def _format_clock(moment: float | None) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))
