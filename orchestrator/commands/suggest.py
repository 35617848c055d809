"""``auxtune suggest``: which mixtures to train next, from runs made anywhere; nothing is trained."""

from __future__ import annotations

import json
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

if TYPE_CHECKING:
    from auxtune.orchestrator.simulation.advisor import Advice, MixtureAdvisor


@click.command("suggest", epilog="Example: auxtune suggest runs.csv --target loss --mode min --next 4")
@click.argument("runs_csv", type=click.Path(path_type=Path))
@click.option("--target", metavar="NAME", help="The column y:NAME to be won; needed where there are several.")
@click.option("--mode", type=click.Choice(("max", "min")), default="max", show_default=True, help="What is better.")
@click.option("--primary", metavar="TASK", help="The task that the target is about: it is then tried alone, too.")
@click.option("--next", "count", default=4, show_default=True, type=click.IntRange(0), help="Mixtures to suggest.")
@click.option("--seed", default=0, show_default=True, help="Of the candidates that are drawn.")
@click.option("--plot", type=click.Path(path_type=Path), help="Draw what was expected of each run, .png or .svg.")
@click.option("--json", "as_json", is_flag=True, help="Print the advice as one object.")
def command(
    runs_csv: Path,
    target: str | None,
    mode: str,
    primary: str | None,
    count: int,
    seed: int,
    plot: Path | None,
    as_json: bool,
) -> None:
    """Say what the runs in RUNS_CSV show, which mixture is best so far, and what to train next.

    RUNS_CSV has a row for each run: columns w:TASK with the share of each task (they sum to 1), and y:TARGET with what
    it came to; a run without a value is left out. Other columns are ignored. A study can begin from such a file, too:
    name it under `earlier`.
    """
    from auxtune.orchestrator.simulation.advisor import MixtureAdvisor
    from auxtune.orchestrator.tables.runs import read_runs

    runs = read_runs(runs_csv)
    name, values = runs.read_target(target)
    if primary is not None and primary not in runs.tasks:
        raise click.BadParameter(f"--primary: expected one of {', '.join(runs.tasks)}, got {primary!r}")
    advisor = MixtureAdvisor(runs.tasks, primary, "min" if mode == "min" else "max", seed)
    for shares, value in zip(runs.shares.tolist(), values.tolist(), strict=True):
        if np.isfinite(value):
            advisor.tell(dict(zip(runs.tasks, shares, strict=True)), value)
    advice, mixtures = advisor.advise(), advisor.ask(count)
    if as_json:
        said = {"target": name, "mode": mode, **asdict(advice), "next": mixtures}
        click.echo(json.dumps(said, indent=2, ensure_ascii=False))
    else:
        _print_advice(advice, mixtures, name, int(np.isnan(values).sum()))
    if plot is not None:
        _draw_picture(advisor, advice, name, plot)


def _print_advice(advice: Advice, mixtures: list[dict[str, float]], target: str, without: int) -> None:
    from auxtune.orchestrator.report.blocks import Paragraph, Table
    from auxtune.orchestrator.views.terminal import print_blocks

    blocks: list[Any] = [Paragraph(line) for line in _describe(advice, target, without)]
    if mixtures:
        rows = tuple((str(number), _write_shares(shares)) for number, shares in enumerate(mixtures, start=1))
        blocks.append(Table("Train next", ("", "mixture"), rows))
    print_blocks(blocks)


def _describe(advice: Advice, target: str, without: int) -> list[str]:
    """The advice as sentences."""
    left_out = f", {without} without a value left out" if without else ""
    lines = [f"{advice.runs} runs with {target}{left_out}."]
    if advice.best is None or advice.quality is None or advice.gain is None:
        return [*lines, "Fewer than three runs with scores that differ: nothing can be said of the best yet."]
    quality, best = advice.quality, advice.best
    lines.append(
        f"Each run is predicted by the others with a rank correlation of {quality.spearman:.2f}; that explains "
        f"{max(quality.explained, 0):.0%} of the differences."
    )
    if quality.spearman < 0.2:
        lines.append("That is hardly better than chance: what follows is little more than a guess.")
    again = f", {best.runs} runs" if best.runs > 1 else ""
    lines.append(f"Best so far: {_write_shares(best.weights)} (seen {best.seen:.4g}{again}).")
    lines.append(f"Expected of such runs on average: {best.mean:.4g}, 95 % interval {best.low:.4g} to {best.high:.4g}.")
    lines += [f"Better than {what} with probability {chance:.2f}." for what, chance in best.better_than.items()]
    lines.append(f"One more run is expected to gain {advice.gain:.2g}; runs alike differ by {advice.noise:.2g}.")
    return lines


def _write_shares(weights: Any) -> str:
    ordered = sorted(weights.items(), key=lambda each: -each[1])
    return " + ".join(f"{name} {share:.0%}" for name, share in ordered)


def _draw_picture(advisor: MixtureAdvisor, advice: Advice, target: str, path: Path) -> None:
    """What the others expect of each run beside what it scored. Raises ``BadParameter`` where it cannot be drawn."""
    from matplotlib.figure import Figure  # slow to import, and only wanted here

    if advice.best is None:
        raise click.BadParameter("--plot: needs three runs with scores that differ")
    expected, seen = advisor.predict_left_out()
    figure = Figure(figsize=(5, 5), layout="constrained")
    axes = figure.add_subplot()
    ends = [min(expected.min(), seen.min()), max(expected.max(), seen.max())]
    axes.plot(ends, ends, color="0.6", linewidth=1)
    axes.scatter(expected, seen, s=18, alpha=0.8)
    axes.set_xlabel(f"{target}, predicted from the other runs")
    axes.set_ylabel(f"{target}, seen")
    axes.grid(alpha=0.3)
    try:
        figure.savefig(path, dpi=150)
    except (OSError, ValueError) as error:
        raise click.BadParameter(f"--plot {path}: cannot be written: {error}") from error
