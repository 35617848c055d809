"""Sums up the rows of a simulation: a line for each selector and budget, means with 95 % intervals."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from scipy.stats import t as student

_DRAWS = 2000


@dataclass(frozen=True)
class Interval:
    """A mean and half the width of its 95 % interval; ``None`` where there is only one number."""

    mean: float
    half: float | None

    def __str__(self) -> str:
        spread = self.half is not None and self.half > 1e-9 * abs(self.mean)
        return f"{self.mean:.4g} ± {self.half:.2g}" if spread else f"{self.mean:.4g}"


@dataclass(frozen=True)
class Line:
    """One selector under one budget: the means of what is applicable, and over how many searches."""

    selector: str
    asked: dict[str, float]  # models, inference_budget, budget: those that were given
    target: str | None
    searches: int
    means: dict[str, Interval]


def summarise(rows: pd.DataFrame, measures: Sequence[str]) -> Iterator[Line]:
    """Lines in the order of the rows: seeds are averaged, and targets too where a measure has the same scale in all.

    Over targets the interval is of a bootstrap of the targets, each its mean over seeds; else Student's t over seeds.
    """
    asked = ["models", "inference_budget", "budget"]
    over_targets = rows["ndcg"].notna().any()
    by = ["selector", *asked] if over_targets else ["selector", "target", *asked]
    for _, part in rows.groupby(by, sort=False, dropna=False):
        given = {name: float(part[name].iloc[0]) for name in asked if pd.notna(part[name].iloc[0])}
        target = None if over_targets else part["target"].iloc[0]
        means = {}
        for measure in measures:
            known = part[["target", measure]].dropna(subset=[measure])
            if len(known) < len(part):  # a mean over the searches that went well would flatter
                continue
            if over_targets:
                means[measure] = _average_targets(known.groupby("target")[measure].mean().to_numpy(dtype=float))
            else:
                means[measure] = average_seeds(known[measure].to_numpy(dtype=float))
        yield Line(part["selector"].iloc[0], given, target, len(part), means)


def average_seeds(values: np.ndarray) -> Interval:
    """Student's t over (seeds,) values."""
    if len(values) < 2:
        return Interval(float(values.mean()), None)
    half = student.ppf(0.975, len(values) - 1) * values.std(ddof=1) / np.sqrt(len(values))
    return Interval(float(values.mean()), float(half))


def _average_targets(values: np.ndarray) -> Interval:
    if len(values) < 2:
        return Interval(float(values.mean()), None)
    rng = np.random.default_rng(0)
    draws = values[rng.integers(len(values), size=(_DRAWS, len(values)))].mean(axis=1)
    low, high = np.quantile(draws, [0.025, 0.975])
    return Interval(float(values.mean()), float(high - low) / 2)


_MARKS = "osD^vP*Xph<>"
# Okabe and Ito's colours, which colour-blind people tell apart.
_COLOURS = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#CC79A7", "#56B4E9", "#000000")


def draw_lines(lines: Sequence[Line], measure: str, unit: str, title: str, path: Path) -> None:
    """Write the picture to ``path``: a point for each line, with the intervals of both. Its suffix says the format.

    Raises ``OSError`` where it cannot be written, ``ValueError`` for a suffix that is no format of pictures.
    """
    from matplotlib.figure import Figure  # slow to import, and only wanted here

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    axes = figure.add_subplot()
    names = list(dict.fromkeys(line.selector for line in lines))
    for line in lines:
        if measure not in line.means:
            continue
        cost, quality, place = line.means["cost"], line.means[measure], names.index(line.selector)
        first = next(one for one in lines if one.selector == line.selector and measure in one.means)
        axes.errorbar(
            cost.mean,
            quality.mean,
            xerr=cost.half,
            yerr=quality.half,
            capsize=2,
            markersize=6,
            linestyle="none",
            marker=_MARKS[place % len(_MARKS)],
            color=_COLOURS[place % len(_COLOURS)],
            label=line.selector if line is first else None,
        )
    axes.set_xlabel(f"cost of the search ({unit})")
    axes.set_ylabel(measure.replace("_", " "))
    axes.set_title(title)
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    figure.savefig(path, dpi=150)
