"""Rows kept by a rule: which, how many, their digest; against SciPy row by row, and nested in the threshold."""

from __future__ import annotations

import hashlib
import itertools
import json
import struct

import numpy as np
import pytest
from scipy.stats import kendalltau

from auxtune.selectors.kit import head_profiles
from auxtune.selectors.kit import kept_rows as module
from auxtune.selectors.kit.kept_rows import build_rule, count_kept, count_kept_at_each, find_kept_rows

KEYS = ("profile", "instances")


def evidence_of(rows=400, layers=3, heads=4, seed=0):
    """A primary's importance, and rows that resemble it by turns more and less."""
    rng = np.random.default_rng(seed)
    profile = rng.normal(size=(layers, heads))
    near = rng.random((rows, 1, 1)) * 2
    instances = np.exp(profile * (2 - near) + near * rng.normal(size=(rows, layers, heads)))
    return {
        "profile": {"importance": np.exp(profile).astype(np.float32)},
        "instances": {"importance": instances.astype(np.float32)},
    }


def by_scipy(evidence, norm, threshold):
    """The same rule in plain words."""

    def profile(raw):
        raw = raw.astype(float)
        rows = [row / (np.sqrt((row**2).sum()) if norm == "l2" else row.sum()) for row in raw]
        return np.concatenate(rows)

    target = profile(evidence["profile"]["importance"])
    taus = [kendalltau(target, profile(raw)).statistic for raw in evidence["instances"]["importance"]]
    return [row for row, tau in enumerate(taus) if tau >= threshold]


@pytest.mark.parametrize("norm", ["l2", "sum"])
@pytest.mark.parametrize("threshold", [0.1, 0.42, 0.7])
def test_the_rows_kept_are_those_that_scipy_would_keep(norm, threshold):
    evidence = evidence_of()
    found = find_kept_rows(build_rule(*KEYS, norm, threshold), evidence)
    assert found.dtype == np.int64
    assert found.tolist() == by_scipy(evidence, norm, threshold)
    assert 0 < len(found) < 400


def test_the_number_of_rows_looked_at_at_once_changes_nothing(monkeypatch):
    evidence, rule = evidence_of(), build_rule(*KEYS, "l2", 0.42)
    whole = find_kept_rows(rule, evidence).tolist()
    monkeypatch.setattr(module, "_CHUNK", 7 * 12)
    monkeypatch.setattr(head_profiles, "_CHUNK", 3 * 144)
    assert find_kept_rows(rule, evidence).tolist() == whole


def test_kept_counts_the_rows_and_names_them_by_digest():
    importance = np.array([[[1, 2, 3]], [[3, 2, 1]], [[1, 2, 9]], [[1, 3, 2]]], np.float32)
    evidence = {"p": {"importance": np.array([[1, 2, 3]], np.float32)}, "x": {"importance": importance}}
    rule = build_rule("p", "x", "l2", 0.5)
    assert find_kept_rows(rule, evidence).tolist() == [0, 2]
    found = count_kept(rule, evidence)
    assert (found.rows, found.kept, found.rule) == (4, 2, rule)
    assert found.sha256 == hashlib.sha256(struct.pack("<2q", 0, 2)).hexdigest()
    assert count_kept({**rule, "threshold": 1 / 3}, evidence).kept == 3  # a tau of exactly the threshold is enough


def test_a_rule_is_json_and_finds_the_same_rows_when_read_again():
    evidence, rule = evidence_of(), build_rule(*KEYS, "sum", 0.42)
    again = json.loads(json.dumps(rule))
    assert again == rule
    assert count_kept(again, evidence) == count_kept(rule, evidence)


def test_a_higher_threshold_keeps_fewer_of_the_same_rows():
    evidence, thresholds = evidence_of(), np.linspace(-1, 1.05, 42).tolist()
    rule = build_rule(*KEYS, "l2", 0)
    sets = [set(find_kept_rows({**rule, "threshold": each}, evidence).tolist()) for each in thresholds]
    assert all(higher <= lower for lower, higher in itertools.pairwise(sets))
    assert sets[0] == set(range(400)) and sets[-1] == set()
    assert len({len(each) for each in sets}) > 10
    found = count_kept_at_each(rule, thresholds, evidence)
    assert found == [count_kept({**rule, "threshold": each}, evidence) for each in thresholds]
    assert [each.kept for each in found] == [len(each) for each in sets]


def test_no_rows_are_kept_of_none():
    evidence = evidence_of()
    evidence["instances"] = {"importance": evidence["instances"]["importance"][:0]}
    found = count_kept(build_rule(*KEYS, "l2", -1), evidence)
    assert (found.rows, found.kept, found.sha256) == (0, 0, hashlib.sha256(b"").hexdigest())


def test_an_unknown_statistic_is_refused():
    with pytest.raises(ValueError, match="rows are kept by head_importance_tau, got 'loss'"):
        find_kept_rows({**build_rule(*KEYS, "l2", 0.42), "statistic": "loss"}, evidence_of())
