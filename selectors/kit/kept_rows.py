"""Which of an auxiliary's training rows resemble the primary: rows named by a rule and recovered from the evidence.

The instance filter of GradTS (``gradts_instance.py`` has the source): a row is kept if Kendall's tau between the
primary's head profile and the row's own is at least ``threshold``. A rule is small JSON:

    {"statistic": "head_importance_tau", "profile": KEY, "instances": KEY, "rows_norm": "l2", "threshold": 0.42}

``profile`` is the key of the evidence ``head_importance`` of the primary's run, ``instances`` that of the evidence
``instance_importance`` of the auxiliary's run, whose rows are the training rows in their order. The row numbers
themselves are not recorded: code that trains on them calls ``find_kept_rows`` and checks their digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from auxtune.selectors.kit.head_profiles import build_profiles, compute_taus
from auxtune.selectors.protocol import JSON, Evidence, Kept

_STATISTIC = "head_importance_tau"
_CHUNK = 2**22  # importances normalised at a time: 32 MiB as float64


def build_rule(profile: str, instances: str, rows_norm: str, threshold: float) -> dict[str, JSON]:
    """The rule that keeps rows whose tau with the primary is at least ``threshold``, from two keys of evidence."""
    return {
        "statistic": _STATISTIC,
        "profile": profile,
        "instances": instances,
        "rows_norm": rows_norm,
        "threshold": float(threshold),
    }


def find_kept_rows(rule: Mapping[str, JSON], evidence: Evidence) -> np.ndarray:
    """The numbers of the rows that ``rule`` keeps, ascending, int64. Raises ``ValueError`` for an unknown statistic."""
    return _find_rows(_compute_row_taus(rule, evidence), rule["threshold"])


def count_kept(rule: Mapping[str, JSON], evidence: Evidence) -> Kept:
    """How many rows ``rule`` keeps of how many, with the SHA-256 of the row numbers as little-endian int64."""
    return count_kept_at_each(rule, (rule["threshold"],), evidence)[0]


def count_kept_at_each(rule: Mapping[str, JSON], thresholds: Sequence[float], evidence: Evidence) -> list[Kept]:
    """``count_kept`` of ``rule`` with each of ``thresholds`` in place of its own; the costly part is done once."""
    found = _compute_row_taus(rule, evidence)
    return [
        _describe_rows({**rule, "threshold": float(each)}, len(found), _find_rows(found, each)) for each in thresholds
    ]


def _compute_row_taus(rule: Mapping[str, JSON], evidence: Evidence) -> np.ndarray:
    """Tau of the primary's profile with each training row's: (rows,)."""
    if rule["statistic"] != _STATISTIC:
        raise ValueError(f"rows are kept by {_STATISTIC}, got {rule['statistic']!r}")
    norm = rule["rows_norm"]
    profile = build_profiles(evidence[rule["profile"]]["importance"], norm)
    raw = evidence[rule["instances"]]["importance"]  # (rows, layers, heads)
    step = max(1, _CHUNK // profile.size)
    found = [
        compute_taus(profile, build_profiles(raw[start : start + step], norm)) for start in range(0, len(raw), step)
    ]
    return np.concatenate([np.empty(0), *found])


def _find_rows(found: np.ndarray, threshold: float) -> np.ndarray:
    return np.flatnonzero(found >= threshold).astype(np.int64)


def digest_rows(rows: np.ndarray) -> str:
    """SHA-256 of row numbers, as little-endian int64."""
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()


def _describe_rows(rule: Mapping[str, JSON], rows: int, numbers: np.ndarray) -> Kept:
    return Kept(rule, rows, len(numbers), digest_rows(numbers))
