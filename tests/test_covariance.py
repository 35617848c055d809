"""What is computed of covariances: scores of two, weights of labels, and the directions that tasks best share."""

from __future__ import annotations

import numpy as np
import pytest

from auxtune.selectors.kit.similarity import (
    compute_cosine,
    compute_similarity,
    compute_svd_weights,
    find_leading_directions,
    subtract_mean,
    truncate_spectrum,
)


def moment(*rows):
    x = np.array(rows, dtype=float)
    return x.T @ x


@pytest.mark.parametrize(
    ("first", "second", "score"),
    [
        (np.eye(2), np.eye(2), 0.707107),
        ([[1, 0]], [[1, 0]], 1.0),
        ([[1, 0]], [[0, 1]], 0.0),
        ([[1, 0]], [[1, 1]], 0.707107),
        (np.diag([2, 1]), np.diag([1, 2]), 0.565685),
        (np.diag([2, 1]), np.diag([2, 1]), 0.824621),
    ],
)
def test_the_score_of_small_inputs(first, second, score):
    assert compute_similarity(moment(*first), moment(*second)) == pytest.approx(score, abs=1e-6)
    assert compute_similarity(moment(*second), moment(*first)) == pytest.approx(score, abs=1e-6)


def drawn(seed, rows=40, width=6):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(rows, width)) * np.linspace(0.1, 3, width) + 0.5


def rotation(seed, width=6):
    return np.linalg.qr(np.random.default_rng(seed).normal(size=(width, width)))[0]


@pytest.mark.parametrize("score", [compute_similarity, compute_cosine])
def test_what_a_score_does_not_depend_on_and_what_it_does(score):
    x, z, q = drawn(1), drawn(2), rotation(3)
    found = score(moment(*x), moment(*z))
    assert score(moment(*(rotation(4, len(x)) @ x)), moment(*z)) == pytest.approx(found, abs=1e-12)
    assert score(moment(*(7.5 * x)), moment(*z)) == pytest.approx(found, abs=1e-12)
    assert score(moment(*(x @ q)), moment(*(z @ q))) == pytest.approx(found, abs=1e-12)
    assert score(moment(*(x @ q)), moment(*z)) < found - 0.01


def test_without_truncation_it_has_a_closed_form_and_with_it_that_of_the_leading_pairs():
    first, second = moment(*drawn(1)), moment(*drawn(2))
    closed = np.sqrt(np.trace(first @ second) / (np.trace(first) * np.trace(second)))
    assert compute_similarity(first, second, held=1.0) == pytest.approx(closed, abs=1e-12)

    def pairs(c):
        values, vectors = np.linalg.eigh(c)
        order = np.argsort(-values)
        kept = next(k for k in range(1, 7) if values[order[:k]].sum() >= 0.9 * values.sum())
        assert kept < 6
        return vectors[:, order[:kept]] * np.sqrt(values[order[:kept]])

    ours, theirs = pairs(first), pairs(second)
    slow = np.linalg.norm(ours.T @ theirs) / (np.linalg.norm(ours) * np.linalg.norm(theirs))
    assert compute_similarity(first, second, held=0.9) == pytest.approx(slow, abs=1e-12)


def test_the_leading_pairs_hold_their_share_and_one_less_does_not():
    c = np.diag([90.0, 9.0, 0.6, 0.4])
    assert np.allclose(truncate_spectrum(c), np.diag([90.0, 9.0, 0.0, 0.0]))
    assert np.allclose(truncate_spectrum(c, 0.995), np.diag([90.0, 9.0, 0.6, 0.0]))
    assert np.allclose(truncate_spectrum(c, 1.0), c)


def test_the_normalised_score_of_a_task_with_itself_is_one_and_the_papers_is_not():
    c = moment(*drawn(1))
    effective_rank = np.trace(c) ** 2 / np.sum(c * c)
    assert compute_cosine(c, c) == pytest.approx(1.0, abs=1e-12)
    assert compute_similarity(c, c, held=1.0) == pytest.approx(1 / np.sqrt(effective_rank), abs=1e-12)


def test_about_the_mean_a_common_offset_counts_no_more():
    rng = np.random.default_rng(0)
    first, second = rng.normal(size=(500, 2)) * [1, 0.1], rng.normal(size=(500, 2)) * [0.1, 1]
    moments = [moment(*(x + 20)) / 500 for x in (first, second)]
    about = [subtract_mean(c, (x + 20).mean(axis=0)) for c, x in zip(moments, (first, second), strict=True)]
    assert np.allclose(about[0], np.cov(first.T, bias=True), atol=1e-9)
    assert compute_cosine(*moments) > 0.99
    assert compute_cosine(*about) < 0.1


def test_a_task_without_any_variation_is_like_nobody():
    assert compute_similarity(np.zeros((2, 2)), np.eye(2)) == compute_cosine(np.zeros((2, 2)), np.eye(2)) == 0.0


@pytest.mark.parametrize(
    ("columns", "rank", "weights"),
    [
        ([(3, 0), (0, 1)], 1, [3, 0]),
        ([(3, 0), (0, 1)], 2, [3, 1]),
        ([(1, 0, 0), (1, 0, 0), (0, 0.5, 0)], 1, [1, 1, 0]),
        ([(1, 0, 0), (1, 0, 0), (0, 0.5, 0)], 2, [1, 1, 0.5]),
    ],
)
def test_the_weights_of_small_columns(columns, rank, weights):
    theta = np.array(columns, dtype=float).T
    assert compute_svd_weights(theta, rank) == pytest.approx(weights, abs=1e-12)
    assert compute_svd_weights(-theta, rank) == pytest.approx(weights, abs=1e-12)
    flipped = theta * [-1, *[1] * (len(columns) - 1)]
    assert compute_svd_weights(flipped, rank) == pytest.approx(weights, abs=1e-12), "a sign of labels means nothing"


def test_at_full_rank_a_weight_is_only_a_norm_and_duplicates_share_one():
    theta = np.random.default_rng(0).normal(size=(7, 4))
    assert compute_svd_weights(theta, 4) == pytest.approx(np.linalg.norm(theta, axis=0), abs=1e-12)
    twice = compute_svd_weights(np.column_stack([theta, theta[:, 1]]), 2)
    assert twice[1] == pytest.approx(twice[4], abs=1e-12)


class Linear:
    """Tasks y_i on the same X, weighed by α: shared B (width, r), and the best head of each behind it."""

    def __init__(self, x, y, alpha):
        self.x, self.y, self.alpha = x, y, np.asarray(alpha, dtype=float)
        self.u, self.d, vt = np.linalg.svd(x, full_matrices=False)
        self.v = vt.T

    @property
    def columns(self):
        return np.sqrt(self.alpha) * (self.u.T @ self.y)

    def optimum(self, r):
        """(XᵀX)⁻¹ V D Q_r, with Q_r the leading directions of the weighted label columns."""
        return self.v / self.d @ find_leading_directions(self.columns, r)

    def loss(self, b):
        hidden = self.x @ b
        heads = np.linalg.lstsq(hidden, self.y, rcond=None)[0]
        return float(self.alpha @ np.sum((self.y - hidden @ heads) ** 2, axis=0))


def linear(seed=0, alpha=(1.0, 4.0, 0.3, 2.0)):
    rng = np.random.default_rng(seed)
    return Linear(rng.normal(size=(30, 5)), rng.normal(size=(30, 4)), alpha), rng


@pytest.mark.parametrize("r", [1, 2, 3])
def test_the_leading_directions_of_weighted_labels_are_the_best_that_tasks_can_share(r):
    tasks, rng = linear()
    outside = tasks.y - tasks.u @ (tasks.u.T @ tasks.y)
    left = np.linalg.svd(tasks.columns, compute_uv=False)[r:]
    least = tasks.alpha @ np.sum(outside**2, axis=0) + np.sum(left**2)
    best = tasks.optimum(r)
    assert tasks.loss(best) == pytest.approx(least, abs=1e-12 * least)
    scales = np.repeat([1.0, 0.1, 0.01, 0.001], 500)
    assert all(tasks.loss(best + scale * rng.normal(size=best.shape)) >= least for scale in scales)


@pytest.mark.parametrize("r", [4, 5])
def test_with_as_many_directions_as_tasks_each_task_is_solved_as_if_alone(r):
    tasks, _ = linear()
    b = tasks.optimum(r)
    assert b.shape == (5, 4)
    alone = np.linalg.lstsq(tasks.x, tasks.y, rcond=None)[0]
    heads = np.linalg.lstsq(tasks.x @ b, tasks.y, rcond=None)[0]
    assert np.allclose(b @ heads, alone, atol=1e-10)


@pytest.mark.parametrize(("alpha", "direction"), [((1, 1), (0.850651, 0.525731)), ((100, 1), (0.99995, 0.0100))])
def test_a_heavier_task_draws_the_shared_direction_to_itself(alpha, direction):
    tasks = Linear(np.eye(2), np.array([[1.0, 1.0], [0.0, 1.0]]), alpha)
    b = tasks.optimum(1)[:, 0]
    assert b * np.sign(b[0]) == pytest.approx(direction, abs=5e-5 if alpha[0] > 1 else 1e-6)
