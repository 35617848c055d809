"""``auxtune simulate``: selectors against a recorded table, without training anything."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from click.shell_completion import CompletionItem

if TYPE_CHECKING:
    import pandas as pd

    from auxtune.orchestrator.simulation.simulate import Asked
    from auxtune.orchestrator.tables.reading import Recorded

_MEASURES = {
    "groups": ("total_test", "mean_test", "regret", "spearman"),
    "transfer": ("ndcg", "regret_at_1", "regret_at_3", "regret_at_5"),
    "mixtures": ("spearman", "mean_test", "regret"),
}


def complete_selectors(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of selectors, those of other packages too."""
    from auxtune.selectors.registry import names

    return [CompletionItem(name) for name in names() if name.startswith(incomplete)]


@click.command(
    "simulate",
    epilog="Example: auxtune simulate builtin --selector tag --selector random_subset --seeds 20",
)
@click.argument("table_dir", type=click.Path(path_type=Path))
@click.option(
    "--selector",
    "selectors",
    multiple=True,
    required=True,
    metavar="NAME",
    shell_complete=complete_selectors,
    help="A selector, or '{name: NAME, option: value}'; several to compare them.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="An option of every selector that has it.")
@click.option("--models", multiple=True, metavar="N[,N…]", help="Groups: the most models that may be served (3).")
@click.option(
    "--inference-budget",
    "inference_budgets",
    multiple=True,
    metavar="X[,X…]",
    help="Groups: the most that serving may cost, in units of a usual model.",
)
@click.option("--budget", "budgets", multiple=True, metavar="N[,N…]", help="Trials to spend; all recorded ones.")
@click.option("--cost", type=click.FloatRange(0), help="What a search may cost: all selectors at equal cost.")
@click.option("--target", "targets", multiple=True, metavar="TASK", help="Only this target; each in turn.")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1), help="Searches, each with its own seed.")
@click.option("--seed", default=0, show_default=True, help="The first seed.")
@click.option("--concurrent", default=1, show_default=True, type=click.IntRange(1), help="Slots of the virtual clock.")
@click.option("--judge-on", "split", default="test", show_default=True, help="The split that answers are judged on.")
@click.option("--picture", type=click.Path(path_type=Path), help="Draw quality against cost to this .png or .svg.")
@click.option("--json", "as_json", is_flag=True, help="Print a list of rows, one for each search.")
def command(
    table_dir: Path,
    selectors: tuple[str, ...],
    overrides: tuple[str, ...],
    models: tuple[str, ...],
    inference_budgets: tuple[str, ...],
    budgets: tuple[str, ...],
    cost: float | None,
    targets: tuple[str, ...],
    seeds: int,
    seed: int,
    concurrent: int,
    split: str,
    picture: Path | None,
    as_json: bool,
) -> None:
    """Run selectors against the recorded table in TABLE_DIR and judge their answers on the split they did not see.

    TABLE_DIR is a folder with table.json and rows.csv, or `builtin`, the table of the built-in tasks. It is audited
    first: what could make the figures say less than they seem to is printed before them.
    """
    from auxtune.orchestrator.simulation.audit import audit_table
    from auxtune.orchestrator.simulation.simulate import simulate
    from auxtune.orchestrator.tables.reading import read_recorded

    recorded = read_recorded(_find_table(table_dir))
    for line in audit_table(recorded.table):
        click.echo(f"warning: {recorded.name}: {line}", err=True)
    rows = simulate(
        recorded,
        _read_selectors(selectors, overrides),
        targets=targets,
        models=_read_numbers(models, int, "--models"),
        budgets=_read_numbers(budgets, int, "--budget"),
        inference_budgets=_read_numbers(inference_budgets, float, "--inference-budget"),
        seeds=range(seed, seed + seeds),
        concurrent=concurrent,
        most_cost=math.inf if cost is None else cost,
        split=split,
        progress=lambda line: click.echo(line, err=True),
    )
    if as_json:
        click.echo(json.dumps([_convert_row(row) for row in rows.to_dict("records")], indent=2, ensure_ascii=False))
    else:
        _print_rows(rows, recorded)
    if picture is not None:
        _draw_picture(rows, recorded, picture)


def _read_selectors(selectors: tuple[str, ...], overrides: tuple[str, ...]) -> list[Asked]:
    """The selectors to simulate, labelled as asked for. Raises ``BadParameter`` where an override fits none."""
    import yaml

    from auxtune.orchestrator.simulation.simulate import Asked
    from auxtune.selectors.kit.options import describe_options

    asked = []
    for text in selectors:
        try:
            given = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise click.BadParameter(f"expected a name or a YAML mapping, found {text!r}: {error}") from error
        asked.append(Asked.of(given if isinstance(given, dict) else str(given)))
    for override in overrides:
        key, equals, value = override.partition("=")
        fitting = [one for one in asked if key in {option.name for option in describe_options(type(one.make()))}]
        if not equals or not fitting:
            raise click.BadParameter(f"--set {override}: expected KEY=VALUE with an option of one of the selectors")
        for one in fitting:
            asked[asked.index(one)] = replace(one, options={**one.options, key: yaml.safe_load(value)})
    return asked


def _find_table(table: Path) -> Path:
    """The table's folder; a name that is no folder may be one of the tables that are installed."""
    from importlib.resources import files

    installed = Path(str(files("auxtune.examples"))) / "tables" / table
    return installed if not table.exists() and len(table.parts) == 1 and installed.is_dir() else table


def _read_numbers(given: tuple[str, ...], kind: type, option: str) -> list[Any]:
    try:
        return [kind(part) for text in given for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise click.BadParameter(f"{option}: expected numbers, found {', '.join(given)}") from error


def _convert_row(row: dict[Any, Any]) -> dict[str, Any]:
    """A row of JSON: what is not applicable is null, and so is what is no number."""
    import pandas as pd

    return {str(key): None if pd.isna(value) or value in (math.inf, -math.inf) else value for key, value in row.items()}


def _print_rows(rows: pd.DataFrame, recorded: Recorded) -> None:
    from auxtune.orchestrator.report.blocks import Paragraph, Table
    from auxtune.orchestrator.simulation.summary import summarise
    from auxtune.orchestrator.views.terminal import print_blocks

    header = recorded.table.header
    lines = list(summarise(rows, (*_MEASURES[header.kind], "trials", "cost")))
    asked = [name for name in ("models", "inference_budget", "budget") if rows[name].notna().any()]
    targets = ["target"] if any(line.target for line in lines) else []
    shown = [name for name in _MEASURES[header.kind] if rows[name].notna().any()] + ["trials", "cost"]
    cells = []
    for line in lines:
        limits = [f"{line.asked[name]:g}" if name in line.asked else "–" for name in asked]
        target = [str(line.target)] if targets else []
        cells.append((line.selector, *target, *limits, *(str(line.means.get(name, "–")) for name in shown)))
    table = Table("", ("selector", *targets, *asked, *shown), tuple(cells), rules="none")
    better = "lower" if header.mode == "min" else "higher"
    over = "targets" if header.kind == "transfer" else "seeds"
    said = f"{header.metric}: {better} is better. ±: 95 % interval over {over}. Cost in {_name_unit(recorded)}."
    print_blocks([table, Paragraph(said)])


def _name_unit(recorded: Recorded) -> str:
    return "seconds" if recorded.table.seconds is not None else "trainings of one task"


def _draw_picture(rows: pd.DataFrame, recorded: Recorded, path: Path) -> None:
    from auxtune.orchestrator.simulation.summary import draw_lines, summarise

    measures = _MEASURES[recorded.table.header.kind]
    measure = next((name for name in measures if rows[name].notna().any()), measures[0])
    lines = list(summarise(rows, (*measures, "cost")))
    try:
        draw_lines(lines, measure, _name_unit(recorded), recorded.name, path)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"--picture {path}: cannot be written: {error}") from error
