"""Whether measurements agree: correlations by hand, and signs whose every pattern is tried."""

from __future__ import annotations

import numpy as np
import pytest

from auxtune.selectors.kit.affinity import bound_correlation, compute_preferences, measure_reliability


def test_halves_are_the_odd_and_the_even_and_full_is_by_spearman_and_brown():
    entries = np.array([[2.0, 0.0], [1.0, 1.0], [0.0, 2.0], [1.0, -1.0]])  # odd means (1, 1), even means (1, 0)
    told = measure_reliability(entries, 10, 0)
    assert told.halves == pytest.approx(0.5**0.5)
    assert told.full == pytest.approx(2 * 0.5**0.5 / (1 + 0.5**0.5))
    assert told.replicates == 4


def test_every_pattern_of_signs_is_tried_of_few_replicates():
    """Seven equal replicates: of the 64 patterns, the first sign fixed, only the true one comes to as much."""
    told = measure_reliability(np.ones((7, 3)), 1, 0)
    assert told.p == pytest.approx(1 / 64) and told.shown
    assert measure_reliability(np.ones((6, 3)), 1, 0).p == pytest.approx(1 / 32)
    assert measure_reliability(np.ones((40, 3)), 1, 0).p == pytest.approx(1 / 513), "512 random ones, and the true one"
    alternating = np.array([1.0, -1.0] * 4)[:, None]
    assert measure_reliability(alternating, 1, 0).p == 1.0, "no pattern comes to less than 0"


def test_replicates_that_cancel_or_are_too_few_show_nothing():
    assert not measure_reliability(np.ones((1, 5)), 50, 0).shown
    assert measure_reliability(np.zeros((9, 5)), 50, 0).as_json() == {
        "halves": None,
        "full": None,
        "p": None,
        "replicates": 9,
        "shown": False,
    }
    assert measure_reliability(np.array([[1.0, 2], [-1, -2]]), 50, 0).full == -1.0


def test_what_is_not_known_of_a_replicate_says_nothing():
    rng = np.random.default_rng(0)
    entries = rng.normal(size=(9, 4)) + 2
    entries[3, 1] = np.nan
    told = measure_reliability(entries, 1, 0)
    assert told.shown and told.halves is not None and 0.5 < told.halves < 1


def test_few_replicates_are_tested_by_the_correlation_of_their_halves():
    entries = np.array([[1.0, 2, -3, 4], [1.1, 2.2, -2.7, 4.1]])
    assert measure_reliability(entries, 12, 0).shown and not measure_reliability(entries, 2, 0).shown
    assert measure_reliability(entries, 2, 0).p is None


def test_the_bound_of_a_correlation_is_fisher_s():
    # z = arctanh 0.5 = 0.5493; 1.6449 / sqrt(25) = 0.3290; tanh 0.2203
    assert bound_correlation(0.5, 27) == pytest.approx(0.2168, abs=1e-4)
    assert bound_correlation(0.5, 2) is None
    assert bound_correlation(1.0, 30) < 1


def test_preferences_are_rows_less_their_means():
    table = np.array([[9.0, 1, 3], [4, 9, 0], [5, 5, 9]])
    assert compute_preferences(table).tolist() == [-1, 1, 2, -2, 0, 0]
    assert compute_preferences(table, own=True).reshape(3, 3).sum(axis=1) == pytest.approx([0, 0, 0])
