"""``auxtune validate``: everything that can be said of a study before anything is trained."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from auxtune.orchestrator.session.smoke import SmokedTask
    from auxtune.orchestrator.views.inspection import Inspection


@click.command("validate", epilog="Example: auxtune validate study.yaml --set budget.trials=40")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, as in training.steps=200.")
@click.option("--smoke", is_flag=True, help="Also train each task alone for a few steps, and measure that.")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of a table.")
def command(study: Path, overrides: tuple[str, ...], smoke: bool, as_json: bool) -> None:
    """Check the study file STUDY and its data: what its splits can show, and what it takes at the least.

    Every mistake is shown at once, with its line. Nothing is trained, but with --smoke a few steps of each task, one
    evaluation and a checkpoint's way out and back; what that took is kept for `auxtune plan`. If a task fails it, the
    others are tried too, and the exit code is 2.
    """
    from auxtune.orchestrator.planning.budget import check_budget
    from auxtune.orchestrator.session.data import encoder_notes, load_study_data, missed_words_of, unreachable_here
    from auxtune.orchestrator.study_file.paths import tracking_uri
    from auxtune.orchestrator.study_file.reading import read_study
    from auxtune.orchestrator.views.inspection import inspect_study

    checked = read_study(study, overrides)
    tracking_uri(checked)  # says what is wrong with the environment's
    tasks, base = load_study_data(checked)
    besides = (*encoder_notes(checked, base), *missed_words_of(checked, tasks), *unreachable_here(checked))
    inspection = inspect_study(checked, tasks, besides)
    if not as_json:
        _print(inspection)
    smoked: Mapping[str, SmokedTask] = {}
    if smoke:
        from auxtune.orchestrator.session.smoke import run_smoke

        listener = _silence if as_json else _print_smoked
        smoked = run_smoke(checked, tasks, base, listener).tasks
    if as_json:
        measured = {"smoke": {name: dataclasses.asdict(task) for name, task in smoked.items()}} if smoke else {}
        click.echo(json.dumps({**dataclasses.asdict(inspection), **measured}, indent=2))
    check_budget(checked.options, inspection.fewest_search_trials)
    if any(task.figures is None for task in smoked.values()):
        raise SystemExit(2)


def _print(inspection: Inspection) -> None:
    from auxtune.orchestrator.views.inspected import classes_line, print_rows, splits_line

    print_rows(inspection)
    click.echo("dropped: training rows whose input is in a held-out row of some task, and")
    click.echo("validation and probe rows whose input is in a test row of their own task")
    click.echo("lift ≥: the smallest lift that the test rows can tell from noise")
    for task in inspection.tasks:
        click.echo(f"{task.name}: {splits_line(task.origins)}")
    for task in inspection.tasks:
        click.echo(classes_line(task))
    notes = [f"note: {task.name}: {note}" for task in inspection.tasks for note in task.notes]
    for line in [*notes, *(f"warning: {warning}" for warning in inspection.warnings)]:
        click.echo(line)
    if inspection.epochs is not None:
        click.echo(inspection.epochs)
    least = inspection.confirm_trials + inspection.fewest_search_trials
    click.echo(
        f"trials: at least {least} ({inspection.confirm_trials} to confirm, {inspection.fewest_search_trials} to "
        f"search); the budget allows {inspection.budget_trials or 'any number'}"
    )


def _silence(name: str, smoked: SmokedTask) -> None:
    """Says nothing of a task."""


def _print_smoked(name: str, smoked: SmokedTask) -> None:
    """One task's line, as soon as it is known: a smoke test of a large encoder takes a while."""
    figures = smoked.figures
    if figures is None:
        click.echo(f"smoke: {name}: FAILED ({smoked.why}): {smoked.message}")
        return
    if figures.peak_gpu_bytes is not None:
        peak = f"peak {figures.peak_gpu_bytes / 1e6:.0f} MB of GPU memory"
    elif figures.peak_growth_bytes is not None:
        peak = f"peak {figures.peak_growth_bytes / 1e6:.0f} MB beyond what was held"
    else:
        peak = "peak memory unknown"
    click.echo(
        f"smoke: {name}: {figures.seconds_per_step:.4g} s per step ({figures.fastest:.4g} – {figures.slowest:.4g}), "
        f"{figures.seconds_per_evaluation:.4g} s per evaluation, {peak}, "
        f"checkpoint {figures.checkpoint_bytes / 1e6:.1f} MB"
    )
