"""Which of an auxiliary's training rows resemble the primary: rows named by a rule, found again from the evidence.

The instance filter of GradTS (``gradts_instance.py`` has the source): a row is kept if Kendall's tau of the primary's
head profile with the row's own is at least ``threshold``. A rule is JSON and small:

    {"statistic": "head_importance_tau", "profile": KEY, "instances": KEY, "rows_norm": "l2", "threshold": 0.42}

``profile`` is the evidence ``head_importance`` of the primary's run, ``instances`` the ``instance_importance`` of the
auxiliary's, whose rows are the training rows in their order. The rows themselves are in no record: whoever trains on
them asks ``kept_rows`` and checks their digest.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence

import numpy as np

from auxtune.selectors.kit.head_profiles import profiles, taus
from auxtune.selectors.protocol import JSON, Evidence, Kept

_STATISTIC = "head_importance_tau"
_CHUNK = 2**22  # importances normalised at a time: 32 MiB as float64


def rule_for(profile: str, instances: str, rows_norm: str, threshold: float) -> dict[str, JSON]:
    """The rule that keeps what is at least ``threshold`` like the primary; two keys of evidence."""
    return {
        "statistic": _STATISTIC,
        "profile": profile,
        "instances": instances,
        "rows_norm": rows_norm,
        "threshold": float(threshold),
    }


def kept_rows(rule: Mapping[str, JSON], evidence: Evidence) -> np.ndarray:
    """The numbers of the rows that ``rule`` keeps, ascending, int64. Raises ``ValueError`` for an unknown statistic."""
    return _at(_row_taus(rule, evidence), rule["threshold"])


def kept(rule: Mapping[str, JSON], evidence: Evidence) -> Kept:
    """What ``rule`` keeps, counted, with the SHA-256 of the row numbers as little-endian int64."""
    return kept_at(rule, (rule["threshold"],), evidence)[0]


def kept_at(rule: Mapping[str, JSON], thresholds: Sequence[float], evidence: Evidence) -> list[Kept]:
    """``kept`` of ``rule`` with each of ``thresholds`` instead of its own, the costly part done once."""
    found = _row_taus(rule, evidence)
    return [_counted({**rule, "threshold": float(each)}, len(found), _at(found, each)) for each in thresholds]


def _row_taus(rule: Mapping[str, JSON], evidence: Evidence) -> np.ndarray:
    """Tau of the primary's profile with each training row's: (rows,)."""
    if rule["statistic"] != _STATISTIC:
        raise ValueError(f"rows are kept by {_STATISTIC}, got {rule['statistic']!r}")
    norm = rule["rows_norm"]
    profile = profiles(evidence[rule["profile"]]["importance"], norm)
    raw = evidence[rule["instances"]]["importance"]  # (rows, layers, heads)
    step = max(1, _CHUNK // profile.size)
    found = [taus(profile, profiles(raw[start : start + step], norm)) for start in range(0, len(raw), step)]
    return np.concatenate([np.empty(0), *found])


def _at(found: np.ndarray, threshold: float) -> np.ndarray:
    return np.flatnonzero(found >= threshold).astype(np.int64)


def digest_of(rows: np.ndarray) -> str:
    """SHA-256 of row numbers, as little-endian int64."""
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()


def _counted(rule: Mapping[str, JSON], rows: int, numbers: np.ndarray) -> Kept:
    return Kept(rule, rows, len(numbers), digest_of(numbers))
