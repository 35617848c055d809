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
    from auxtune.orchestrator.session.prepare import (
        describe_unreachable_limits,
        list_encoder_notes,
        list_missed_words,
        load_study_data,
    )
    from auxtune.orchestrator.study_file.paths import resolve_tracking_uri
    from auxtune.orchestrator.study_file.reading import read_study
    from auxtune.orchestrator.views.inspected import list_inspection_lines, print_rows
    from auxtune.orchestrator.views.inspection import inspect_study

    checked = read_study(study, overrides)
    resolve_tracking_uri(checked)  # says what is wrong with the environment's
    tasks, base = load_study_data(checked)
    besides = (
        *list_encoder_notes(checked, base),
        *list_missed_words(checked, tasks),
        *describe_unreachable_limits(checked),
    )
    inspection = inspect_study(checked, tasks, besides)
    if not as_json:
        print_rows(inspection)
        click.echo("\n".join(list_inspection_lines(inspection)))
    smoked: Mapping[str, SmokedTask] = {}
    if smoke:
        from auxtune.orchestrator.session.smoke import run_smoke

        listener = _ignore_task if as_json else _print_smoked
        smoked = run_smoke(checked, tasks, base, listener).tasks
    if as_json:
        measured = {"smoke": {name: dataclasses.asdict(task) for name, task in smoked.items()}} if smoke else {}
        click.echo(json.dumps({**dataclasses.asdict(inspection), **measured}, indent=2))
    check_budget(checked.options, inspection.fewest_search_trials)
    if any(task.figures is None for task in smoked.values()):
        raise SystemExit(2)


def _ignore_task(name: str, smoked: SmokedTask) -> None:
    """Print nothing of a task."""


def _print_smoked(name: str, smoked: SmokedTask) -> None:
    """One task's line, as soon as it is known: a smoke test of a large encoder takes a while."""
    from auxtune.orchestrator.views.inspected import describe_smoke

    click.echo(describe_smoke(name, smoked))
