r"""What searches over mixtures find at equal cost, on surfaces whose best mixture is known.

    python benchmarks/mixture_surfaces.py --selectors auto,random_mixture \
        --out benchmarks/results/mixture_surfaces.jsonl

One search for each selector, surface, noise and seed, asked for its answer after as many trainings as --asked says. A
selector that has ended keeps its answer. Regret is 1 at all tasks alike and 0 at the best mixture; the noise of a score
is given as a part of that gap. Mixtures are executed as a study would, in whole steps of a cycle. Every search is a
line of the output, so that a run that was stopped goes on. The table shows the mean regret, and what each selector
misses more than the first one, with the 95 % interval over seeds of the paired difference.

A selector that has changed since rows of it were recorded is asked for as NAME@VERSION, as in `gp_mixing@2`; rows
without a version are of the first one.

What `auto` assumes was chosen on seeds 1000 to 1030 of the same kinds of surface; seeds from 0 on are for the figures.
But that it does not end by itself before twenty scores was decided on these: after ten it had missed 0.02 more.
"""

from __future__ import annotations

import argparse
import json
import time
from collections import defaultdict
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance
from scipy.stats import t as student
from surfaces import SURFACES, Surface, build_surface

from auxtune.selectors import registry
from auxtune.selectors.extensions import sum_versions
from auxtune.selectors.kit.mixtures import count_cycle, share_by_cycle
from auxtune.selectors.protocol import Outcome, Problem, Proposal, TaskInfo

ASKED = (5, 10, 20, 40)  # trainings after which a search is asked for its answer
Key = tuple[str, str, int, float, int]
KEY = ("selector", "kind", "tasks", "noise", "seed")


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--selectors", default="auto,random_mixture", help="NAME[@VERSION][{json options}], by comma")
    parser.add_argument("--noises", default="0.1", help="parts of the gap, by comma")
    parser.add_argument("--seeds", default="0-19", help="FIRST-LAST")
    parser.add_argument("--asked", default=",".join(map(str, ASKED)), help="numbers of trainings, by comma")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--out", type=Path, help="a file of lines of JSON, which is added to")
    parser.add_argument("--plot", type=Path, help="draw the mean regrets, .png or .svg")
    arguments = parser.parse_args()
    first, last = map(int, arguments.seeds.split("-"))
    names, asked = split_names(arguments.selectors), tuple(map(int, arguments.asked.split(",")))
    wanted: list[Key] = [
        (name, kind, tasks, float(noise), seed)
        for kind, tasks in SURFACES
        for noise in arguments.noises.split(",")
        for name in names
        for seed in range(first, last + 1)
    ]
    rows = read_rows(arguments.out)
    missing = [key for key in wanted if key not in rows]
    commit = provenance(range(first, last + 1))["commit"]
    with ProcessPoolExecutor(arguments.workers) as pool:
        for key, row in zip(missing, pool.map(partial(search, asked=asked), missing), strict=True):
            rows[key] = row | {"commit": commit}
            if arguments.out:
                with arguments.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[key]) + "\n")
    print_table([rows[key] for key in wanted], names, asked)
    if arguments.plot:
        draw_picture([rows[key] for key in wanted], names, arguments.plot, asked)


def split_names(text: str) -> list[str]:
    """Selectors with their options, which hold commas of their own."""
    names, depth = [""], 0
    for letter in text:
        depth += {"{": 1, "}": -1}.get(letter, 0)
        if letter == "," and not depth:
            names.append("")
        else:
            names[-1] += letter
    return names


def read_rows(file: Path | None, key: Sequence[str] = KEY) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The searches that a file holds, by the values under ``key``."""
    if file is None or not file.exists():
        return {}
    rows = [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]
    return {tuple(row[name] for name in key): row for row in rows}


def search(key: Key, asked: Sequence[int]) -> dict[str, Any]:
    """One search: its regrets after each number of trainings, how many it made, and its processor seconds."""
    name, kind, tasks, noise, seed = key
    surface, problem = build_surface(kind, tasks, seed), build_problem(tasks, seed)
    row = {"selector": name, "kind": kind, "tasks": tasks, "noise": noise, "seed": seed}
    return {**row, **search_surface(name, problem, surface, noise, asked)}


def build_problem(tasks: int, seed: int) -> Problem:
    """A primary of few rows, and auxiliaries that have more."""
    names = [f"task{number:02}" for number in range(tasks)]
    infos = tuple(TaskInfo(task, "classification", 1000 if number else 300) for number, task in enumerate(names))
    return Problem(infos, names[0], seed)


def search_surface(name: str, problem: Problem, surface: Surface, noise: float, asked: Sequence[int]) -> dict[str, Any]:
    """One search of a selector, NAME or NAME{json options}: regrets after ``asked`` trainings, and what it took."""
    selector = make_selector(name)
    names = list(problem.names)
    state, rng = selector.start(problem), np.random.default_rng([problem.seed, 99])
    began, regrets, made = time.process_time(), {}, 0
    for number in range(max(asked)):
        proposal = selector.propose(state, {})
        if isinstance(proposal, Proposal):
            state = train(selector, state, number, proposal, surface, noise, rng)
            made += 1
        if number + 1 in asked:
            answer = selector.select(state, {})
            weights = dict(answer.weights or dict.fromkeys(answer.tasks, 1 / len(answer.tasks)))
            regrets[number + 1] = round(surface.measure_regret(list_shares(weights, names)), 5)
    return {"regret": regrets, "made": made, "cpu_seconds": round(time.process_time() - began, 2)}


def train(
    selector: Any,
    state: Any,
    number: int,
    proposal: Proposal,
    surface: Surface,
    noise: float,
    rng: np.random.Generator,
) -> Any:
    """The state after one training, executed in whole steps of a cycle; ``noise`` is a part of the gap."""
    names, deviation = list(state.problem.names), noise * (surface.gap if surface.gap > 1e-12 else 1.0)
    shares = share_by_cycle(count_cycle(dict(proposal.shares), names[0]))
    score = float(surface.score(list_shares(shares, names)[None])[0]) + deviation * rng.standard_normal()
    state = selector.proposed(state, number, replace(proposal, weights=shares))
    return selector.told(state, number, Outcome(score))


def make_selector(name: str) -> Any:
    """The selector of a name with its options. Raises ``ValueError`` where it is of another version than is asked."""
    named, brace, options = name.partition("{")
    short, _, version = named.partition("@")
    selector = registry.make(short, json.loads(brace + options) if options else {})
    if sum_versions(selector) != int(version or 1):
        raise ValueError(f"{short} is of version {sum_versions(selector)} now, got {name}")
    return selector


def list_shares(weights: dict[str, float], names: list[str]) -> np.ndarray:
    """Shares by name as (K,)."""
    return np.array([weights.get(name, 0.0) for name in names])


Regrets = dict[str, dict[int, list[float]]]  # by selector and number of trainings, a value per seed


def sort_regrets(rows: list[dict[str, Any]]) -> dict[tuple[str, int, float], Regrets]:
    """The regrets of all searches by surface: kind, tasks and noise."""
    regrets: dict[tuple[str, int, float], Regrets] = defaultdict(dict)
    for row in rows:
        by_count = regrets[row["kind"], row["tasks"], row["noise"]].setdefault(row["selector"], defaultdict(list))
        for count, regret in row["regret"].items():
            by_count[int(count)].append(regret)
    return regrets


def average_surfaces(regrets: dict[tuple[str, int, float], Regrets], name: str, count: int) -> np.ndarray:
    """A selector's regret after ``count`` trainings, (seeds,), the mean over all surfaces that are not flat."""
    mean: np.ndarray = np.mean([found[name][count] for place, found in regrets.items() if place[0] != "flat"], axis=0)
    return mean


def measure_half_width(values: np.ndarray) -> float:
    """Half of the 95 % interval of the mean of ``values``, (seeds,)."""
    return float(student.ppf(0.975, len(values) - 1)) * float(values.std(ddof=1)) / len(values) ** 0.5


def print_table(rows: list[dict[str, Any]], names: list[str], asked: Sequence[int] = ASKED) -> None:
    """Mean regrets for each surface, and the paired differences from the first selector over all of them."""
    regrets = sort_regrets(rows)
    print(f"| surface | tasks | noise | {' | '.join(names)} |\n|---|--:|--:|{'---|' * len(names)}")
    for (kind, tasks, noise), found in regrets.items():
        cells = [" / ".join(f"{np.mean(found[name][count]):.3f}" for count in asked) for name in names]
        print(f"| {kind} | {tasks} | {noise:g} | {' | '.join(cells)} |")
    for name in names:
        cells = []
        for count in asked:
            own = average_surfaces(regrets, name, count)
            more = own - average_surfaces(regrets, names[0], count)
            cells.append(f"{own.mean():.3f} ({more.mean():+.3f} ± {measure_half_width(more):.3f})")
        print(f"{name}: mean regret after {', '.join(map(str, asked))}, and more than {names[0]}: {'; '.join(cells)}")


def draw_picture(rows: list[dict[str, Any]], names: list[str], path: Path, asked: Sequence[int]) -> None:
    """Mean regret over all surfaces by the number of trainings, with its 95 % interval over seeds."""
    from matplotlib.figure import Figure  # slow to import, and only wanted here

    regrets = sort_regrets(rows)
    figure = Figure(figsize=(7, 4.2), layout="constrained")
    axes = figure.add_subplot()
    for name in names:
        found = [average_surfaces(regrets, name, count) for count in asked]
        means, halves = [each.mean() for each in found], [measure_half_width(each) for each in found]
        label = name.partition("{")[0].partition("@")[0]
        axes.errorbar(asked, means, yerr=halves, marker="o", markersize=4, capsize=2, label=label)
    axes.set_xscale("log", base=2)
    axes.set_xticks(asked, [str(count) for count in asked])
    axes.set_ylim(0, 1.5)
    axes.set_xlabel("trainings")
    axes.set_ylabel("mean regret: 1 is all tasks alike, 0 the best mixture")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False, fontsize="small")
    figure.savefig(path, dpi=150)


if __name__ == "__main__":
    main()
