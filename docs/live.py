"""Draws the live view of a study as it stands now, running or not: docs/live.svg is the quickstart study's.

python docs/live.py STUDY_DIR docs/live.svg
"""

from __future__ import annotations

import io
import re
import sys
import time
from pathlib import Path

from rich.console import Console
from rich.terminal_theme import MONOKAI

from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.study import Study
from auxtune.orchestrator.views.live import LiveView
from auxtune.orchestrator.views.monitor import StudyMonitor


def picture_of(folder: Path, now: float) -> str:
    """The view at ``now``, in seconds since the epoch, as an SVG that asks nothing of anywhere."""
    monitor = StudyMonitor(Study.from_folder(folder).file, folder)
    monitor.observe(read_events(folder / "ledger"))
    console = Console(width=104, height=40, record=True, force_terminal=True, file=io.StringIO())
    console.print(LiveView(monitor.snapshot(monitor.state, now), now))
    svg = console.export_svg(title=f"auxtune status studies/{folder.name} --watch", theme=MONOKAI, unique_id="live")
    return re.sub(r"@font-face\s*\{[^}]*\}\s*", "", svg)  # they name fonts of another server


if __name__ == "__main__":
    Path(sys.argv[2]).write_text(picture_of(Path(sys.argv[1]).resolve(), time.time()), encoding="utf-8")
