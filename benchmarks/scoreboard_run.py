"""Runs every selector against every recorded table and writes what the scoreboard shows.

    python benchmarks/scoreboard_run.py --tables DIR          DIR holds taskonomy5_setting1, regmix17, olmix64 …
    python benchmarks/scoreboard_run.py builtin --seeds 5     only some blocks

A block is one question: a table, the selectors that can answer it, the trivial controls, and how much each may spend.
Each is written to ``benchmarks/results/scoreboard_<block>.json`` with command, commit, machine and seeds, with the rows
of ``auxtune simulate --json``, and with the seconds each selector took here and the process's peak memory. Each block
runs in a process of its own, so that memory is its own. A block whose table is missing is left out, with a message.
"""

from __future__ import annotations

import argparse
import json
import math
import multiprocessing
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
from provenance import peak_memory_mb, provenance

from auxtune.orchestrator import simulate
from auxtune.orchestrator.simulation.audit import audit_table
from auxtune.orchestrator.simulation.simulate import Asked
from auxtune.orchestrator.tables.reading import read_recorded

RESULTS = Path(__file__).parent / "results"
INSTALLED = Path(__file__).parents[1] / "examples" / "tables"


@dataclass(frozen=True)
class Block:
    """One question of the scoreboard."""

    table: str
    question: str
    measure: str  # the column that is compared
    selectors: tuple[str | dict[str, Any], ...]
    options: dict[str, Any] = field(default_factory=dict)
    seeds: int = 20


GROUPING = (
    "auto",
    "exhaustive",
    {"name": "exhaustive", "split": "early"},
    "hoa",
    "random_groups",
    "single_task",
    "all_tasks",
)
SUBSETS = (
    "auto",
    "gp_mixing",
    "random_mixture",
    "tag",
    "gradts_trial",
    {"name": "gradts_threshold", "threshold": 0.3},
    "covariance_similarity",
    "representation_gradient",
    "linear_surrogate",
    "hoa",
    "exhaustive",
    "random_subset",
    "all_tasks",
    "single_task",
)
MIXING = ("auto", "mixture_regression", "gp_mixing", "random_subset", "all_tasks", "size_proportional")

BLOCKS = {
    "builtin": Block("builtin", "Which of six tasks help `mood`?", "mean_test", SUBSETS),
    "builtin_equal_cost": Block(
        "builtin",
        "The same, when a search may cost 60 seconds of training",
        "mean_test",
        SUBSETS,
        {"most_cost": 60.0},
    ),
    **{
        f"taskonomy5_budget{budget}": Block(
            "taskonomy5_setting1",
            f"Five vision tasks, serving may cost {budget} networks",
            "total_test",
            GROUPING,
            {"inference_budgets": [budget]},
        )
        for budget in (2, 3, 4, 5)
    },
    **{
        f"{table}_{budget:03}": Block(
            table,
            f"The mixture that is best for {target}, from {budget} trainings",
            "regret",
            (*MIXING, {"name": "gp_mixing", "samples": 64}) if (table, budget) == ("regmix17", 64) else MIXING,
            {"targets": [target], "budgets": [budget]},
        )
        for table, target in (("regmix17", "pile_cc"), ("olmix64", "mean_z"))
        for budget in (64, 128, 256)
    },
    "regmix17_128_larger": Block(
        "regmix17",
        "The same from 128 trainings, judged on models of sixty times the size",
        "regret",
        MIXING,
        {"targets": ["pile_cc"], "budgets": [128], "split": "test_60m"},
    ),
}


def main() -> None:
    """Run the blocks asked for and write their files."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("blocks", nargs="*", help=f"which of {', '.join(BLOCKS)}; all")
    parser.add_argument("--tables", type=Path, default=INSTALLED, help="a folder of recorded tables")
    parser.add_argument("--seeds", type=int, help="searches of each selector, instead of the block's own number")
    arguments = parser.parse_args()
    if strange := [name for name in arguments.blocks if name not in BLOCKS]:
        parser.error(f"blocks must be of {', '.join(BLOCKS)}; got {', '.join(strange)}")
    failed = []
    for name in arguments.blocks or BLOCKS:
        block = BLOCKS[name]
        folder = next((f for f in (arguments.tables / block.table, INSTALLED / block.table) if f.is_dir()), None)
        if folder is None:
            print(f"{name}: left out, {arguments.tables} holds no table {block.table}")
            continue
        process = multiprocessing.get_context("spawn").Process(
            target=run, args=(name, folder, arguments.seeds or block.seeds)
        )
        process.start()
        process.join()
        failed += [name] if process.exitcode else []
    if failed:
        parser.exit(1, f"failed, and left as they were: {', '.join(failed)}\n")


def run(name: str, folder: Path, seeds: int) -> None:
    """Run one block and write its file."""
    block, recorded = BLOCKS[name], read_recorded(folder)
    header = recorded.table.header
    rows, seconds = [], {}
    for given in block.selectors:
        began, label = time.perf_counter(), Asked.of(given).label
        rows.append(simulate(recorded, [given], seeds=range(seeds), **block.options, **_target(block)))
        seconds[label] = round(time.perf_counter() - began, 2)
        print(f"{name}: {label}, {seeds} searches in {seconds[label]:.1f} s", flush=True)
    every = pd.concat(rows)
    higher = header.mode == "max" and block.measure != "regret"
    done = {
        "block": name,
        "table": block.table,
        "question": block.question,
        "measure": block.measure,
        "higher_is_better": higher,
        "metric": header.metric,
        "cost_in": "trainings of one task" if recorded.table.seconds is None else "seconds",
        "beyond_budget": _beyond_budget(block, header.tasks),
        **provenance(range(seeds)),
        "audit": audit_table(recorded.table),
        "seconds": seconds,
        "peak_memory_mb": peak_memory_mb(),
        "rows": [{key: _plain(value) for key, value in row.items()} for row in every.to_dict("records")],
    }
    RESULTS.mkdir(exist_ok=True)
    lines = ",\n  ".join(json.dumps(row) for row in done.pop("rows"))
    head = json.dumps(done, indent=1, ensure_ascii=False)[:-2]
    (RESULTS / f"scoreboard_{name}.json").write_text(f'{head},\n "rows": [\n  {lines}\n ]\n}}\n', encoding="utf-8")


def _target(block: Block) -> dict[str, Any]:
    """The one target of the built-in table, so that selectors that group answer for it too."""
    return {"targets": ["mood"]} if block.table == "builtin" else {}


def _beyond_budget(block: Block, tasks: tuple[str, ...]) -> list[str]:
    """The controls that serve more models than the block's budget allows: one for each task."""
    return ["single_task"] if max(block.options.get("inference_budgets", [len(tasks)])) < len(tasks) else []


def _plain(value: Any) -> Any:
    if pd.isna(value):
        return None
    return float(f"{value:.7g}") if isinstance(value, float) and math.isfinite(value) else value


if __name__ == "__main__":
    main()
