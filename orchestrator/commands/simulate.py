"""``auxtune simulate``: selectors against a recorded table, without training anything."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    import pandas as pd

    from auxtune.orchestrator.simulation.reading import Recorded

_MEASURES = {
    "groups": ("total_test", "mean_test", "regret", "spearman"),
    "transfer": ("ndcg", "regret_at_1", "regret_at_3", "regret_at_5"),
    "mixtures": ("spearman", "mean_test", "regret"),
}


@click.command(
    "simulate",
    epilog="Example: auxtune simulate tables/builtin --selector tag --selector random_subset --seeds 20",
)
@click.argument("table_dir", type=click.Path(path_type=Path))
@click.option(
    "--selector", "selectors", multiple=True, required=True, metavar="NAME",
    help="A selector, or '{name: NAME, option: value}'; several to compare them.",
)
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="An option of every selector that has it.")
@click.option("--models", multiple=True, metavar="N[,N…]", help="Groups: the most models that may be served (3).")
@click.option(
    "--inference-budget", "inference_budgets", multiple=True, metavar="X[,X…]",
    help="Groups: the most that serving may cost, in units of a usual model.",
)
@click.option("--budget", "budgets", multiple=True, metavar="N[,N…]", help="Trials to spend; all recorded ones.")
@click.option("--target", "targets", multiple=True, metavar="TASK", help="Only this target; each in turn.")
@click.option("--seeds", default=1, show_default=True, type=click.IntRange(1), help="Searches, each with its own seed.")
@click.option("--seed", default=0, show_default=True, help="The first seed.")
@click.option("--concurrent", default=1, show_default=True, type=click.IntRange(1), help="Slots of the virtual clock.")
@click.option("--judge-on", "split", default="test", show_default=True, help="The split that answers are judged on.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw quality against cost (.png, .svg).")
@click.option("--json", "as_json", is_flag=True, help="Print a list of rows, one for each search.")
def command(
    table_dir: Path, selectors: tuple[str, ...], overrides: tuple[str, ...], models: tuple[str, ...],
    inference_budgets: tuple[str, ...], budgets: tuple[str, ...], targets: tuple[str, ...], seeds: int, seed: int,
    concurrent: int, split: str, picture: Path | None, as_json: bool,
) -> None:
    """Run selectors against the recorded table in TABLE_DIR and judge their answers on the split they did not see.

    First the table is audited: what could make the figures say less than they seem to is printed before them.
    """
    from auxtune.orchestrator.simulation.audit import audit
    from auxtune.orchestrator.simulation.reading import read_recorded
    from auxtune.orchestrator.simulation.simulate import simulate

    recorded = read_recorded(table_dir)
    for line in audit(recorded.table):
        click.echo(f"warning: {recorded.name}: {line}", err=True)
    rows = simulate(
        recorded, [_with(given, overrides) for given in _parsed(selectors, overrides)],
        targets=targets, models=_numbers(models, int, "--models"), budgets=_numbers(budgets, int, "--budget"),
        inference_budgets=_numbers(inference_budgets, float, "--inference-budget"),
        seeds=range(seed, seed + seeds), concurrent=concurrent, split=split,
        progress=lambda line: click.echo(line, err=True),
    )
    if as_json:
        click.echo(json.dumps([_plain(row) for row in rows.to_dict("records")], indent=2, ensure_ascii=False))
    else:
        _print(rows, recorded)
    if picture is not None:
        _draw(rows, recorded, picture)


def _parsed(selectors: tuple[str, ...], overrides: tuple[str, ...]) -> list[dict[str, Any]]:
    """What was asked for as mappings. Raises ``BadParameter`` where an override fits none of them."""
    import yaml

    asked: list[dict[str, Any]] = []
    for text in selectors:
        try:
            given = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise click.BadParameter(f"expected a name or a YAML mapping, found {text!r}: {error}") from error
        asked.append(given if isinstance(given, dict) else {"name": str(given)})
    for override in overrides:
        key = override.partition("=")[0]
        if "=" not in override or not any(key in _options(given) for given in asked):
            raise click.BadParameter(f"--set {override}: expected KEY=VALUE with an option of one of the selectors")
    return asked


def _with(given: dict[str, Any], overrides: tuple[str, ...]) -> str | dict[str, Any]:
    """The selector with the overrides of options that it has; its label stays what was asked for."""
    import yaml

    own = _options(given)
    for override in overrides:
        key, _, value = override.partition("=")
        if key in own:
            given = {**given, key: yaml.safe_load(value)}
    return given["name"] if given.keys() == {"name"} else given


def _options(given: dict[str, Any]) -> set[str]:
    from auxtune.selectors.registry import describe

    return {option.name for method in describe() if method.name == given.get("name") for option in method.options}


def _numbers(given: tuple[str, ...], kind: type, option: str) -> list[Any]:
    try:
        return [kind(part) for text in given for part in text.replace(",", " ").split()]
    except ValueError as error:
        raise click.BadParameter(f"{option}: expected numbers, found {', '.join(given)}") from error


def _plain(row: dict[Any, Any]) -> dict[str, Any]:
    """A row of JSON: what is not applicable is null, and so is what is no number."""
    import pandas as pd

    return {str(key): None if pd.isna(value) else value for key, value in row.items()}


def _print(rows: pd.DataFrame, recorded: Recorded) -> None:
    from rich.box import SIMPLE
    from rich.console import Console
    from rich.table import Table

    from auxtune.orchestrator.simulation.summary import summarise

    header = recorded.table.header
    measures = _MEASURES[header.kind]
    lines = list(summarise(rows, (*measures, "trials", "cost")))
    asked = [name for name in ("target", "models", "inference_budget", "budget") if rows[name].notna().any()]
    if header.kind == "transfer":
        asked.remove("target")
    shown = [measure for measure in measures if rows[measure].notna().any()]
    table = Table("selector", *asked, *shown, "trials", "cost", box=SIMPLE, pad_edge=False)
    for line in lines:
        limits = [str(line.target) if name == "target" else f"{line.asked.get(name, float('nan')):g}" for name in asked]
        table.add_row(line.selector, *limits, *(str(line.means.get(name, "–")) for name in (*shown, "trials", "cost")))
    better = "lower" if header.mode == "min" else "higher"
    over = "targets" if header.kind == "transfer" else "seeds"
    Console().print(table)
    click.echo(f"{header.metric}, {better} is better; mean ± half of the 95 % interval over {over}; cost in {_unit(recorded)}")


def _unit(recorded: Recorded) -> str:
    return "seconds" if recorded.table.seconds is not None else "trainings of one task"


def _draw(rows: pd.DataFrame, recorded: Recorded, path: Path) -> None:
    from auxtune.orchestrator.simulation.picture import draw
    from auxtune.orchestrator.simulation.summary import summarise

    measures = _MEASURES[recorded.table.header.kind]
    measure = next(name for name in measures if rows[name].notna().any())
    lines = list(summarise(rows, (*measures, "cost")))
    try:
        draw(lines, measure, _unit(recorded), recorded.name, path)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"--picture {path}: cannot be written: {error}") from error
