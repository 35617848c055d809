"""``auxtune run``: run a study here, or resume it."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("run", epilog="Example: auxtune run study.yaml --set budget.trials=40")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, as in training.steps=200.")
@click.option("--address", metavar="HOST:PORT", help="Run on the cluster of this head; auto: that of this machine.")
@click.option("--allow-drift", is_flag=True, help="Go on although tasks, model, recipe, selector or code changed.")
@click.option("--plain", is_flag=True, help="Print a line per event and no live view, as off a terminal.")
@click.option("--json", "as_json", is_flag=True, help="Print the content of selection.json; no lines on the way.")
def command(
    study: Path, overrides: tuple[str, ...], address: str | None, allow_drift: bool, plain: bool, as_json: bool
) -> None:
    """Search, confirm and answer the study file STUDY.

    Prints a line per event, on a terminal with a live view of the study below them, and the answer with its controls.
    Ctrl-C stops in order; the same command resumes. Run again with a larger budget, a finished study searches on.
    """
    from auxtune.orchestrator.commands.running import run_and_show
    from auxtune.orchestrator.study import Study

    run_and_show(Study.from_yaml(study, overrides), allow_drift, as_json, address, plain)
