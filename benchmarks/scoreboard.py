"""Writes docs/scoreboard.md from the result files that scoreboard_run.py left, and measures nothing itself.

    python benchmarks/scoreboard.py            write the page
    python benchmarks/scoreboard.py --check    exit 1 if the page does not say what the files do

A winner is named only if the best selector's difference from every other one is beyond chance: paired over seeds, by
Student's t, corrected for all pairs that could have been compared (Bonferroni). If a selector and the best do the same
with every seed, there is no chance to measure, and one table says nothing about another: then there is no winner.
"""

from __future__ import annotations

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.stats import t as student

from auxtune.orchestrator.simulation.summary import average_seeds

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "docs" / "scoreboard.md"
_LESS = 0.9  # of the leader's cost: a cheaper selector did not get its chance
CONTROLS = ("all_tasks", "single_task", "size_proportional", "random_subset", "random_groups")

HEAD = """# Scoreboard

Selectors against recorded tables, where the best answer is known. Each line is a selector, `regret` is how much worse
its answer is on the test split than the best possible one, `cost` is what its search paid for, probes and failures
included, and the intervals are 95 % intervals over seeds. Controls are in italics. How searches are simulated, and what
the figures mean: [simulating](simulating.md). This page is made from the files in `benchmarks/results` by
`make scoreboard`, and those by `make scoreboard-run`; how selectors do when they really train is in the
[results](results.md).

A winner is named only if its lead over every other line is beyond chance after correction for all pairs, and only for
that table. If neither of two lines depends on the seed, their difference is not chance, but nothing here shows whether
it would exist on another table: they are not told apart. A control that serves more models than the question allows
cannot win. Nor does anything win against a selector that cost less by a tenth or more, controls aside: with the same
budget that one might have done better. A selector that predicts is judged by its favourite among the test mixtures,
any other, and a fallback to equal shares, by the test mixture nearest to its answer. A commit with a `+` had
uncommitted changes. `gp_mixing`, `autosem` and `mixture_regression` have become other versions since.
"""


def main() -> None:
    """Write the page, or check that it is current."""
    simulated = (line for path in results("scoreboard") for line in section(json.loads(path.read_text())))
    trained = (line for path in results("studies") for line in studies(json.loads(path.read_text())))
    page = "\n".join([HEAD, *simulated, *trained])
    if "--check" not in sys.argv:
        PAGE.write_text(page, encoding="utf-8")
    elif PAGE.read_text(encoding="utf-8") != page:
        sys.exit(f"{PAGE.relative_to(ROOT)} does not say what the result files do; run `make scoreboard`")


def results(kind: str) -> list[Path]:
    """The files of all blocks, or of all sets of studies, by name."""
    return sorted((ROOT / "benchmarks" / "results").glob(f"{kind}_*.json"))


def section(result: dict[str, Any]) -> Iterator[str]:
    """One block: its question, a line for each selector, the verdict, and where it comes from."""
    rows, measure = pd.DataFrame(result["rows"]), result["measure"]
    order = _order(rows, result)
    shown = list(dict.fromkeys([measure, "regret", "spearman"]))
    shown = [name for name in shown if rows[name].notna().any()]
    yield f"## {result['table']}: {result['question']}\n"
    yield f"| selector | {' | '.join(name.replace('_', ' ') for name in shown)} | trials | cost | took |"
    yield f"|---|{'---|' * (len(shown) + 3)}"
    for name in order:
        part = rows[rows["selector"] == name]
        cells = [_interval(part[column]) for column in (*shown, "trials", "cost")]
        label = f"*`{name}`*" if name.split(" ")[0] in CONTROLS else f"`{name}`"
        label += ", a model per task" if name in result["beyond_budget"] else ""
        yield f"| {label} | {' | '.join(cells)} | {result['seconds'][name]:.1f} s |"
    better = "higher" if result["higher_is_better"] else "lower"
    yield (
        f"\n{verdict(rows, result, order)} {measure.replace('_', ' ').capitalize()}: {better} is better, in units of "
        f"{result['metric']}; cost in {result['cost_in']}.\n"
    )
    for warning in result["audit"]:
        yield f"Audit: {warning}.\n"
    yield _origin(result, f", {len(result['seeds'])} seeds, {result['peak_memory_mb']:.0f} MB at the most")


def studies(result: dict[str, Any]) -> Iterator[str]:
    """Studies of one question that really trained: what each chose, its lift over every control, its price."""
    listed = sorted(result["studies"], key=lambda study: -study["lift"]["single_task"]["mean"])
    controls = list(listed[0]["lift"])
    yield f"## Trained: {result['question']}\n"
    yield f"| selector | chose | {' | '.join(f'over *`{name}`*' for name in controls)} | CPU hours, paid + reused |"
    yield f"|---|---|{'---|' * (len(controls) + 1)}"
    for study in listed:
        kept = {task: f" ({rows} rows)" for task, rows in (study["instances"] or {}).items()}
        chosen = " + ".join(f"{task} {share:.0%}{kept.get(task, '')}" for task, share in study["weights"].items())
        lifts = [_lift(study["lift"][name]) for name in controls]
        price = f"{study['cpu_hours']:.2f} + {study['cpu_hours_reused']:.2f}"
        yield f"| `{study['selector']}` | {chosen} | {' | '.join(lifts)} | {price} |"
    yield (
        "\nLifts are on the test split, with their 95 % intervals over fresh seeds of training. No winner: each line "
        "is one search, and how much another seed would choose otherwise was not measured here.\n"
    )
    yield _origin(result)


def _lift(lift: dict[str, Any]) -> str:
    if not lift["mean"] and not lift["high"]:
        return "the same"
    return f"{lift['mean']:+.3f} ({lift['low']:+.3f} … {lift['high']:+.3f})"


def verdict(rows: pd.DataFrame, result: dict[str, Any], order: list[str]) -> str:
    """The winner, if the lead over every other line is beyond chance, or that there is none, and why."""
    values = rows.pivot(index="seed", columns="selector", values=result["measure"])
    known = [name for name in order if values[name].notna().all() and name not in result["beyond_budget"]]
    if len(known) < 2:
        return "No winner: nothing to compare."
    best, others = known[0], known[1:]
    pairs = len(list(itertools.combinations(known, 2)))
    sign = 1.0 if result["higher_is_better"] else -1.0
    level = [
        name for name in others if not _beyond_chance(sign * (values[best] - values[name]).to_numpy(dtype=float), pairs)
    ]
    if level:
        return f"No winner: `{best}` leads, and {', '.join(f'`{name}`' for name in level)} cannot be told from it."
    costs = rows.groupby("selector")["cost"].mean()
    cheaper = [name for name in others if name.split(" ")[0] not in CONTROLS and costs[name] < _LESS * costs[best]]
    if cheaper:
        return f"No winner at equal cost: `{best}` is best, and {', '.join(f'`{name}`' for name in cheaper)} cost less."
    return f"Winner: `{best}`."


def _beyond_chance(lead: np.ndarray, pairs: int) -> bool:
    """Whether the mean of paired leads, (seeds,), is above 0 at 5 % over ``pairs`` comparisons."""
    spread = lead.std(ddof=1) if len(lead) > 1 else 0.0
    if spread < 1e-12:  # nothing depended on the seed
        return False
    half = student.ppf(1 - 0.025 / pairs, len(lead) - 1) * spread / np.sqrt(len(lead))
    return bool(lead.mean() > half)


def _origin(result: dict[str, Any], more: str = "") -> str:
    machine = result["machine"]
    where = f"{machine['cores']} cores, Python {machine['python']}"
    return f"<small>`{result['command']}` at {result['commit']}, {where}{more}.</small>\n"


def _order(rows: pd.DataFrame, result: dict[str, Any]) -> list[str]:
    """The selectors, best first; those without a value last."""
    means = rows.groupby("selector")[result["measure"]].mean()
    ranked: list[str] = means.sort_values(ascending=not result["higher_is_better"], na_position="last").index.tolist()
    return ranked


def _interval(values: pd.Series[float]) -> str:
    """Mean ± half the interval; a dash where some search has no value."""
    known = values.dropna().to_numpy(dtype=float)
    if len(known) < len(values):
        return "–"
    return str(average_seeds(known))


if __name__ == "__main__":
    main()
