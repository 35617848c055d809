"""NDCG and regret of rankings, by hand, against enumeration of all orders, and where little is known."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from auxtune.selectors.kit.skill import compute_ndcg, compute_ndcg_by_row, compute_regret

TRUE = np.array([0.9, 0.8, 0.7])  # relevance 3, 2, 1: gains 7, 3, 1
IDEAL = 7 + 3 / math.log2(3) + 1 / 2


def test_ndcg_by_hand():
    assert compute_ndcg(np.array([3.0, 2.0, 1.0]), TRUE) == pytest.approx(100)
    assert compute_ndcg(np.array([1.0, 2.0, 3.0]), TRUE) == pytest.approx(100 * (1 + 3 / math.log2(3) + 7 / 2) / IDEAL)
    assert compute_ndcg(np.array([2.0, 3.0, 1.0]), TRUE) == pytest.approx(100 * (3 + 7 / math.log2(3) + 1 / 2) / IDEAL)


def test_distances_and_units_of_a_target_count_for_nothing():
    rng = np.random.default_rng(0)
    predicted, true = rng.normal(size=(2, 9))
    expected = compute_ndcg(predicted, true)
    assert compute_ndcg(5 * predicted - 3, 0.01 * true + 60) == pytest.approx(expected, abs=1e-9)
    assert compute_ndcg(predicted, np.exp(true)) == pytest.approx(expected, abs=1e-9)


@pytest.mark.parametrize("predicted", [[1.0, 1.0, 1.0, 1.0], [2.0, 1.0, 1.0, 1.0], [1.0, 2.0, 2.0, 0.0]])
@pytest.mark.parametrize("true", [[0.4, 0.1, 0.2, 0.3], [0.5, 0.5, 0.2, 0.2], [0.1, 0.3, 0.3, 0.3]])
def test_ties_are_the_mean_over_every_order(predicted, true):
    predicted, true = np.array(predicted), np.array(true)
    broken = [np.array(order) / 10 for order in itertools.permutations(range(len(true)))]
    hundredth = [np.array(order) / 1000 for order in itertools.permutations(range(len(true)))]
    # The ideal is that of one order: gains of equal true values are shared before it is taken.
    shared = np.mean([_gains(true + each) for each in hundredth], axis=0)
    reached = [_dcg(shared, predicted + each) for each in broken]
    assert compute_ndcg(predicted, true) == pytest.approx(100 * np.mean(reached) / _dcg(shared, true))
    for k in (1, 2, 3, 4):
        tops = [np.argsort(-(predicted + each))[:k] for each in broken]
        best = true.max()
        assert compute_regret(k, predicted, true) == pytest.approx(
            100 * np.mean([best - true[top].max() for top in tops]) / best
        )
        ideal = np.sort(true)[-k:].mean()
        assert compute_regret(k, predicted, true, of="mean") == pytest.approx(
            100 * np.mean([ideal - true[top].mean() for top in tops]) / ideal, abs=1e-9
        )


def _gains(true):
    return 2.0 ** (1 + np.argsort(np.argsort(true))) - 1


def _dcg(gains, predicted):
    return (gains[np.argsort(-predicted)] / np.log2(np.arange(len(gains)) + 2)).sum()


def test_saying_nothing_comes_to_what_random_orders_do():
    rng = np.random.default_rng(1)
    true = rng.normal(size=21)
    drawn = np.mean([compute_ndcg(rng.normal(size=21), true) for _ in range(4000)])
    assert compute_ndcg(np.zeros(21), true) == pytest.approx(44.94, abs=0.005)
    assert drawn == pytest.approx(compute_ndcg(np.zeros(21), true), abs=1.5)  # its standard error is about 0.3


def test_regret_by_hand():
    predicted = np.array([0.0, 1.0, 2.0, 3.0])
    true = np.array([80.0, 70.0, 60.0, 50.0])
    assert [compute_regret(k, predicted, true) for k in (1, 2, 3, 4)] == pytest.approx([37.5, 25.0, 12.5, 0.0])
    assert compute_regret(9, predicted, true) == 0.0
    # The mean of the top two is 55, of the best two 75.
    assert compute_regret(2, predicted, true, of="mean") == pytest.approx(100 * 20 / 75)


def test_losses_are_given_negated_and_a_best_of_zero_has_no_percentage():
    assert compute_regret(1, np.array([2.0, 1.0]), np.array([-0.6, -0.4])) == pytest.approx(50)
    assert math.isnan(compute_regret(1, np.array([2.0, 1.0]), np.array([-0.1, 0.0])))
    assert compute_regret(1, np.array([1.0, 2.0]), np.array([-0.1, 0.0])) == 0.0


def test_what_was_not_recorded_is_left_out_and_what_is_not_ranked_comes_last():
    predicted, true = np.array([9.0, 3.0, 2.0, 1.0]), np.array([np.nan, 0.7, 0.8, 0.9])
    assert compute_ndcg(predicted, true) == pytest.approx(compute_ndcg(predicted[1:], true[1:]))
    assert compute_regret(1, predicted, true) == pytest.approx(100 * 0.2 / 0.9)
    left_out = np.array([9.0, -np.inf, 2.0, 1.0])
    assert compute_ndcg(left_out, true) == pytest.approx(compute_ndcg(np.array([0.0, 2.0, 1.0]), true[1:]))
    assert math.isnan(compute_ndcg(np.ones(2), np.full(2, np.nan)))
    assert math.isnan(compute_regret(1, np.ones(2), np.full(2, np.nan)))
    assert compute_ndcg(np.ones(1), np.ones(1)) == pytest.approx(100)


def test_many_rankings_at_once():
    rng = np.random.default_rng(2)
    predicted, true = rng.normal(size=(3, 4, 6)), rng.normal(size=(4, 6))
    true[0, 1] = np.nan
    found = compute_ndcg_by_row(predicted, true)
    assert found.shape == (3, 4)
    each = [[compute_ndcg(row, truth) for row, truth in zip(rows, true, strict=True)] for rows in predicted]
    assert found == pytest.approx(np.array(each))


def test_rankings_that_cannot_be_judged_are_refused():
    with pytest.raises(ValueError, match="give -inf for a source"):
        compute_ndcg(np.array([np.nan, 1.0]), np.ones(2))
    with pytest.raises(ValueError, match="must be of the sources recorded"):
        compute_ndcg(np.ones(3), np.ones(2))
    with pytest.raises(ValueError, match="k must be at least 1"):
        compute_regret(0, np.ones(2), np.ones(2))
