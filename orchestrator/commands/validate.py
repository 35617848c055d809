"""``auxtune validate``: everything that can be said of a study before anything is trained."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from auxtune.orchestrator.views.inspection import Inspection


@click.command("validate", epilog="Example: auxtune validate study.yaml --set budget.trials=40")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, as in training.steps=200.")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of a table.")
def command(study: Path, overrides: tuple[str, ...], as_json: bool) -> None:
    """Check the study file STUDY and its data: what its splits can show, and what it takes at the least.

    Every mistake is shown at once, with its line. Nothing is trained.
    """
    from auxtune.orchestrator.planning.plan_size import check_budget
    from auxtune.orchestrator.study_file.reading import read_study
    from auxtune.orchestrator.views.inspection import inspect_study

    checked = read_study(study, overrides)
    inspection = inspect_study(checked)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(inspection), indent=2))
    else:
        _print(inspection)
    check_budget(checked.options, inspection.fewest_search_trials)


def _print(inspection: Inspection) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from auxtune.trials.encoded import SPLITS

    table = Table("task", "metric", title=f"study {inspection.study}", title_justify="left", box=SIMPLE, pad_edge=False)
    for column in (*SPLITS, "dropped", "lift ≥"):
        table.add_column(column, justify="right")
    for task in inspection.tasks:
        rows = [str(task.rows[part]) for part in SPLITS]
        lift = "unknown" if task.smallest_lift is None else f"{task.smallest_lift:.3f}"
        table.add_row(task.name, task.metric, *rows, str(sum(task.dropped.values())), lift)
    Console().print(table)
    click.echo("dropped: training rows whose input is in a held-out row of some task")
    click.echo("lift ≥: the smallest lift that the report rows can tell from noise")
    notes = [f"note: {task.name}: {note}" for task in inspection.tasks for note in task.notes]
    for line in [*notes, *(f"warning: {warning}" for warning in inspection.warnings)]:
        click.echo(line)
    least = inspection.confirm_trials + inspection.fewest_search_trials
    click.echo(
        f"trials: at least {least} ({inspection.confirm_trials} to confirm, {inspection.fewest_search_trials} to "
        f"search); the budget allows {inspection.budget_trials or 'any number'}"
    )
