"""How often selectors believe their measurements: of noise, which should be rare, and of a signal, which should not.

    python benchmarks/selector_power.py                  all, into benchmarks/results/selector_power.json
    python benchmarks/selector_power.py linear_surrogate tag

Nothing is trained: scores, logs of transfers, gradients and look-aheads are drawn. ``signal`` is the standard deviation
of the effects in units of that of the noise, in a single score, log entry or probe; 0 is noise alone. Each row says in
how many of its draws the method's own test was passed. Minutes on one core.
"""

from __future__ import annotations

import argparse
import itertools
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from provenance import provenance

from auxtune.selectors.kit.affinity import compute_preferences, draw_subsets, measure_reliability
from auxtune.selectors.kit.linearised import build_linearised
from auxtune.selectors.methods.grad_tag import measure_skill
from auxtune.selectors.methods.linear_surrogate import LinearSurrogate
from auxtune.selectors.methods.transfer_prior import TransferPrior
from auxtune.selectors.protocol import Outcome, Problem, Proposal, TaskInfo, Transfer

RESULT = Path(__file__).parent / "results" / "selector_power.json"


def problem_of(auxiliaries: int, seed: int, earlier: tuple[Transfer, ...] = ()) -> Problem:
    """A primary and the given number of other tasks."""
    names = ("primary", *(f"t{i}" for i in range(auxiliaries)))
    return Problem(tuple(TaskInfo(name, "classification", 1000) for name in names), "primary", seed, earlier=earlier)


def linear_surrogate(auxiliaries: int, signal: float, seed: int) -> bool:
    """Subsets whose scores are sums of normal effects, with ``signal`` as their spread over subsets, and noise."""
    rng, selector, problem = np.random.default_rng([1, seed]), LinearSurrogate(), problem_of(auxiliaries, seed)
    worth = dict(zip(problem.auxiliaries, rng.normal(size=auxiliaries), strict=True))
    mean, every = np.mean(list(worth.values())), list(itertools.combinations(worth.values(), 3))
    spread = np.std([sum(each) for each in every])
    state, number = selector.start(problem), 0
    while isinstance(asked := selector.propose(state, {}), Proposal) and "drawn" in asked.notes:
        summed = sum(worth[task] for task in asked.notes["drawn"]) - 3 * mean
        score = signal * summed / spread + rng.normal()
        state = selector.told(selector.proposed(state, number, asked), number, Outcome(float(score)))
        number += 1
    return bool(selector.select(state, {}).belief["skill"]["shown"])


def transfer_prior(targets: int, signal: float, seed: int, sources: int = 8) -> bool:
    """Logs in which a source is equally popular with every target, and noise."""
    rng = np.random.default_rng([2, seed])
    popular = signal * rng.normal(size=sources)
    scores = popular + rng.normal(size=(targets, sources))
    earlier = tuple(
        Transfer(f"t{source}", f"other{target}", float(scores[target, source]))
        for target in range(targets)
        for source in range(sources)
    )
    selector, problem = TransferPrior(), problem_of(sources, seed, earlier)
    told = selector.select(selector.start(problem), {}).belief["skill"]
    return told is not None and bool(told["shown"])


def grad_tag(tasks: int, signal: float, seed: int, rows: int = 20, numbers: int = 15) -> bool:
    """Rows of two blocks of tasks that pull against each other along one of the numbers of a gradient."""
    rng = np.random.default_rng([3, seed])
    pull = signal * np.where(np.arange(tasks) % 2, 1.0, -1.0)
    arrays: dict[str, np.ndarray] = {
        "tasks": np.array([f"t{i}" for i in range(tasks)]),
        "kinds": np.array(["classification"] * tasks),
    }
    for part in ("train", "probe"):
        gradients = rng.normal(size=(tasks * rows, numbers))
        gradients[:, 0] += np.repeat(pull, rows)
        arrays |= {
            f"{part}_gradients": gradients,
            f"{part}_margins": rng.normal(size=tasks * rows),
            f"{part}_task": np.repeat(np.arange(tasks), rows),
        }
    masks = draw_subsets(tasks, min(max(3, tasks // 4), tasks - 1), 200, np.random.default_rng([seed, 1]))
    lower = measure_skill(build_linearised(arrays, 0.001), masks)["lower"]
    return lower is not None and lower > 0


def tag(tasks: int, signal: float, seed: int, probes: int = 10) -> bool:
    """Probes of affinities that differ, through products of gradients some of which are four times as long."""
    rng = np.random.default_rng([4, seed])
    truth = signal * rng.normal(size=(tasks, tasks))
    lengths = np.linspace(0.5, 2, tasks)
    gradients = rng.normal(size=(probes, tasks, 30)) * lengths[:, None]
    noise = gradients @ gradients.swapaxes(1, 2) / 30**0.5 / (lengths**2).mean()
    entries = np.array([compute_preferences(table) for table in truth + noise])
    return measure_reliability(entries, tasks * (tasks - 2) / 2, seed).shown


CASES: Mapping[str, tuple[Any, str, tuple[int, ...], tuple[float, ...], int]] = {
    "linear_surrogate": (linear_surrogate, "auxiliaries", (6, 10), (0.0, 0.5, 1.0, 2.0), 200),
    "transfer_prior": (transfer_prior, "other targets, 8 sources", (2, 3, 5, 8), (0.0, 1.0, 2.0), 100),
    "grad_tag": (grad_tag, "tasks", (5, 8, 12, 20), (0.0,), 300),
    "tag": (tag, "tasks, 10 probes", (5, 7, 12), (0.0, 0.1, 0.3), 500),
}


def rows_of(name: str) -> Iterator[dict[str, Any]]:
    """The rows of one selector."""
    method, what, sizes, signals, draws = CASES[name]
    for size, signal in itertools.product(sizes, signals):
        believed = sum(method(size, signal, seed) for seed in range(draws))
        yield {"selector": name, "of": what, "size": size, "signal": signal, "draws": draws, "believed": believed}
        print(f"{name}: {size} {what}, signal {signal}: believed {believed} of {draws}", flush=True)


def main() -> None:
    """Measure the selectors asked for; the rest of the file stays."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("selectors", nargs="*", help=f"some of {', '.join(CASES)}; all by default")
    names = parser.parse_args().selectors or list(CASES)
    known = json.loads(RESULT.read_text())["rows"] if RESULT.exists() else []
    rows = [row for row in known if row["selector"] not in names] + [row for name in names for row in rows_of(name)]
    head = provenance(range(max(draws for *_, draws in CASES.values())))
    RESULT.write_text(json.dumps({**head, "rows": rows}, indent=1) + "\n")


if __name__ == "__main__":
    main()
