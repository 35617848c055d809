"""Random subsets and what they say of pairs: all pairs are there, and an additive truth comes back."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from auxtune.selectors.kit.affinity import draw_subsets, estimate_gains


@pytest.mark.parametrize(("tasks", "size", "count"), [(8, 3, 40), (40, 10, 200), (40, 2, 5), (30, 3, 1), (99, 25, 200)])
def test_subsets_differ_have_the_size_and_hold_every_pair(tasks, size, count):
    masks = draw_subsets(tasks, size, count, np.random.default_rng(2))
    assert masks.dtype == bool and (masks.sum(axis=1) == size).all() and len(masks) >= count
    assert len({mask.tobytes() for mask in masks[:count]}) == count
    assert (masks.T.astype(int) @ masks > 0).all()
    assert np.array_equal(masks, draw_subsets(tasks, size, count, np.random.default_rng(2)))


def test_all_there_are_where_these_are_few():
    masks = draw_subsets(5, 3, 10, np.random.default_rng(0))
    assert {tuple(np.flatnonzero(mask)) for mask in masks} == set(itertools.combinations(range(5), 3))
    for size in (1, 6):
        with pytest.raises(ValueError, match=f"subsets must have 2 to 5 tasks, got {size}"):
            draw_subsets(5, size, 10, np.random.default_rng(0))


def test_the_published_worked_example_of_averaging():
    # Sources 1, 2, 3, 4 are worth 0, 1, 2, 3; a recipient's score with a pair of them is their mean.
    pairs = list(itertools.combinations(range(1, 5), 2))
    masks = np.array([[place in (0, *pair) for place in range(5)] for pair in pairs])
    scores = np.array([np.mean([place - 1 for place in pair]) for pair in pairs])
    losses = np.zeros((6, 5))
    losses[:, 0] = 10 - scores
    gains = estimate_gains(masks, losses)[0]
    np.testing.assert_allclose(10 - 8.5 * (1 - gains[1:]), [1, 4 / 3, 5 / 3, 2])
    assert gains[0] == 0


def test_what_is_in_no_subset_is_not_known_and_what_is_not_in_one_is_not_read():
    masks = np.array([[1, 1, 0], [1, 1, 0]], bool)
    losses = np.array([[1.0, 2.0, np.nan], [3.0, 2.0, np.inf]])
    gains = estimate_gains(masks, losses)
    assert gains[:2, :2].tolist() == [[0, 0], [0, 0]] and np.isnan(gains[2]).all() and np.isnan(gains[:2, 2]).all()
    assert estimate_gains(masks[:, :2], np.zeros((2, 2))).tolist() == [[0, 0], [0, 0]], "no loss, nothing to gain"
