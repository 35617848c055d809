"""The live view: one snapshot of a study drawn for a terminal, from 40 columns on.

A snapshot is plain values; the drawing is a pure function of it and the moment. What matters least goes first where
there is no room: bars before numbers, trials beyond the terminal's height before the lines that sum up.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from auxtune.orchestrator.planning.budget import describe_spending
from auxtune.orchestrator.views.remaining_work import format_duration
from auxtune.orchestrator.views.terminal import fit_line


@dataclass(frozen=True)
class RunningTrial:
    """A trial at work. ``started`` is in seconds since the epoch; ``step`` is its last evaluation's, if known."""

    id: int
    phase: str
    tasks: str  # with their shares
    attempt: int
    started: float
    step: int | None
    steps: int  # 0: it only measures


@dataclass(frozen=True)
class Spent:
    """A limit of the budget, and what was spent of it; ``None``: unknown, for want of a price."""

    key: str
    spent: float | None
    limit: float


@dataclass(frozen=True)
class StudySnapshot:
    """One study. ``answer`` are lines on what confirm has shown; ``trouble`` are lines on its problems."""

    study: str
    state: str
    selector: str
    counts: Mapping[str, int]  # trials in each state
    running: tuple[RunningTrial, ...]
    best: str
    answer: tuple[str, ...]
    belief: str
    budget: tuple[Spent, ...]
    remaining_work: str
    trouble: tuple[str, ...]


_WIDE = 70  # columns from which there is room for bars
_BAR = 16  # columns of a trial's bar
_SUMS = 14  # lines that sum up, more or less: the rest is for trials
_STATES = {"running": "bold cyan", "done": "bold green", "interrupted": "bold yellow", "failed": "bold red"}


@dataclass(frozen=True)
class LiveView:
    """A snapshot at ``now``, in seconds since the epoch, as something that Rich can draw; ``None``: not begun yet."""

    snapshot: StudySnapshot | None
    now: float

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """All of it, as wide as the terminal."""
        if self.snapshot is None:
            yield Text("preparing: data, encoder, workers", style="dim")
            return
        wide, room = options.max_width >= _WIDE, max(3, console.size.height - _SUMS)
        yield _draw_title(self.snapshot)
        yield from _list_trials(self.snapshot.running, self.now, options.max_width, room)
        lines = Table.grid(padding=(0, 2, 0, 0), expand=True)
        lines.add_column(style="dim", width=7, no_wrap=True)
        lines.add_column(ratio=1, overflow="fold")
        for label, content in _list_sums(self.snapshot, wide):
            lines.add_row(label, content)
        yield lines


def _draw_title(snapshot: StudySnapshot) -> Text:
    counts = ", ".join(f"{count} {state}" for state, count in snapshot.counts.items() if count)
    title = Text(overflow="fold")
    title.append(snapshot.study, style="bold").append(f" by {snapshot.selector}  ")
    return title.append(snapshot.state, style=_STATES.get(snapshot.state, "bold")).append(
        f"  {counts or 'no trial yet'}"
    )


def _list_trials(running: tuple[RunningTrial, ...], now: float, width: int, room: int) -> RenderResult:
    """A line for each, of ``width`` columns, in ``room`` lines. Tasks too long for it come below: no name is cut."""
    names = [f"{trial.phase} {trial.id:04d}" if width >= _WIDE else f"{trial.id:04d}" for trial in running]
    # The clock of another machine may be ahead.
    ends = [(_draw_steps(trial), format_duration(max(0.0, now - trial.started))) for trial in running]
    widths = [max(map(len, column), default=0) for column in zip(*ends, strict=True)]
    taken = [max(map(len, names), default=0), *([_BAR] if width >= _WIDE else []), *widths]
    left, shown = width - sum(taken) - 2 * len(taken), 0
    for trial, name, end in zip(running, names, ends, strict=True):
        tasks = trial.tasks + (f" (attempt {trial.attempt})" if trial.attempt > 1 else "")
        below = [] if cell_len(tasks) <= left else fit_line(f"    {tasks}", width).splitlines()
        room -= 1 + len(below)
        if room < 0 and shown:
            break
        shown += 1
        line = Table.grid(padding=(0, 2, 0, 0), expand=True)
        line.add_column(no_wrap=True, width=taken[0])
        line.add_column(ratio=1, no_wrap=True)
        for each in taken[1:]:
            line.add_column(justify="right", no_wrap=True, width=each)
        bar = [_draw_bar(trial.step or 0, trial.steps)] if width >= _WIDE else []
        line.add_row(Text(name, "cyan"), "" if below else Text(tasks), *bar, *end)
        yield line
        yield from (Text(part, overflow="ignore", no_wrap=True) for part in below)
    if (more := len(running) - shown) > 0:
        yield Text(f"and {more} more {'trial' if more == 1 else 'trials'}", style="dim")


def _draw_steps(trial: RunningTrial) -> str:
    if trial.steps == 0:
        return "measures"
    return f"{'–' if trial.step is None else trial.step}/{trial.steps}"


def _list_sums(snapshot: StudySnapshot, wide: bool) -> list[tuple[str, RenderableType]]:
    lines: list[tuple[str, RenderableType]] = [("best", Text(snapshot.best))]
    lines += [("answer" if place == 0 else "", Text(line)) for place, line in enumerate(snapshot.answer)]
    if snapshot.state != "done":
        lines += [("belief", Text(snapshot.belief or "–"))]
    lines += [("budget", Group(*(_draw_spent(each, wide) for each in snapshot.budget)))]
    if snapshot.remaining_work:
        lines += [("next", Text(snapshot.remaining_work))]
    return [*lines, *(("trouble", Text(line, style="yellow")) for line in snapshot.trouble)]


def _draw_spent(each: Spent, wide: bool) -> RenderableType:
    over = each.spent is not None and each.spent > each.limit
    said = describe_spending(each.spent, each.limit)
    line = Table.grid(padding=(0, 2, 0, 0))
    line.add_column(width=10, no_wrap=True)
    if wide:
        line.add_column(width=24)
    line.add_row(
        each.key, *([_draw_bar(each.spent or 0.0, each.limit)] if wide else []), Text(said, "red" if over else "")
    )
    return line


def _draw_bar(done: float, total: float) -> RenderableType:
    if total <= 0:
        return Text("")
    return ProgressBar(total=total, completed=min(done, total), complete_style="cyan", finished_style="cyan")
