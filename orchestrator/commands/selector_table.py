"""``auxtune selectors``: the methods that can decide what to train next."""

from __future__ import annotations

import dataclasses
import json

import click


@click.command("selectors", epilog="Example: auxtune selectors --json")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, with every option of each.")
def command(as_json: bool) -> None:
    """Show every selector: what it answers with, what it needs and costs, and the paper it comes from.

    One from another package that cannot be used is shown with the reason.
    """
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from auxtune.selectors.registry import describe, list_broken

    methods, broken = describe(), list_broken()
    if as_json:
        rows = [*map(dataclasses.asdict, methods), *map(dataclasses.asdict, broken)]
        click.echo(json.dumps(rows, indent=2))
        return
    table = Table("selector", "answers with", "what it does", box=SIMPLE, pad_edge=False)
    for method in methods:
        said = {"Costs": method.costs, "Needs": method.needs, "Not where": method.avoid, "Paper": method.paper}
        lines = [method.summary, *(f"{word}: {text}" for word, text in said.items() if text)]
        table.add_row(method.name, method.answers, "\n".join(lines))
    for each in broken:
        table.add_row(each.name, "broken", each.broken)
    Console().print(table)
