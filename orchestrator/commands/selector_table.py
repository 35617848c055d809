"""``auxtune selectors``: the methods that can decide what to train next."""

from __future__ import annotations

import dataclasses
import json

import click


@click.command("selectors", epilog="Example: auxtune selectors --json")
@click.option("--json", "as_json", is_flag=True, help="Print a list of objects, with every option of each.")
def command(as_json: bool) -> None:
    """Show every selector: what it answers with, what it needs and costs, and the paper it comes from."""
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from auxtune.selectors.registry import describe

    methods = describe()
    if as_json:
        click.echo(json.dumps([dataclasses.asdict(method) for method in methods], indent=2))
        return
    table = Table("selector", "answers with", "what it does", box=SIMPLE, pad_edge=False)
    for method in methods:
        said = {"Costs": method.costs, "Needs": method.needs, "Not where": method.avoid, "Paper": method.paper}
        lines = [method.summary, *(f"{word}: {text}" for word, text in said.items() if text)]
        table.add_row(method.name, method.answers, "\n".join(lines))
    Console().print(table)
