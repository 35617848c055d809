r"""What evidence about the auxiliaries is worth to `auto`, by how much it has to do with the truth.

    python benchmarks/evidence_prior.py --out benchmarks/results/evidence_prior.jsonl

The surfaces, noise and trainings of `mixture_surfaces.py`. An auxiliary's true usefulness is what the best of three
mixtures with it alone (a quarter, half, three quarters of the primary) scores above the primary alone. The evidence is
that usefulness mixed with noise, so that it has exactly the given correlation with it over the auxiliaries of this
surface, and `auto` reads it as the results of an earlier study of another target. `off` is the same search with
`evidence: off`. Regret is 1 at all tasks alike and 0 at the best mixture. Every search is a line of the output, so that
a run that was stopped goes on.

Evidence that costs a run of each of eight auxiliaries would pay where the search with it is ahead of the search without
after eight trainings more: the last figures.

With `--evidence runs` it is what runs made elsewhere are worth: forty sparse mixtures, scored with the same noise by a
trainer of another scale and offset. They are scored on the surface itself (`same`), on another surface of its kind less
what that has in common with it over these mixtures (`unrelated`), or on the surface turned round (`negated`).

    python benchmarks/evidence_prior.py --evidence runs --seeds 1000-1015 --out build/runs_prior.jsonl

What `auto` makes of evidence was chosen on seeds 1000 to 1015; seeds from 0 on are for the figures.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from mixture_surfaces import ASKED, build_problem, measure_half_width, read_rows, search_surface
from provenance import provenance
from surfaces import SURFACES as ALL_SURFACES
from surfaces import Surface, build_surface

from auxtune.selectors.kit.candidates import build_candidates
from auxtune.selectors.protocol import EarlierRuns, Problem, Transfer

SURFACES = tuple(place for place in ALL_SURFACES if place[0] != "flat")  # where there is something to find
CORRELATIONS = (0.7, 0.0, -0.7)
NOISE = 0.1
PAID = 8  # runs of single auxiliaries
_ALL_ASKED = sorted({*ASKED, *(count + PAID for count in ASKED[:-1])})
RELATIONS = ("same", "unrelated", "negated")  # of runs made elsewhere to the surface
_RUNS_ASKED = [5, 10, 20]
_RUNS = 40
_SCALE, _OFFSET = 3.0, -7.0  # of scores elsewhere
_ELSEWHERE = 5000  # from a surface's seed to that of an unrelated one
_PARTS = (0.25, 0.5, 0.75)  # of the primary
Key = tuple[str, str, int, int]
KEY = ("evidence", "kind", "tasks", "seed")


def main() -> None:
    """Run what is missing, and print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", default="0-19", help="FIRST-LAST")
    parser.add_argument("--evidence", choices=("results", "runs"), default="results")
    parser.add_argument("--out", type=Path, help="a file of lines of JSON, which is added to")
    arguments = parser.parse_args()
    first, last = map(int, arguments.seeds.split("-"))
    wanted: list[Key] = [
        (evidence, kind, tasks, seed)
        for kind, tasks in SURFACES
        for evidence in ("off", *(RELATIONS if arguments.evidence == "runs" else map(str, CORRELATIONS)))
        for seed in range(first, last + 1)
    ]
    rows = read_rows(arguments.out, KEY)
    commit = provenance(range(first, last + 1))["commit"]
    for key in wanted:
        if key not in rows:
            rows[key] = search(key, _RUNS_ASKED if arguments.evidence == "runs" else _ALL_ASKED) | {"commit": commit}
            if arguments.out:
                with arguments.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(rows[key]) + "\n")
    if arguments.evidence == "runs":
        print_surfaces([rows[key] for key in wanted], ["off", *RELATIONS], _RUNS_ASKED, _RUNS_ASKED)
    else:
        print_tables([rows[key] for key in wanted])


def search(key: Key, asked: Sequence[int]) -> dict[str, Any]:
    """One search: its regrets after each number of trainings in ``asked``."""
    evidence, kind, tasks, seed = key
    surface, problem = build_surface(kind, tasks, seed), build_problem(tasks, seed)
    name = 'auto@2{"stop":null,"evidence":"off"}' if evidence == "off" else 'auto@2{"stop":null}'
    if evidence in RELATIONS:
        problem = replace(problem, runs=(plant_runs(surface, problem, kind, evidence),))
    elif evidence != "off":
        problem = replace(problem, earlier=plant_evidence(surface, problem, float(evidence)))
    row = {"evidence": evidence, "kind": kind, "tasks": tasks, "seed": seed}
    return {**row, **search_surface(name, problem, surface, NOISE, asked)}


def plant_evidence(surface: Surface, problem: Problem, correlation: float) -> tuple[Transfer, ...]:
    """The scores of another target with each auxiliary, which correlate so with its usefulness for the primary.

    Where all auxiliaries are alike there is no correlation, and the scores are noise.
    """
    count = len(problem.tasks)
    own, others = np.eye(count)[:1], np.eye(count)[1:]
    pairs = np.array([surface.score(part * own + (1 - part) * others) for part in _PARTS])
    useful = pairs.max(axis=0) - surface.score(own)
    useful -= useful.mean()
    noise = np.random.default_rng([problem.seed, count, 4242]).standard_normal(count - 1)
    noise -= noise.mean()
    if useful.std() > 1e-12:
        useful /= useful.std()
        noise -= useful * (noise @ useful) / (useful @ useful)
    scores = correlation * useful + np.sqrt(1 - correlation**2) * noise / noise.std()
    named = zip(problem.auxiliaries, scores.tolist(), strict=True)
    return tuple(Transfer(source, "another target", score) for source, score in named)


def plant_runs(surface: Surface, problem: Problem, kind: str, relation: str) -> EarlierRuns:
    """Forty runs made elsewhere, and scores that have to do with those of ``surface`` as ``relation`` says."""
    rng = np.random.default_rng([problem.seed, len(problem.tasks), 777])
    shares = build_candidates(problem, 0.0).draw(rng, _RUNS)
    truth = surface.score(shares)
    scores = -truth if relation == "negated" else truth
    if relation == "unrelated":
        scores = build_surface(kind, len(problem.tasks), problem.seed + _ELSEWHERE).score(shares)
        known = truth - truth.mean()
        scores = scores - scores.mean() - known * (known @ scores) / (known @ known)
        scores *= truth.std() / scores.std()
    scores = _SCALE * (scores + NOISE * surface.gap * rng.standard_normal(_RUNS)) + _OFFSET
    return EarlierRuns("elsewhere", tuple(map(tuple, shares.tolist())), tuple(scores.tolist()))


def print_surfaces(
    rows: Sequence[dict[str, Any]], names: Sequence[str], asked: Sequence[int], recorded: Sequence[int]
) -> dict[tuple[str, int, str], np.ndarray]:
    """Mean regrets after ``asked`` of the ``recorded`` trainings, and the paired differences from ``off``.

    Returns all regrets, (seeds, recorded), by surface and evidence.
    """
    found = {(*place, name): _collect(rows, (*place, name)) for place in SURFACES for name in names}
    kept = [recorded.index(count) for count in asked]
    print(f"| surface | tasks | {' | '.join(names)} |\n|---|--:|{'---|' * len(names)}")
    for kind, tasks in SURFACES:
        means = [found[kind, tasks, name].mean(axis=0)[kept] for name in names]
        print(f"| {kind} | {tasks} | {' | '.join(' / '.join(f'{one:.3f}' for one in mean) for mean in means)} |")
    print(f"\nAll of them after {', '.join(map(str, asked))}, and more than off:")
    every = {name: np.mean([found[(*place, name)] for place in SURFACES], axis=0) for name in names}
    for name in names:
        cells = [f"{every[name][:, at].mean():.3f} ({_describe((every[name] - every['off'])[:, at])})" for at in kept]
        print(f"{name}: {'; '.join(cells)}")
    return found


def print_tables(rows: Sequence[dict[str, Any]]) -> None:
    """Mean regrets by surface, and the paired differences from the search without evidence, over all surfaces."""
    names = ["off", *map(str, CORRELATIONS)]
    found = print_surfaces(rows, names, ASKED, _ALL_ASKED)
    print(f"\nOf eight auxiliaries, more than off after {PAID} trainings more:")
    eight = {name: np.mean([found[(*place, name)] for place in SURFACES if place[1] == 9], axis=0) for name in names}
    for name in names[1:]:
        for count in ASKED[:-1]:
            later = eight["off"][:, _ALL_ASKED.index(count + PAID)]
            print(f"{name}, {count}: {_describe(eight[name][:, _ALL_ASKED.index(count)] - later)}")


def _collect(rows: Sequence[dict[str, Any]], place: tuple[str, int, str]) -> np.ndarray:
    """The regrets, (seeds, counts), on one surface with one kind of evidence."""
    own = [row["regret"] for row in rows if (row["kind"], row["tasks"], row["evidence"]) == place]
    return np.array([[float(value) for value in regret.values()] for regret in own])


def _describe(differences: np.ndarray) -> str:
    """Mean and half-width of its 95 % interval over seeds, (seeds,)."""
    return f"{differences.mean():+.3f} ± {measure_half_width(differences):.3f}"


if __name__ == "__main__":
    main()
