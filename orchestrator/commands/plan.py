"""``auxtune plan``: what a study would still train, and what that would cost."""

from __future__ import annotations

import json
from pathlib import Path

import click


@click.command("plan", epilog="Example: auxtune plan study.yaml --set budget.trials=40")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, as in training.steps=200.")
@click.option("--address", metavar="HOST:PORT", help="Plan for the cluster of this head; auto: that of this machine.")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of tables.")
def command(study: Path, overrides: tuple[str, ...], address: str | None, as_json: bool) -> None:
    """Show what the study file STUDY would train and what that would cost, against its budget.

    Seconds are those of the study's finished trials, else of `auxtune validate --smoke`; without either, cost is
    unknown. What was trained before is not counted again. Nothing is trained. With --address, given on one of its
    nodes, what a cluster has and could start says what a trial gets and how many run at once.
    """
    from auxtune.orchestrator.engine.cluster import list_machines_at
    from auxtune.orchestrator.planning.budget import check_budget, check_prices
    from auxtune.orchestrator.planning.slots import allot, describe_this_machine
    from auxtune.orchestrator.study_file.reading import read_study
    from auxtune.orchestrator.views.plan import plan_blocks, plan_of
    from auxtune.orchestrator.views.terminal import print_blocks

    checked = read_study(study, overrides)
    machines = list_machines_at(address) if address else describe_this_machine()
    plan = plan_of(checked, machines)
    if as_json:
        click.echo(json.dumps(plan, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        print_blocks(plan_blocks(plan))
    check_prices(checked.options, allot(checked.options.resources, machines))
    check_budget(checked.options, plan["search"]["fewest"])
