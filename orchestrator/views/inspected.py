"""An inspected study on a terminal: the rows of each task's splits, and its classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from auxtune.orchestrator.views.inspection import InspectedTask, Inspection
from auxtune.trials.data import SPLITS

if TYPE_CHECKING:
    from auxtune.orchestrator.session.smoke import SmokedTask

SHOWN = 10  # classes named before the rest is counted
# The columns that may be left out and the space between all of them, from the widest table to the narrowest.
_LAYOUTS: tuple[tuple[tuple[str, ...], int], ...] = (
    (("metric", "lift ≥"), 3),
    (("metric", "lift ≥"), 2),
    (("lift ≥",), 2),
    ((), 2),
)
_NARROWEST = 16  # characters that a name is wrapped at, where there is room


def print_rows(inspection: Inspection) -> None:
    """A table of the tasks that fits the terminal: names wrap, and where that is not enough columns are left out."""
    console = Console()
    names = max((len(task.name) for task in inspection.tasks), default=0)
    for extra, gap in _LAYOUTS:
        columns = _list_columns(inspection, extra)
        # Rich would cut headers and numbers to make room, so the room that they leave is counted here.
        room = console.width - 2 - sum(gap + max(map(len, (name, *cells))) for name, cells in columns.items())
        if room >= min(names, _NARROWEST):
            break
    table = Table(
        title=f"study {inspection.study}", title_justify="left", box=SIMPLE, pad_edge=False, collapse_padding=gap == 2
    )
    table.add_column("task", overflow="fold", width=max(4, min(names, room)))
    for name in columns:
        table.add_column(name, justify="left" if name == "metric" else "right", no_wrap=True)
    for row, task in enumerate(inspection.tasks):
        table.add_row(task.name, *(cells[row] for cells in columns.values()))
    console.print(table)


def _list_columns(inspection: Inspection, extra: tuple[str, ...]) -> dict[str, list[str]]:
    """Name -> the cells of all tasks, in the order shown; of those that may be left out the ones in ``extra``."""
    tasks = inspection.tasks
    cells = {
        "metric": [task.metric for task in tasks],
        **{part: [str(task.rows[part]) for task in tasks] for part in SPLITS},
        "dropped": [str(task.left_out) for task in tasks],
        "lift ≥": ["unknown" if task.smallest_lift is None else f"{task.smallest_lift:.3f}" for task in tasks],
    }
    return {name: column for name, column in cells.items() if name in extra or name not in ("metric", "lift ≥")}


def describe_splits(origins: Mapping[str, str]) -> str:
    """Where each held-out split of a task comes from, those of one origin together."""
    parts = {origin: [part for part in origins if origins[part] == origin] for origin in origins.values()}
    return "; ".join(f"{' and '.join(names)} ← {origin}" for origin, names in parts.items())


def describe_classes(task: InspectedTask) -> str:
    """The first classes of a task with their training rows, or the range of its values."""
    if task.kind == "regression":
        low, high = task.values["train"]
        return f"{task.name}: values from {low:g} to {high:g}"
    many, unit = {"token": ("tags", "words"), "multi_label": ("labels", "rows")}.get(task.kind, ("classes", "rows"))
    first = list(task.classes.items())[:SHOWN]
    shown = [f"{name if name == name.strip() else repr(name)} {counts['train']}" for name, counts in first]
    more = f" and {len(task.classes) - SHOWN} more" if len(task.classes) > SHOWN else ""
    return f"{task.name}: {len(task.classes)} {many} with their training {unit}: {', '.join(shown)}{more}"


def list_inspection_lines(inspection: Inspection) -> Iterator[str]:
    """The lines below the rows: origins of the splits, classes, notes, warnings, and the trials it takes."""
    yield "dropped: training rows whose input is in a held-out row of some task, and"
    yield "validation and probe rows whose input is in a test row of their own task"
    yield "lift ≥: the smallest lift that the test rows can tell from noise"
    for task in inspection.tasks:
        yield f"{task.name}: {describe_splits(task.origins)}"
    yield from map(describe_classes, inspection.tasks)
    yield from (f"note: {task.name}: {note}" for task in inspection.tasks for note in task.notes)
    yield from (f"warning: {warning}" for warning in inspection.warnings)
    if inspection.epochs is not None:
        yield inspection.epochs
    fewest = inspection.fewest_search_trials
    least = inspection.confirm_trials + (2 * fewest if inspection.control else fewest)
    control = f", as many for {inspection.control}" if inspection.control else ""
    yield (
        f"trials: at least {least} ({inspection.confirm_trials} to confirm, {fewest} to search{control}); the budget "
        f"allows {inspection.budget_trials or 'any number'}"
    )
    if inspection.control:
        yield f"{inspection.control} costs as much as the search, which gets half of what confirm leaves"


def describe_smoke(name: str, smoked: SmokedTask) -> str:
    """The result of a smoke test of one task."""
    figures = smoked.figures
    if figures is None:
        return f"smoke: {name}: FAILED ({smoked.why}): {smoked.message}"
    if figures.peak_gpu_bytes is not None:
        peak = f"peak {figures.peak_gpu_bytes / 1e6:.0f} MB of GPU memory"
    elif figures.peak_growth_bytes is not None:
        peak = f"peak {figures.peak_growth_bytes / 1e6:.0f} MB beyond what was held"
    else:
        peak = "peak memory unknown"
    return (
        f"smoke: {name}: {figures.seconds_per_step:.4g} s per step ({figures.fastest:.4g} – {figures.slowest:.4g}), "
        f"{figures.seconds_per_evaluation:.4g} s per evaluation, {peak}, "
        f"checkpoint {figures.checkpoint_bytes / 1e6:.1f} MB"
    )
