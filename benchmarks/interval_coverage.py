"""How often does the interval of a lift hold the true lift? Simulated confirms, the old formula beside the present one.

    python benchmarks/interval_coverage.py --out benchmarks/results/interval_coverage.json

A confirm is two arms with the same test rows and the same seeds, scored by accuracy. Whether an arm gets a row right
with a seed follows a probit model: a normal difficulty of the row, which both arms share, a normal effect of the row on
this arm, a normal effect of the seed on this arm, and noise of its own for every row and seed. So the true lift, over
all rows and all seeds, is known exactly: with effects of variance v in all, the accuracy is Phi(c / sqrt(1 + v)). The
``REGIMES`` differ in what varies. ``coverage`` is the share of confirms whose interval holds the true lift, at 95 % and
at the level that four controls taken together ask for; ``width`` the present interval's median width over that of the
old one.

The old formula is ± sqrt((t s / sqrt(S))² + (z e)²); the present one is ``answer.lift.estimate_half_width``.
``satterthwaite`` is the interval of the crossed random-effects variance MS_seed + MS_row - MS_interaction with
Satterthwaite's (1946) degrees of freedom, which was tried and not adopted: with few seeds it covers too little.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance
from scipy import stats

from auxtune.orchestrator.answer.lift import LEVEL, estimate_half_width

SEEDS, ROWS = (2, 3, 4, 8), (50, 200, 750, 2000)
FOUR = 1 - (1 - LEVEL) / 4  # the level of each of four intervals that hold together
_AT_ONCE = 4_000_000  # answers simulated at once, which bounds the memory


@dataclass(frozen=True)
class Regime:
    """What varies: standard deviations of normal effects in units of the noise of a single answer."""

    accuracy: float  # of the control
    lift: float  # of the selection, in the same units
    difficulty: float  # of rows, alike for both arms
    rows: float  # of rows, for each arm its own
    seeds: float  # of seeds, for each arm its own


REGIMES = {
    "nothing but noise": Regime(0.8, 0.0, 1.0, 0.0, 0.0),
    "seeds": Regime(0.8, 0.0, 1.0, 0.1, 0.2),
    "rows": Regime(0.8, 0.0, 1.0, 0.6, 0.0),
    "both": Regime(0.8, 0.0, 1.0, 0.5, 0.07),
    "strong seeds, a lift": Regime(0.8, 0.3, 1.0, 0.3, 0.6),
    "near the ceiling": Regime(0.96, 0.0, 0.5, 0.4, 0.05),
}


@dataclass(frozen=True)
class Confirms:
    """Estimated lifts and mean squares of many confirms, (confirms,) each."""

    lift: np.ndarray
    by_seed: np.ndarray
    by_row: np.ndarray
    by_both: np.ndarray


def main() -> None:
    """Simulate every cell, write the table and print it."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--confirms", type=int, default=10_000, help="simulated confirms per cell")
    parser.add_argument("--out", type=Path, help="where to write the table, as JSON")
    arguments = parser.parse_args()
    rows = []
    for row in covered(arguments.confirms):
        rows.append(row)
        print(json.dumps(row), flush=True)
    result = {"confirms": arguments.confirms, "rows": rows, **provenance([0], ("numpy", "scipy"))}
    if arguments.out:
        arguments.out.write_text(json.dumps(result, indent=1) + "\n")
    print(table(rows))


def covered(confirms: int) -> Iterator[dict[str, Any]]:
    """Coverage and width of every regime, number of seeds and number of rows."""
    rng = np.random.default_rng(0)
    for name, regime in REGIMES.items():
        for seeds in SEEDS:
            for rows in ROWS:
                found = simulate(regime, seeds, rows, confirms, rng)
                off = np.abs(found.lift - true_lift(regime)) - 1e-12
                halves = {level: _halves(found, seeds, rows, level) for level in (LEVEL, FOUR)}
                yield {
                    "regime": name,
                    "seeds": seeds,
                    "report_rows": rows,
                    "coverage": {key: _share(off <= half) for key, half in halves[LEVEL].items()},
                    "coverage_of_four": {key: _share(off <= half) for key, half in halves[FOUR].items()},
                    "width": round(float(np.median(halves[LEVEL]["new"] / halves[LEVEL]["old"])), 3),
                }


def true_lift(regime: Regime) -> float:
    """The selection's accuracy less the control's, over all rows and seeds."""
    total = _spread(regime)
    control = float(stats.norm.ppf(regime.accuracy))
    return float(stats.norm.cdf(control + regime.lift / total)) - regime.accuracy


def simulate(regime: Regime, seeds: int, rows: int, confirms: int, rng: np.random.Generator) -> Confirms:
    """The given number of simulated confirms, in parts that fit into memory."""
    most = max(1, _AT_ONCE // (seeds * rows))
    parts = [_some(regime, seeds, rows, min(most, confirms - done), rng) for done in range(0, confirms, most)]
    return Confirms(*(np.concatenate(each) for each in zip(*parts, strict=True)))


def _some(regime: Regime, seeds: int, rows: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Lift and mean squares of ``count`` confirms, by the usual sums of a crossed layout without repetition."""
    control = float(stats.norm.ppf(regime.accuracy)) * _spread(regime)
    difficulty = rng.standard_normal((count, 1, rows), dtype=np.float32) * np.float32(regime.difficulty)
    right = []
    for level in (control + regime.lift, control):
        own_rows = rng.standard_normal((count, 1, rows), dtype=np.float32) * np.float32(regime.rows)
        own_seeds = rng.standard_normal((count, seeds, 1), dtype=np.float32) * np.float32(regime.seeds)
        noise = rng.standard_normal((count, seeds, rows), dtype=np.float32)
        right.append(noise + (own_seeds + (np.float32(level) + difficulty + own_rows)) > 0)
    apart = right[0].astype(np.int8) - right[1]  # (count, seeds, rows)
    of_seed, of_row = apart.mean(axis=2, dtype=float), apart.mean(axis=1, dtype=float)
    lift = of_seed.mean(axis=1)
    by_seed = rows * ((of_seed - lift[:, None]) ** 2).sum(axis=1)
    by_row = seeds * ((of_row - lift[:, None]) ** 2).sum(axis=1)
    rest = (apart != 0).sum(axis=(1, 2)) - seeds * rows * lift**2 - by_seed - by_row
    by_both = np.maximum(rest, 0) / ((seeds - 1) * (rows - 1))
    return lift, by_seed / (seeds - 1), by_row / (rows - 1), by_both


def _spread(regime: Regime) -> float:
    return float(np.sqrt(1 + regime.difficulty**2 + regime.rows**2 + regime.seeds**2))


def _halves(found: Confirms, seeds: int, rows: int, level: float) -> Mapping[str, np.ndarray]:
    """Half the width of each interval, by formula."""
    tail, count = (1 + level) / 2, seeds * rows
    spread, error, shared = (np.sqrt(each / count) for each in (found.by_seed, found.by_row, found.by_both))
    old = np.hypot(stats.t.ppf(tail, seeds - 1) * spread, stats.norm.ppf(tail) * error)
    variance = np.maximum(spread**2 + error**2 - shared**2, 0)
    parts = spread**4 / (seeds - 1) + error**4 / (rows - 1) + shared**4 / ((seeds - 1) * (rows - 1))
    freedom = np.maximum(np.divide(variance**2, parts, out=np.ones_like(parts), where=parts > 0), 1)
    return {
        "old": old,
        "new": estimate_half_width(spread, error, shared, seeds, level),
        "satterthwaite": stats.t.ppf(tail, freedom) * np.sqrt(variance),
    }


def _share(held: np.ndarray) -> float:
    return round(float(held.mean()), 4)


def table(rows: list[dict[str, Any]]) -> str:
    """The lowest coverage over the regimes for each number of seeds and rows, and the width, in Markdown."""
    columns = ("seeds", "test rows", "old", "new", "Satterthwaite", "new of four", "width")
    lines = [f"| {' | '.join(columns)} |", "|--:" * len(columns) + "|"]
    for seeds in SEEDS:
        for count in ROWS:
            cells = [row for row in rows if (row["seeds"], row["report_rows"]) == (seeds, count)]
            least = {key: min(row["coverage"][key] for row in cells) for key in ("old", "new", "satterthwaite")}
            four = min(row["coverage_of_four"]["new"] for row in cells)
            widths = [row["width"] for row in cells]
            shown = " | ".join(f"{100 * value:.1f}" for value in (*least.values(), four))
            lines.append(f"| {seeds} | {count:,} | {shown} | {min(widths):.2f} … {max(widths):.2f} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
