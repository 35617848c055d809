"""Label moments are XᵀY of the encoder as it came and centred labels; inputs that differ are told apart."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from probe_subjects import EVERY_KIND, THIRDS, TOPICS, in_double, recipe_of, row_vector, states_of_row, subject_of
from synthetic_tasks import MODEL, TASKS

from auxtune.trials.probes.covariance import build_label_columns, measure_label_moments
from auxtune.trials.probes.probe import ProbeError

pytestmark = pytest.mark.arithmetic

EXPECTED = {"sign": 1, "share.of": 1, "topics": 3, "thirds": 3}


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("name", EXPECTED)
def test_moments_are_a_sum_over_rows(name: str, pooling: str) -> None:
    recipe, task = recipe_of((name,), model=dataclasses.replace(MODEL, pooling=pooling)), EVERY_KIND[name]
    found = measure_label_moments(subject_of(recipe, steps=3), {})
    model, columns = in_double(subject_of(recipe).model), build_label_columns(task)
    total = np.zeros((64, EXPECTED[name]))
    with torch.no_grad():
        for row in range(240):
            total += np.outer(row_vector(states_of_row(model, task, "train", row)[-1], pooling).numpy(), columns[row])
    assert found["moments"].dtype == np.float64 and found["rows"] == 240
    assert np.abs(total / 240).max() > 1e-3
    np.testing.assert_allclose(found["moments"], total / 240, atol=1e-6)


def test_columns_are_centred_labels() -> None:
    shares = {name: build_label_columns(task) for name, task in EVERY_KIND.items() if name in EXPECTED}
    assert {name: columns.shape for name, columns in shares.items()} == {n: (240, c) for n, c in EXPECTED.items()}
    assert max(np.abs(columns.mean(axis=0)).max() for columns in shares.values()) < 1e-12
    sign = TASKS["sign"].splits["train"].labels
    one, zero = shares["sign"][sign == 1][0, 0], shares["sign"][sign == 0][0, 0]
    assert one - zero == 2 and one == pytest.approx(2 - 2 * sign.mean())
    assert (np.ptp(shares["topics"], axis=0) == 2).all() and (np.ptp(shares["thirds"], axis=0) == 1).all()
    assert np.array_equal(shares["thirds"].argmax(axis=1), THIRDS.splits["train"].labels)
    assert shares["share.of"].std() == pytest.approx(1, abs=1e-6)
    assert np.corrcoef(shares["share.of"][:, 0], TASKS["share.of"].splits["train"].labels)[0, 1] == pytest.approx(1)


def test_labels_that_are_all_the_same_ask_for_nothing() -> None:
    train = TASKS["share.of"].splits["train"]
    flat = dataclasses.replace(train, labels=np.full(240, 2.5, np.float32))
    task = dataclasses.replace(TASKS["share.of"], splits={**TASKS["share.of"].splits, "train": flat})
    found = measure_label_moments(subject_of(recipe_of(("share.of",)), tasks={"share.of": task}), {})
    assert np.array_equal(found["moments"], np.zeros((64, 1)))


def test_the_same_inputs_have_one_digest_whatever_their_labels() -> None:
    digests = {name: str(measure_label_moments(subject_of(recipe_of((name,))), {})["inputs"]) for name in EXPECTED}
    assert digests["sign"] == digests["topics"] == digests["thirds"] != digests["share.of"]
    train = TOPICS.splits["train"]
    last = train.tokens.copy()
    last[-2] += 1
    changed = {
        "topics": dataclasses.replace(
            TOPICS, splits={**TOPICS.splits, "train": dataclasses.replace(train, tokens=last)}
        )
    }
    other = measure_label_moments(subject_of(recipe_of(("topics",)), tasks=changed), {})
    assert str(other["inputs"]) != digests["topics"]


def test_tags_of_tokens_are_refused() -> None:
    with pytest.raises(ProbeError, match="expected labels of rows, found tags of tokens in task tags; leave the task"):
        measure_label_moments(subject_of(recipe_of(("tags",))), {})
