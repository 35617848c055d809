"""How a task spreads its importance over an encoder's attention heads, and how alike two such spreads are.

The statistics that all forms of GradTS share (``gradts_threshold.py``, ``gradts_trial.py``, ``gradts_instance.py``).
Source: W. Ma, R. Lou, K. Zhang, L. Wang, S. Vosoughi, "GradTS: A Gradient-Based Automatic Auxiliary Task Selection
Method Based on Transformer Networks", EMNLP 2021, https://arxiv.org/abs/2109.05748; for layers divided by their L2 norm
P. Michel, O. Levy, G. Neubig, "Are Sixteen Heads Really Better than One?", NeurIPS 2019,
https://arxiv.org/abs/1905.10650.

A *profile* is made from raw importances in two steps: each layer's heads are divided by their L2 norm (``l2``) or by
their sum (``sum``, as in the authors' code), then all heads are stretched to [0, 1]. The stretch changes no rank and
therefore no tau, and neither does the scale of the loss or of a layer. A task's profile is that of its mean importance,
a row's profile that of its own; averaging normalised profiles would give other numbers.

Where we differ: a layer of zeros stays zeros, where others add an epsilon to the norm, which would flatten the
profile of a small loss. Kendall's tau-b is undefined if all heads are alike; here it is then 0, no sign of likeness.

Each task is fine-tuned alone and the importance of its heads measured (``measured_runs.py``). A task whose run failed
has no profile and is no candidate; if the primary's run failed there is no ranking at all.

``compute_taus`` compares all pairs of heads of a row at once: with 144 heads, tens of microseconds per row.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Literal, TypeAlias

import numpy as np

from auxtune.selectors.beliefs import Ranking
from auxtune.selectors.kit.grouping import rank_tasks
from auxtune.selectors.kit.measured_runs import Run, SingleRuns
from auxtune.selectors.kit.similarity import read_recorded
from auxtune.selectors.protocol import JSON, Evidence, Measure

RowsNorm: TypeAlias = Literal["l2", "sum"]

_CHUNK = 2**22  # comparisons held at a time: 16 MiB


def build_profiles(importance: np.ndarray, rows_norm: RowsNorm) -> np.ndarray:
    """Raw importances (..., layers, heads) as profiles (..., layers * heads), float64 in [0, 1].

    Raises ``ValueError`` where an importance is negative or not finite.
    """
    raw = np.asarray(importance, dtype=np.float64)  # squares of the smallest float32 would vanish in float32
    if not np.isfinite(raw).all() or (raw < 0).any():
        raise ValueError("importances of heads must be finite and at least 0, got others; measure the run again")
    rows = np.linalg.norm(raw, axis=-1, keepdims=True) if rows_norm == "l2" else raw.sum(axis=-1, keepdims=True)
    shares = np.divide(raw, rows, out=np.zeros_like(raw), where=rows > 0)
    flat = shares.reshape(*raw.shape[:-2], raw.shape[-2] * raw.shape[-1])
    low, high = flat.min(axis=-1, keepdims=True), flat.max(axis=-1, keepdims=True)
    stretched: np.ndarray = np.divide(flat - low, high - low, out=np.zeros_like(flat), where=high > low)
    return stretched


def compute_tau(first: np.ndarray, second: np.ndarray) -> float:
    """Kendall's tau-b of two profiles (heads,), in [-1, 1]; 0 if all heads of one are tied."""
    return float(compute_taus(first, second[None])[0])


def compute_taus(profile: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Kendall's tau-b of ``profile`` (heads,) with each of ``others`` (rows, heads): (rows,)."""
    above = profile[:, None] > profile  # (heads, heads)
    order = above.astype(np.float32) - above.T  # 1, 0 or -1: which of two heads matters more
    count = np.stack([order.ravel(), np.ones(order.size, np.float32)], axis=1)
    step = max(1, _CHUNK // order.size)
    found = [
        _compute_chunk(others[start : start + step], count, int(above.sum())) for start in range(0, len(others), step)
    ]
    return np.concatenate([np.empty(0), *found])


def _compute_chunk(others: np.ndarray, count: np.ndarray, untied: int) -> np.ndarray:
    """Tau-b of each row of ``others``. ``count`` (heads², 2) holds the profile's order of each pair of heads, and ones.

    ``untied`` is the number of the profile's pairs that differ. Every pair that differs in a row occurs once with its
    larger head first, where the profile's order (1, 0 or -1) says whether the two agree: the sums are the concordant
    less the discordant pairs, and the untied pairs of the row. They are whole numbers below 2²⁴, exact in float32
    whatever the order of adding.
    """
    larger = others[:, :, None] > others[:, None, :]  # (rows, heads, heads)
    sums = larger.reshape(len(others), -1).astype(np.float32) @ count
    agreeing, differing = sums.astype(np.float64).T
    scale = np.sqrt(untied * differing)
    found: np.ndarray = np.divide(agreeing, scale, out=np.zeros_like(agreeing), where=scale > 0)
    return found


# The meaning of the option `released` of every selector that has it.
RELEASED = "importance as the authors' code has it, but for dropout and batches"


def measure_heads(released: bool, probe: str = "head_importance") -> Measure:
    """The probe of importance: by gradients of head masks, or of key and value weights as in the authors' code.

    The latter reads the training rows; the importance of each row is always measured on those.
    """
    if not released:
        return Measure(probe, {"form": "mask"})
    rows = {"split": "train"} if probe == "head_importance" else {}
    return Measure(probe, {"form": "key_value", **rows})


def choose_rows_norm(released: bool) -> RowsNorm:
    """The normalisation of layers: by their L2 norm, or by their sum as in the authors' code."""
    return "sum" if released else "l2"


def measure_taus(runs: SingleRuns, evidence: Evidence, norm: RowsNorm) -> dict[Run, float]:
    """Tau of the primary's profile with that of each other run that has one; empty if the primary's has none."""
    keys = runs.list_keys("head_importance")
    primary = (runs.problem.require_primary(), None)
    if primary not in keys:
        return {}
    before = {run: read_recorded(evidence[keys[primary]], "gradts", run[0]) for run in keys if run != primary}
    known = {run: tau for run, tau in before.items() if tau is not None and np.isfinite(tau)}
    if known or "importance" not in evidence[keys[primary]]:
        return known
    found = {run: build_profiles(evidence[key]["importance"], norm) for run, key in keys.items()}
    return {run: compute_tau(found[primary], profile) for run, profile in found.items() if run != primary}


def rank_by_tau(taus: Mapping[Run, float]) -> dict[str, float]:
    """The auxiliaries without their twins, and their taus, the largest first, ties in the study's order."""
    alone = {task: tau for (task, shuffled), tau in taus.items() if shuffled is None}
    return {task: alone[task] for task in rank_tasks(alone)}


def list_twin_taus(runs: SingleRuns, taus: Mapping[Run, float]) -> list[float]:
    """The taus of the auxiliaries' label-shuffled twins; in an older study without these, of the primary's twins."""
    shuffled = {run: tau for run, tau in taus.items() if run[1] is not None}
    auxiliaries = [tau for (task, _), tau in shuffled.items() if task != runs.problem.primary]
    return auxiliaries or list(shuffled.values())


def list_unmeasured(runs: SingleRuns) -> list[str]:
    """The tasks whose own run ended without importances."""
    ended = [task for task, shuffled in runs.wanted if shuffled is None and (task, None) in runs.told]
    return [task for task in ended if runs.find_key(task, "head_importance") is None]


def read_taus(belief: Mapping[str, JSON]) -> Iterator[Ranking]:
    """The taus in a belief, with the threshold and, where it was measured, the twins."""
    if not (found := belief["tau"]):
        return
    threshold, meaning = belief.get("threshold"), "Kendall's τ with the primary's head profile"
    beyond = ", which no task can reach" if threshold is not None and threshold > 1 else ""
    line = "" if threshold is None else f"the threshold, {threshold:.3f}{beyond}"
    yield Ranking("tau", meaning, "heads alike by τ", found, threshold, line, tuple(belief.get("twins") or ()))
