r"""What searches of groups find with equally many trainings, where the score of every group is known by a formula.

    python benchmarks/group_surfaces.py --selectors 'auto,hoa,random_groups{"groupings":99},exhaustive' \
        --tasks 6 --seeds 0-5 --out benchmarks/results/group_surfaces.jsonl

Three models may serve. One search for each selector, kind of surface and seed, asked for its answer after 5, 10, 20 and
40 trainings; one that has ended keeps its answer. Regret is 1 at one model for all tasks and 0 at the best cover; the
noise of each member's score is given as a part of that gap. Every search is a line of the output, so that a run that
was stopped goes on. The table shows the mean regret, and what each selector misses more than the first one, with the
95 % interval over seeds of the paired difference.

What `auto` assumes of groups, how it begins and when it ends was chosen on seeds 1000 to 1003 and 2000 to 2003 of the
same kinds, with 6 to 9 tasks; seeds from 0 on are for the figures.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from mixture_surfaces import ASKED, print_table, read_rows, split_names
from provenance import provenance

from auxtune.selectors import registry
from auxtune.selectors.kit.group_covers import Serving, find_cover
from auxtune.selectors.protocol import Outcome, Problem, Proposal, Selection, TaskInfo

KINDS = ("mean", "sum", "blocks", "sources", "alike", "saturating", "triples")
MODELS = 3
_EFFECT = 0.02  # of one task on another, in units of the score


@dataclass(frozen=True)
class Surface:
    """The effect of each task on each other one, (recipient, source), and how effects add up in a group."""

    kind: str
    levels: np.ndarray  # (K,) each task's score alone
    effects: np.ndarray  # (K, K)
    triples: np.ndarray  # (K, K, K) of two sources on a recipient; 0 but for one kind

    def score_members(self, group: tuple[int, ...]) -> dict[int, float]:
        """The score of each member, without noise."""
        return {task: self._score(task, [other for other in group if other != task]) for task in group}

    def _score(self, task: int, others: list[int]) -> float:
        if not others:
            return float(self.levels[task])
        effects, root = self.effects[task, others], np.sqrt(len(self.levels))
        if self.kind == "sum":
            effect = 0.6 * effects.sum() / root - 0.3 * np.log(len(others) + 1)
        elif self.kind == "saturating":
            effect = 1.5 * np.tanh((0.8 * effects + 0.2).sum() / root) - 0.2 * np.log(len(others) + 1)
        else:
            effect = effects.mean()
        if len(others) > 1:
            effect += np.mean([self.triples[task, one, two] for one, two in itertools.combinations(others, 2)])
        return float(self.levels[task] + _EFFECT * effect)


@lru_cache
def build_surface(kind: str, tasks: int, seed: int) -> tuple[Surface, float, float]:
    """A surface of one kind, the value of its best cover, and that of one model for all tasks."""
    rng = np.random.default_rng([seed, tasks, sum(map(ord, kind))])
    levels, effects, triples = rng.uniform(0.5, 0.9, tasks), rng.normal(size=(tasks, tasks)), np.zeros((tasks,) * 3)
    if kind == "blocks":
        block = rng.integers(0, max(2, tasks // 3), tasks)
        effects = 0.4 * effects + np.where(block[:, None] == block, 1.0, -1.0)
    elif kind == "sources":
        effects = 0.4 * effects + rng.normal(size=tasks)
    elif kind == "alike":
        traits = rng.normal(size=(tasks, 2))
        effects = traits @ traits.T / np.sqrt(2)
    elif kind == "triples":
        effects, triples = 0.5 * effects, 1.5 * rng.normal(size=(tasks,) * 3)
    surface = Surface(kind, levels, effects, triples)
    groups = [group for size in range(1, tasks + 1) for group in itertools.combinations(range(tasks), size)]
    table = np.full((len(groups), tasks), np.nan)
    for row, group in enumerate(groups):
        table[row, list(group)] = list(surface.score_members(group).values())
    cover = find_cover(table, Serving(np.ones(len(groups)), MODELS))
    return surface, float(np.nanmax(table[cover], axis=0).mean()), float(table[-1].mean())


def main() -> None:
    """Run what is missing, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--selectors", default="auto,hoa", help="names, or NAME{json options}, by comma")
    parser.add_argument("--tasks", default="6", help="numbers of tasks, by comma")
    parser.add_argument("--noise", type=float, default=0.3, help="part of the gap")
    parser.add_argument("--seeds", default="0-5", help="FIRST-LAST")
    parser.add_argument("--out", type=Path, help="a file of lines of JSON, which is added to")
    arguments = parser.parse_args()
    first, last = map(int, arguments.seeds.split("-"))
    names, seeds = split_names(arguments.selectors), range(first, last + 1)
    counts = [int(count) for count in arguments.tasks.split(",")]
    rows, commit = read_rows(arguments.out), provenance(seeds)["commit"]
    wanted = [
        (name, kind, count, arguments.noise, seed)
        for kind, count, seed, name in itertools.product(KINDS, counts, seeds, names)
    ]
    for key in wanted:
        if key not in rows:
            rows[key] = search(*key) | {"commit": commit}
            if arguments.out:
                with arguments.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[key]) + "\n")
    print_table([rows[key] for key in wanted], names)


def search(name: str, kind: str, tasks: int, noise: float, seed: int) -> dict[str, Any]:
    """One search: its regrets after each number of trainings, how many it made, and its processor seconds."""
    surface, best, together = build_surface(kind, tasks, seed)
    short, brace, options = name.partition("{")
    selector = registry.make(short, json.loads(brace + options) if options else {})
    infos = tuple(TaskInfo(f"task{number:02}", "classification", 1000) for number in range(tasks))
    problem = Problem(infos, None, seed, models=MODELS)
    state, rng = selector.start(problem), np.random.default_rng([seed, 99])
    began, regrets, made = time.process_time(), {}, 0
    for number in range(max(ASKED)):
        proposal = selector.propose(state, {})
        if isinstance(proposal, Proposal):
            members = surface.score_members(tuple(problem.names.index(task) for task in proposal.tasks))
            deviation = noise * (best - together)
            scores = {problem.names[t]: score + deviation * rng.standard_normal() for t, score in members.items()}
            state = selector.proposed(state, number, proposal)
            state = selector.told(state, number, Outcome(float(np.mean(list(scores.values()))), scores=scores))
            made += 1
        if number + 1 in ASKED:
            missed = best - measure_value(surface, problem, selector.select(state, {}))
            regrets[number + 1] = round(missed / (best - together), 5)
    row = {"selector": name, "kind": kind, "tasks": tasks, "noise": noise, "seed": seed, "regret": regrets}
    return {**row, "made": made, "cpu_seconds": round(time.process_time() - began, 2)}


def measure_value(surface: Surface, problem: Problem, selection: Selection) -> float:
    """The mean score over the tasks with the groups of an answer."""
    scores = []
    for group in selection.groups or ():
        members = surface.score_members(tuple(problem.names.index(task) for task in group["tasks"]))
        scores += [members[problem.names.index(task)] for task in group["serves"]]
    return float(np.mean(scores))


if __name__ == "__main__":
    main()
