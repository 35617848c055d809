"""Profiles of attention heads and Kendall's tau on them: by hand, against SciPy, and what must change nothing."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import kendalltau

from auxtune.selectors.kit.head_profiles import build_profiles, compute_tau, compute_taus

NORMS = ("l2", "sum")


def importances(seed, layers=4, heads=6):
    """Raw importances as they are met: of many magnitudes, never alike."""
    return np.random.default_rng(seed).lognormal(sigma=2, size=(layers, heads)).astype(np.float32)


def tau_of(first, second, norm="l2"):
    return compute_tau(build_profiles(first, norm), build_profiles(second, norm))


@pytest.mark.parametrize(
    ("first", "second", "expected"),
    [
        ([0.1, 0.4, 0.2, 0.9], [0.2, 0.3, 0.1, 0.8], 2 / 3),
        ([1, 2, 3, 4, 5, 6], [1, 2, 3, 4, 6, 5], 13 / 15),
        ([1, 2, 3, 4, 5, 6], [2, 1, 4, 3, 6, 5], 0.6),
        ([1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1], -1),
        ([1, 1, 2, 3], [1, 2, 2, 3], 0.8),
    ],
)
def test_kendalls_tau_by_hand(first, second, expected):
    assert compute_tau(np.array(first, float), np.array(second, float)) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(("heads", "levels"), [(2, 2), (12, 3), (12, 50), (144, 20), (144, 10**6)])
def test_tau_is_scipys_for_every_row_with_and_without_ties(heads, levels):
    rng = np.random.default_rng(heads + levels)
    profile = rng.integers(levels, size=heads).astype(float)
    others = np.concatenate([rng.integers(levels, size=(300, heads)), rng.integers(2, size=(20, heads))]).astype(float)
    found = compute_taus(profile, others)
    expected = np.array([kendalltau(profile, row).statistic for row in others])
    assert found.shape == (320,)
    assert np.isfinite(expected).sum() > 200 or heads == 2
    np.testing.assert_allclose(found, np.nan_to_num(expected, nan=0.0), atol=1e-14)


def test_tau_is_the_same_however_many_rows_are_asked_at_once():
    rng = np.random.default_rng(3)
    profile, others = rng.random(384), rng.random((70, 384))  # more than one chunk of so wide rows
    alone = [compute_tau(profile, row) for row in others]
    assert compute_taus(profile, others).tolist() == alone
    assert compute_taus(profile, others[:0]).shape == (0,)


def test_all_heads_alike_resemble_nothing():
    assert (
        compute_tau(np.ones(6), np.arange(6.0))
        == compute_tau(np.arange(6.0), np.ones(6))
        == compute_tau(np.ones(6), np.ones(6))
        == 0
    )
    assert (
        build_profiles(np.zeros((2, 3)), "l2").tolist() == build_profiles(np.zeros((2, 3)), "sum").tolist() == [0] * 6
    )


@pytest.mark.parametrize("norm", NORMS)
def test_a_profile_lies_between_0_and_1_and_reaches_both(norm):
    found = build_profiles(np.stack([importances(seed) for seed in range(20)]), norm)
    assert found.shape == (20, 24) and found.dtype == np.float64
    assert (found.min(axis=1) == 0).all() and (found.max(axis=1) == 1).all()


@pytest.mark.parametrize("norm", NORMS)
def test_the_stretch_to_0_and_1_changes_no_tau(norm):
    for seed in range(20):
        first, second = importances(seed), importances(seed + 100)
        plain = [
            each / (np.linalg.norm(each, axis=1, keepdims=True) if norm == "l2" else each.sum(axis=1, keepdims=True))
            for each in (first.astype(float), second.astype(float))
        ]
        assert compute_tau(plain[0].ravel(), plain[1].ravel()) == tau_of(first, second, norm)


@pytest.mark.parametrize("norm", NORMS)
def test_the_scale_of_a_layer_or_of_the_loss_changes_nothing(norm):
    layers = np.array([[1e-30], [3.0], [1e-6], [1e20]])
    for seed in range(20):
        raw = importances(seed).astype(float)
        for scale in (layers, 1e-25, 7.0, 1e12):
            np.testing.assert_allclose(build_profiles(raw * scale, norm), build_profiles(raw, norm), atol=1e-12)
            assert tau_of(raw * scale, importances(seed + 100), norm) == tau_of(raw, importances(seed + 100), norm)


def test_layers_by_their_sum_and_by_their_l2_norm_can_rank_otherwise():
    raw = np.array([[0.45, 0.30, 0.25], [0.50, 0.49, 0.01]])
    found = {norm: build_profiles(raw, norm) for norm in NORMS}
    assert np.argsort(-found["sum"]).tolist() == [3, 4, 0, 1, 2, 5]
    assert np.argsort(-found["l2"]).tolist() == [0, 3, 4, 1, 2, 5]
    assert compute_tau(found["sum"], found["l2"]) == pytest.approx(0.7333, abs=5e-5)


def test_a_task_is_normalised_after_the_mean_which_is_not_the_mean_of_normalised_instances():
    instances = np.array([[[4, 1], [1, 1]], [[1, 9], [2, 1]]], float)
    assert build_profiles(instances.mean(axis=0), "sum") == pytest.approx([0, 1, 0.8, 0.2])
    assert build_profiles(instances, "sum").mean(axis=0) == pytest.approx([0.5, 0.5, 0.604167, 0.395833], abs=1e-6)


@pytest.mark.parametrize("norm", NORMS)
def test_tau_is_1_with_itself_symmetric_and_blind_to_the_numbering_of_heads(norm):
    for seed in range(20):
        first, second = importances(seed), importances(seed + 100)
        assert tau_of(first, first, norm) == 1
        assert tau_of(first, second, norm) == tau_of(second, first, norm)
        order = np.random.default_rng(seed).permutation(6)
        assert tau_of(first[:, order], second[:, order], norm) == tau_of(first, second, norm)
        assert tau_of(first[::-1], second[::-1], norm) == tau_of(first, second, norm)


@pytest.mark.parametrize("norm", NORMS)
def test_a_head_of_no_importance_is_last_and_heads_alike_stay_alike(norm):
    raw = importances(0)
    raw[1, 2], raw[2, 4] = 0, raw[2, 1]
    found = build_profiles(raw, norm).reshape(4, 6)
    assert found[1, 2] == 0 and (np.delete(found.ravel(), 8) > 0).all()
    assert found[2, 4] == found[2, 1]


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e-6])
def test_importances_that_cannot_be_are_refused(value):
    raw = importances(0)
    raw[0, 0] = value
    with pytest.raises(ValueError, match="must be finite and at least 0"):
        build_profiles(raw, "l2")
