"""An inspected study on a terminal: the rows of each task's splits, and its classes."""

from __future__ import annotations

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from auxtune.orchestrator.views.inspection import InspectedTask, Inspection
from auxtune.trials.encoded import SPLITS

SHOWN = 10                                             # classes named before the rest is counted
_NARROWEST = 16                                        # columns of a terminal that a name is wrapped in at the least


def print_rows(inspection: Inspection) -> None:
    """A table of the tasks, as wide as the terminal: names wrap, and where that is not enough a column is left out."""
    console = Console()
    names = max((len(task.name) for task in inspection.tasks), default=0)
    for columns in (("metric", "lift ≥"), ("lift ≥",), ()):
        table = _table(inspection, columns, min(names, _NARROWEST))
        if console.measure(table).minimum <= console.width:
            break
    console.print(table)


def _table(inspection: Inspection, extra: tuple[str, ...], narrowest: int) -> Table:
    table = Table(title=f"study {inspection.study}", title_justify="left", box=SIMPLE, pad_edge=False)
    table.add_column("task", overflow="fold", min_width=narrowest)
    if "metric" in extra:
        table.add_column("metric", no_wrap=True)
    for column in (*SPLITS, "dropped", *(("lift ≥",) if "lift ≥" in extra else ())):
        table.add_column(column, justify="right", no_wrap=True)
    for task in inspection.tasks:
        lift = "unknown" if task.smallest_lift is None else f"{task.smallest_lift:.3f}"
        table.add_row(
            task.name, *((task.metric,) if "metric" in extra else ()), *(str(task.rows[part]) for part in SPLITS),
            str(task.left_out), *((lift,) if "lift ≥" in extra else ()),
        )
    return table


def classes_line(task: InspectedTask) -> str:
    """The first classes of a task with their training rows, or the range of its values."""
    if task.kind == "regression":
        low, high = task.values["train"]
        return f"{task.name}: values from {low:g} to {high:g}"
    many, unit = {"token": ("tags", "words"), "multi_label": ("labels", "rows")}.get(task.kind, ("classes", "rows"))
    first = list(task.classes.items())[:SHOWN]
    shown = [f"{name if name == name.strip() else repr(name)} {counts['train']}" for name, counts in first]
    more = f" and {len(task.classes) - SHOWN} more" if len(task.classes) > SHOWN else ""
    return f"{task.name}: {len(task.classes)} {many} with their training {unit}: {', '.join(shown)}{more}"
