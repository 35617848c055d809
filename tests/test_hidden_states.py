"""Hidden states and second moments are those of one row at a time in float64, for every family of encoders."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from probe_subjects import EVERY_KIND, in_double, recipe_of, row_vector, states_of_row, subject_of
from synthetic_tasks import MODEL
from test_encoder import FAMILIES, folders
from test_encoder import TASKS as SMALL
from test_encoder import options as encoder_options

from auxtune.trials.encoder import load_base
from auxtune.trials.probes.covariance import measure_covariance
from auxtune.trials.probes.hidden_states import choose_shared_texts, measure_hidden_states
from auxtune.trials.probes.probe import ProbeError, Subject

pytestmark = pytest.mark.arithmetic

__all__ = ["folders"]  # a fixture
TEXTS = choose_shared_texts(EVERY_KIND, 40)


def slow_states(subject: Subject) -> np.ndarray:
    """(layers + 1, texts, width) float64."""
    model, texts = in_double(subject.model), subject.texts
    assert texts is not None
    with torch.no_grad():
        rows = [
            [row_vector(state, subject.recipe.model.pooling) for state in states_of_row(model, texts, "probe", row)]
            for row in range(len(texts.splits["probe"]))
        ]
    return np.stack([[vector.numpy() for vector in row] for row in rows], axis=1)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_hidden_states_are_pooled_layer_by_layer(pooling: str) -> None:
    recipe = recipe_of(("sign",), model=dataclasses.replace(MODEL, pooling=pooling))
    subject = subject_of(recipe, steps=4, texts=TEXTS)
    found = measure_hidden_states(subject, {})
    assert found["hidden"].shape == (3, 40, 64) and found["hidden"].dtype == np.float32
    np.testing.assert_allclose(found["hidden"], slow_states(subject), atol=1e-5)
    assert found["texts"] == TEXTS.digest
    assert np.abs(found["hidden"] - measure_hidden_states(subject_of(recipe, texts=TEXTS), {})["hidden"]).max() > 1e-3


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_shows_its_layers(folders: dict[str, Path], family: str) -> None:
    model = encoder_options(folders[family], pooling="mean")
    recipe = recipe_of(("classification",), model=model)
    subject = subject_of(recipe, tasks=SMALL, base=load_base(model), texts=choose_shared_texts(SMALL, 12))
    found = measure_hidden_states(subject, {})["hidden"]
    assert found.shape == (4, 12, 16)
    np.testing.assert_allclose(found, slow_states(subject), atol=1e-5)
    collate, encoder, texts = subject.collate, subject.model.encoder, subject.texts
    assert texts is not None
    with torch.no_grad():
        last = [
            encoder(b.tokens, b.segments, b.mask)[0].mean(0)
            for row in range(12)
            for b in [collate(texts, "probe", np.array([row]))]
        ]
    np.testing.assert_allclose(found[-1], torch.stack(last).numpy(), atol=1e-5)


@pytest.mark.parametrize("pooling", ["cls", "mean"])
@pytest.mark.parametrize("name", ["share.of", "tags"])
def test_covariance_is_the_mean_of_outer_products(name: str, pooling: str) -> None:
    recipe = recipe_of((name,), model=dataclasses.replace(MODEL, pooling=pooling))
    subject, task = subject_of(recipe, steps=4), EVERY_KIND[name]
    model = in_double(subject.model)
    with torch.no_grad():
        rows = [states_of_row(model, task, "probe", row) for row in range(60)]
    vectors = {
        "embeddings": np.concatenate([states[0].numpy() for states in rows]),
        "representation": np.stack([row_vector(states[-1], pooling).numpy() for states in rows]),
    }
    assert len(vectors["embeddings"]) == len(task.splits["probe"].tokens) > 3 * 60
    for at, each in vectors.items():
        found = measure_covariance(subject, {"at": at})
        assert found["rows"] == len(each) and found["covariance"].dtype == found["mean"].dtype == np.float64
        np.testing.assert_allclose(found["covariance"], sum(np.outer(x, x) for x in each) / len(each), atol=1e-5)
        np.testing.assert_allclose(found["mean"], each.mean(axis=0), atol=1e-5)
    default, embeddings = (measure_covariance(subject, options)["covariance"] for options in ({}, {"at": "embeddings"}))
    assert np.array_equal(default, embeddings)


def test_what_is_missing_is_said() -> None:
    with pytest.raises(ProbeError, match="expected texts that all tasks share, found none"):
        measure_hidden_states(subject_of(recipe_of(("sign",))), {})
    with pytest.raises(ProbeError, match=r"probes.covariance: expected a run of one task, found sign, tags"):
        measure_covariance(subject_of(recipe_of(("sign", "tags"))), {})
    with pytest.raises(ProbeError, match=r"probes.covariance.at: expected embeddings or representation, found 'last'"):
        measure_covariance(subject_of(recipe_of(("sign",))), {"at": "last"})


def test_the_run_is_left_as_it_was() -> None:
    subject = subject_of(recipe_of(("sign",)), steps=2, texts=TEXTS)
    subject.model.train()
    random, before = torch.get_rng_state(), {k: v.clone() for k, v in subject.model.state_dict().items()}
    first, second = (measure_hidden_states(subject, {})["hidden"] for _ in range(2))
    measure_covariance(subject, {})
    assert np.array_equal(first, second) and subject.model.training
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in subject.model.state_dict().items())
