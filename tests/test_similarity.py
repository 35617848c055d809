"""Similarity of representations and of gradients, against hand calculations, slow formulas and what must not matter."""

from __future__ import annotations

import numpy as np
import pytest

from auxtune.selectors.kit.similarity import (
    FEWEST_TEXTS,
    compute_cka,
    compute_gradient_cosines,
    compute_layer_cka,
    compute_magnitude_similarities,
)

RNG = np.random.default_rng(0)


def cka(one, other, **options):
    return compute_cka([one, other], fewest=4, **options)[0, 1]


def column(*values):
    return np.array(values, dtype=float)[:, None]


def test_of_one_column_it_is_the_squared_correlation():
    assert cka(column(1, 2, 3, 4), column(1, 3, 2, 4), unbiased=False) == pytest.approx(0.64)
    one, other = RNG.normal(size=(2, 30, 1))
    expected = np.corrcoef(one[:, 0], other[:, 0])[0, 1] ** 2
    assert cka(one, other, unbiased=False) == pytest.approx(expected)


@pytest.mark.parametrize("unbiased", [True, False])
def test_rotation_scale_and_shift_do_not_matter(unbiased):
    one, other = RNG.normal(size=(2, 60, 5))
    turned = one @ np.linalg.qr(RNG.normal(size=(5, 5)))[0] * 37.0 + RNG.normal(size=5)
    assert cka(one, one, unbiased=unbiased) == pytest.approx(1.0)
    assert cka(one, turned, unbiased=unbiased) == pytest.approx(1.0)
    assert cka(turned, other, unbiased=unbiased) == pytest.approx(cka(one, other, unbiased=unbiased))


@pytest.mark.parametrize(("texts", "mean"), [(50, 0.071), (500, 0.008)])
def test_unrelated_representations_look_alike_over_few_texts_unless_the_bias_is_taken_out(texts, mean):
    pairs = np.random.default_rng(1).normal(size=(200, 2, texts, 4))
    biased = [cka(*pair, unbiased=False) for pair in pairs]
    unbiased = [cka(*pair) for pair in pairs]
    assert np.mean(biased) == pytest.approx(mean, abs=0.004)
    assert abs(np.mean(unbiased)) < 0.25 * mean
    assert min(unbiased) < 0


def test_the_unbiased_form_is_the_one_of_the_kernels():
    one, other = RNG.normal(size=(40, 3)), RNG.normal(size=(40, 7)) + 2.0
    other[:, :3] += one

    def hsic(first, second):
        texts = len(first)
        kernels = [features @ features.T for features in (first, second)]
        for kernel in kernels:
            np.fill_diagonal(kernel, 0.0)
        k, m = kernels
        ones = np.ones(texts)
        total = np.trace(k @ m) + (ones @ k @ ones) * (ones @ m @ ones) / ((texts - 1) * (texts - 2))
        return (total - 2 / (texts - 2) * ones @ k @ m @ ones) / (texts * (texts - 3))

    expected = hsic(one, other) / np.sqrt(hsic(one, one) * hsic(other, other))
    assert cka(one, other) == pytest.approx(expected)
    assert 0.1 < expected < 0.9


def test_every_pair_at_once_is_every_pair_by_itself():
    features = [RNG.normal(size=(50, width)) for width in (3, 1, 6)]
    table = compute_cka(features, fewest=4)
    for i, j in np.ndindex(3, 3):
        assert table[i, j] == pytest.approx(cka(features[i], features[j]))


def test_a_representation_that_is_the_same_for_all_texts_has_no_similarity():
    same = np.tile(RNG.normal(size=5).astype(np.float32), (50, 1))
    same[::2] *= np.float32(1 + 1e-7)  # what arithmetic in float32 leaves of "the same"
    table = compute_cka([same, RNG.normal(size=(50, 5))], fewest=4)
    assert np.isnan(table[0]).all() and np.isnan(table[:, 0]).all()
    assert table[1, 1] == pytest.approx(1.0)


def test_too_few_texts_are_refused_and_of_layers_unknown():
    few = RNG.normal(size=(2, FEWEST_TEXTS - 1, 4))
    with pytest.raises(ValueError, match=f"CKA needs at least {FEWEST_TEXTS} texts, got {FEWEST_TEXTS - 1}"):
        compute_cka(few)
    with pytest.raises(ValueError, match="CKA needs at least 4 texts, got 3"):
        compute_cka(few[:, :3], fewest=2)
    assert compute_layer_cka([few, few]) is None
    with pytest.raises(ValueError, match="must be of the same texts"):
        compute_cka([few[0], few[0][1:]])


def test_layers_are_compared_one_by_one():
    one, other = RNG.normal(size=(2, 3, FEWEST_TEXTS, 4))
    other[1] = one[1]
    table = compute_layer_cka([one, other])
    assert table.shape == (3, 2, 2)
    assert table[1, 0, 1] == pytest.approx(1.0)
    assert table[0, 0, 1] == pytest.approx(compute_cka([one[0], other[0]])[0, 1])
    assert abs(table[[0, 2], 0, 1]).max() < 0.2


GRADIENT = RNG.normal(size=(4, 3, 16)).astype(np.float32)


def test_the_same_gradient_has_cosine_1_its_opposite_minus_1_and_lengths_do_not_matter():
    over_all, by_block = compute_gradient_cosines([GRADIENT, GRADIENT, -GRADIENT, 250 * GRADIENT])
    assert over_all.shape == (4, 4, 4) and by_block.shape == (4, 3, 4, 4)
    expected = np.outer([1, 1, -1, 1], [1, 1, -1, 1])
    np.testing.assert_allclose(over_all, np.broadcast_to(expected, over_all.shape), atol=1e-6)
    np.testing.assert_allclose(by_block, np.broadcast_to(expected, by_block.shape), atol=1e-6)
    assert abs(over_all).max() <= 1


def test_gradients_of_different_blocks_have_cosine_0():
    one, other = GRADIENT.copy(), GRADIENT.copy()
    one[:, 1:] = 0
    other[:, :1] = 0
    over_all, by_block = compute_gradient_cosines([one, other])
    assert (over_all[:, 0, 1] == 0).all() and (by_block[:, :, 0, 1] == 0).all()
    assert by_block[:, 0, 1, 1].tolist() == [0.0] * 4  # a gradient that is zero in a block points nowhere


def test_cosines_are_those_of_the_gradients_written_out():
    other = RNG.normal(size=GRADIENT.shape) + 0.5 * GRADIENT
    over_all, by_block = compute_gradient_cosines([GRADIENT, other])
    for batch in range(4):
        one, two = GRADIENT[batch].ravel().astype(float), other[batch].ravel()
        assert over_all[batch, 0, 1] == pytest.approx(one @ two / np.linalg.norm(one) / np.linalg.norm(two))
        one, two = GRADIENT[batch, 2].astype(float), other[batch, 2]
        assert by_block[batch, 2, 1, 0] == pytest.approx(one @ two / np.linalg.norm(one) / np.linalg.norm(two))


def test_magnitudes_are_compared_over_all_blocks():
    one, other = np.array([[3.0, 4.0], [1.0, 0.0]]), np.array([[5.0, 0.0], [0.0, 3.0]])
    table = compute_magnitude_similarities([one, other, 0 * one])
    assert table[:, 0, 1].tolist() == pytest.approx([1.0, 2 * 3 / 10])
    assert table[:, 0, 2].tolist() == [0.0, 0.0]
    assert table[:, 0, 0].tolist() == pytest.approx([1.0, 1.0])


def test_gradients_in_different_numbers_of_batches_are_refused():
    for compare, shorter in ((compute_gradient_cosines, GRADIENT[:2]), (compute_magnitude_similarities, GRADIENT[:2])):
        with pytest.raises(ValueError, match="as many batches and blocks"):
            compare([GRADIENT, shorter])
