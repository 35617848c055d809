"""How well are unseen mixtures ranked, by the number of rows learned from? Blend against log-linear on recorded tables.

    python benchmarks/mixture_rows.py TABLE_DIR --target mean_z --out benchmarks/results/mixture_rows_NAME.json

TABLE_DIR holds a recorded table of mixtures (``table.json``, ``rows.csv``). Each draw takes that many rows of the split
``train`` at random, the same ones for both; "all" takes all, and only the folds differ. Both are judged by Spearman's
correlation of predicted and true on the split ``test``, and if there is a split ``test_60m``, larger models trained on
the same mixtures, on that too. ``difference`` is the mean over draws of blend less log-linear, its 95 % interval from a
paired bootstrap over the rows judged on: every draw and both regressions see the same rows. ``skill`` is the skill that
cross-validation found beforehand on the draw's rows alone, and ``blend`` the mean proportions.

Each fit is chosen by the draw's rows alone. That roots of shares are worth having was seen on olmix64 and regmix17,
test rows included, so expect a little less on other tables. ``seconds`` are those of one fit with cross-validation,
on a machine that may have other work. A few minutes per table.
"""

from __future__ import annotations

import argparse
import json
import time
from pathlib import Path
from typing import Any

import numpy as np
from provenance import peak_memory_mb, provenance
from scipy.stats import rankdata

from auxtune.orchestrator.tables.mixtures import MixturesTable
from auxtune.orchestrator.tables.reading import read_recorded
from auxtune.selectors.kit.mixture_models import MODELS, fit_blend, fit_log_linear

Row = dict[str, Any]
Splits = dict[str, tuple[np.ndarray, np.ndarray]]  # split -> shares (n, K), scores (n,)

RESAMPLES = 2000


def main() -> None:
    """Fit everything, and write and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("table", type=Path, help="the folder of table.json and rows.csv")
    parser.add_argument("--target", required=True, help="the column y:TARGET")
    parser.add_argument("--rows", default="64,128,256,all", help="sizes of the draws")
    parser.add_argument("--draws", type=int, default=20)
    parser.add_argument("--out", type=Path, help="where to write the figures, as JSON")
    arguments = parser.parse_args()
    splits = read(arguments.table, arguments.target)
    known = len(splits["train"][1])
    judged = [name for name in ("test", "test_60m") if name in splits]
    began, results = time.perf_counter(), []
    for size in arguments.rows.split(","):
        count = known if size == "all" else int(size)
        if not 0 < count <= known:
            parser.error(f"--rows must be all or from 1 to {known}, the rows of train, got {size}")
        results.append(compared(splits, judged, count, arguments.draws))
        print(json.dumps(results[-1]), flush=True)
    found = {
        "table": arguments.table.name,
        "target": arguments.target,
        **provenance(range(arguments.draws)),
        "seconds": round(time.perf_counter() - began, 1),
        "peak_memory_mb": peak_memory_mb(),
        "results": results,
    }
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(found, indent=1) + "\n")


def read(folder: Path, target: str) -> Splits:
    """Shares and scores, higher is better, of every split."""
    table = read_recorded(folder).table
    if not isinstance(table, MixturesTable) or target not in table.targets:
        raise SystemExit(f"{folder}: expected a table of mixtures with the target {target}")
    values = {split: each[:, table.targets.index(target)] for split, each in table.values.items()}
    return {split: (table.weights[split], table.header.sign * each) for split, each in values.items()}


def compared(splits: Splits, judged: list[str], count: int, draws: int) -> Row:
    """Both regressions on ``draws`` draws of ``count`` rows."""
    shares, scores = splits["train"]
    took: dict[str, list[float]] = {"blend": [], "log_linear": []}
    predicted: dict[str, dict[str, list[np.ndarray]]] = {name: {"blend": [], "log_linear": []} for name in judged}
    skills, parts = [], []
    for draw in range(draws):
        drawn = np.random.default_rng([draw, count]).permutation(len(scores))[:count]
        began = time.perf_counter()
        ours = fit_blend(shares[drawn], scores[drawn], draw)
        took["blend"].append(time.perf_counter() - began)
        began = time.perf_counter()
        plain = fit_log_linear(shares[drawn], scores[drawn])
        took["log_linear"].append(time.perf_counter() - began)
        if ours is None:
            raise SystemExit(f"--rows {count}: too few rows to learn from")
        for name in judged:
            predicted[name]["blend"].append(ours.predict(splits[name][0]))
            predicted[name]["log_linear"].append(plain(splits[name][0]))
        skills.append(ours.skill.spearman)
        parts.append([ours.parts.get(name, 0.0) for name in MODELS])
    return {
        "rows": count,
        **{name: paired(predicted[name], splits[name][1]) for name in judged},
        "skill": round(float(np.mean(skills)), 4),
        "blend": dict(zip(MODELS, np.mean(parts, axis=0).round(3).tolist(), strict=True)),
        "seconds": {name: round(float(np.mean(each)), 3) for name, each in took.items()},
    }


def paired(predicted: dict[str, list[np.ndarray]], truth: np.ndarray) -> Row:
    """Mean Spearman of both over draws, and their difference with the interval of a bootstrap over rows."""
    resampled = np.random.default_rng(0).integers(len(truth), size=(RESAMPLES, len(truth)))
    rows = np.concatenate([np.arange(len(truth))[None], resampled])
    means = {
        name: np.mean([spearman(draw[rows], truth[rows]) for draw in draws], axis=0)
        for name, draws in predicted.items()
    }
    apart = means["blend"] - means["log_linear"]
    low, high = np.quantile(apart[1:], [0.025, 0.975])
    return {
        **{name: round(float(mean[0]), 4) for name, mean in means.items()},
        "difference": {"mean": round(float(apart[0]), 4), "low": round(float(low), 4), "high": round(float(high), 4)},
    }


def spearman(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """Spearman's correlation of each row, (m, n) and (m, n) -> (m,)."""
    ranks = [rankdata(each, axis=1) for each in (one, other)]
    a, b = (each - each.mean(axis=1, keepdims=True) for each in ranks)
    found: np.ndarray = (a * b).sum(axis=1) / np.sqrt((a * a).sum(axis=1) * (b * b).sum(axis=1))
    return found


if __name__ == "__main__":
    main()
