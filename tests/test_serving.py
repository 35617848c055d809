"""The networks chosen are the best within the budget: checked against every choice there is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from auxtune.selectors.kit.networks import choose_networks


def total(scores, opened):
    served = np.where(np.isfinite(scores[list(opened)]), scores[list(opened)], -np.inf)
    return served.max(axis=0).sum()


@pytest.mark.parametrize("seed", range(30))
def test_it_is_the_best_of_all_choices(seed) -> None:
    rng = np.random.default_rng(seed)
    networks, tasks = int(rng.integers(4, 11)), int(rng.integers(2, 5))
    scores = rng.normal(size=(networks, tasks)) * 10 ** rng.uniform(-3, 3)
    scores[rng.random(scores.shape) < 0.4] = np.nan
    scores[0] = -abs(scores[np.isfinite(scores)]).max() if np.isfinite(scores).any() else 0.0
    costs = rng.choice([0.5, 1.0, 1.5], networks)
    costs[0] = 0.5
    budget = float(rng.uniform(0.5, 4))
    every = [
        choice
        for size in range(1, networks + 1)
        for choice in itertools.combinations(range(networks), size)
        if costs[list(choice)].sum() <= budget and np.isfinite(scores[list(choice)]).any(axis=0).all()
    ]
    found = choose_networks(scores, costs.tolist(), budget)
    assert costs[found].sum() <= budget
    assert total(scores, found) == pytest.approx(max(total(scores, choice) for choice in every), rel=1e-6, abs=1e-9)


def test_of_equals_the_smaller_network_serves_and_none_is_opened_for_nothing() -> None:
    scores = np.array([[1.0, 1.0], [1.0, np.nan], [np.nan, 1.0], [1.0, 1.0]])
    assert choose_networks(scores, [1, 1, 1, 1], 4) == [0]


def test_what_cannot_be_served_is_refused() -> None:
    with pytest.raises(ValueError, match="has no known score"):
        choose_networks(np.array([[1.0, np.nan]]), [1], 1)
    with pytest.raises(ValueError, match=r"within a budget of 0.5 must serve all tasks"):
        choose_networks(np.array([[1.0, 1.0]]), [1], 0.5)
