"""What `thompson` chooses from the same rounds by either reading: all rewards, or the posterior after the last one.

    python benchmarks/search_seeds.py --selector thompson --storage DIR
    python benchmarks/bandit_readouts.py --storage DIR --out benchmarks/results/thompson_readouts.json

Reads the ledgers of the searches that ``search_seeds.py`` left in ``DIR``, however their own answers were read, and
trains nothing. For each search it keeps, by run, how many rounds of each task were rewarded and how many were not, and
what either reading chooses; ``equal`` is the value of that choice in equal shares by the recorded table of every subset
(``examples/tables/builtin``). ``tint``, ``stars`` and ``rival`` help, the others hurt (docs/builtin-tasks.md).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import mean
from typing import Any

from search_seeds import recorded_truth

from auxtune.orchestrator import Study
from auxtune.orchestrator.report.material import read_material
from auxtune.selectors.methods.thompson import Thompson

HELPFUL = {"tint", "stars", "rival"}
Row = dict[str, Any]


def main() -> None:
    """Read, write and print what each search chose."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--storage", type=Path, required=True, help="the folder given to search_seeds.py")
    parser.add_argument("--out", type=Path, help="where to write the rows, as JSON")
    arguments = parser.parse_args()
    truth = recorded_truth()
    rows = [read_search(folder, truth) for folder in sorted(arguments.storage.glob("seed*/thompson"))]
    rows.sort(key=lambda row: row["seed"])
    if arguments.out:
        arguments.out.write_text(json.dumps(rows, indent=1) + "\n")
    print_table(rows)


def read_search(folder: Path, truth: Row) -> Row:
    """One finished search: its rewards, and what either reading chooses."""
    material = read_material(folder, Study.from_folder(folder).file)
    selector, state, primary = material.selector, material.fold.state, material.problem.require_primary()
    if not isinstance(selector, Thompson):
        raise ValueError(f"{folder}: expected a study by thompson, found {type(selector).__name__}")
    row: Row = {"seed": material.problem.seed}
    for name, released in (("all_rewards", False), ("last_posterior", True)):
        selection = replace(selector, released=released).select(state, {})
        chosen = [task for task in selection.tasks if task != primary]
        row[name] = {
            "chosen": chosen,
            "utility": selection.belief["utility"],
            "better": selection.belief.get("better"),
            "equal": truth["means"][frozenset([primary, *chosen])],
        }
    runs = [state.bandits[number].rates for number in sorted(state.bandits)]
    row["runs"] = [{"won": dict(run.won), "lost": dict(run.lost)} for run in runs]
    return row


def print_table(rows: Sequence[Row]) -> None:
    """A row in Markdown for each reading: how often it chose each task, and how good its choices are."""
    tasks = ["tint", "stars", "rival", "river", "pace", "slang"]
    columns = [
        "reading",
        *tasks,
        "helpful of the chosen",
        "of the helpful chosen",
        "auxiliaries",
        "in equal shares",
        "the worst search",
    ]
    print(f"| {' | '.join(columns)} |\n|{'---|' * len(columns)}")
    for reading in ("last_posterior", "all_rewards"):
        answers: list[Mapping[str, Any]] = [row[reading] for row in rows]
        picked = [task for answer in answers for task in answer["chosen"]]
        helpful = sum(task in HELPFUL for task in picked)
        equal = [answer["equal"] for answer in answers]
        cells = [
            *(str(picked.count(task)) for task in tasks),
            f"{helpful / len(picked):.0%}",
            f"{helpful / len(HELPFUL) / len(rows):.0%}",
            f"{len(picked) / len(rows):.1f}",
            f"{mean(equal):.1%}",
            f"{min(equal):.1%}",
        ]
        print(f"| {' | '.join([reading, *cells])} |")


if __name__ == "__main__":
    main()
