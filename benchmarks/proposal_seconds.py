"""How long `auto` takes for a proposal, by the trials that it has seen and the tasks it chooses among.

    OMP_NUM_THREADS=1 python benchmarks/proposal_seconds.py --out benchmarks/results/proposal_seconds.json

The trials are random sparse mixtures on a surface of `surfaces.py` on which a few auxiliaries help, with a tenth of
the gap as noise. Then the search goes on by itself: each proposal is timed, told, and followed by the next, so that
every one pays for a fit to one trial more. Wall seconds of one thread: the median and the slowest.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path

import numpy as np
from mixture_surfaces import build_problem, make_selector, train
from provenance import provenance
from surfaces import build_surface

from auxtune.selectors.protocol import Problem, Proposal

TRIALS, TASKS = (10, 100, 200, 1000), (5, 20, 50, 200)
SEED = 1000
MOST = 6  # auxiliaries in a random mixture
NOISE = 0.1


def main() -> None:
    """Time each combination, and write and print the rows."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--selector", default='auto@2{"stop":null}', help="NAME[@VERSION][{json options}]")
    parser.add_argument("--proposals", type=int, default=20, help="timed ones of each combination")
    parser.add_argument("--out", type=Path, help="where to write the rows, as JSON")
    arguments = parser.parse_args()
    rows = []
    for trials in TRIALS:
        for tasks in TASKS:
            seconds = time_proposals(arguments.selector, tasks, trials, arguments.proposals)
            rows.append({"trials": trials, "tasks": tasks, **seconds})
            print(json.dumps(rows[-1]), flush=True)
    if arguments.out:
        found = {**provenance((SEED,), ("numpy", "scipy")), "selector": arguments.selector, "rows": rows}
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


def time_proposals(name: str, tasks: int, trials: int, proposals: int) -> dict[str, float]:
    """The median and the slowest of some proposals after ``trials`` random ones, in seconds."""
    surface, problem = build_surface("sparse", tasks, SEED), build_problem(tasks, SEED)
    selector, rng = make_selector(name), np.random.default_rng(SEED)
    state, seconds = selector.start(problem), []
    for number in range(trials + proposals):
        if number < trials:
            proposal = draw_proposal(problem, rng)
        else:
            began = time.perf_counter()
            proposal = selector.propose(state, {})
            seconds.append(time.perf_counter() - began)
        state = train(selector, state, number, proposal, surface, NOISE, rng)
    return {"median": round(float(np.median(seconds)), 3), "slowest": round(max(seconds), 3)}


def draw_proposal(problem: Problem, rng: np.random.Generator) -> Proposal:
    """The primary and a few auxiliaries in random shares."""
    others = list(problem.auxiliaries)
    chosen = rng.choice(others, size=min(int(rng.integers(1, MOST + 1)), len(others)), replace=False).tolist()
    tasks = (problem.require_primary(), *chosen)
    return Proposal(tasks, dict(zip(tasks, rng.dirichlet(np.ones(len(tasks))).tolist(), strict=True)))


if __name__ == "__main__":
    main()
