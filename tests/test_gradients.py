"""A task's gradients at the common point: sketched by block, comparable, and of a head that was fitted."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probe_subjects import EVERY_KIND, THIRDS, in_double, recipe_of, slow_loss, subject_of
from sklearn.linear_model import LogisticRegression, Ridge
from synthetic_tasks import BASE, TASKS
from test_encoder import FAMILIES, folders, options
from test_encoder import TASKS as SMALL
from torch import nn
from torch.nn import functional

from auxtune.trials.encoder import build_encoder, load_base
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.probes.gradients import (
    CLOSE,
    BlockSketches,
    choose_batch_rows,
    find_blocks,
    fit_head,
    measure_gradients,
    name_common_point,
)
from auxtune.trials.probes.measuring import compute_pooled_features
from auxtune.trials.probes.probe import Arrays, ProbeError, Subject
from auxtune.trials.probes.sketch import SIZE, Sketch

pytestmark = pytest.mark.arithmetic

__all__ = ["folders"]  # a fixture
CPU = torch.device("cpu")


def measured(name: str, tasks: Any = EVERY_KIND, steps: int = 0, **changes: Any) -> Arrays:
    return measure_gradients(subject_of(recipe_of((name,), **changes), steps, tasks), {"batches": 3})


def fitted(subject: Subject) -> tuple[MultiTaskModel, torch.Tensor]:
    """The encoder as it came under a fitted head, and what it makes of the train split."""
    [task] = subject.tasks.values()
    encoder = build_encoder(subject.base, subject.recipe.seed)
    model = MultiTaskModel(encoder, [task], subject.recipe.model.pooling, subject.recipe.seed).eval()
    fit_head(model, task, subject)
    features = compute_pooled_features(encoder, task, "train", subject.collate, subject.recipe.model.pooling)
    return model, features


def cosine(first: np.ndarray, second: np.ndarray) -> float:
    return float((first * second).sum() / np.sqrt((first**2).sum() * (second**2).sum()))


@pytest.mark.parametrize("length", [1, 4096, 4097, 300_000, 2**20 + 3])
def test_a_sketch_keeps_inner_products(length: int) -> None:
    generator = torch.Generator().manual_seed(length)
    vectors = torch.randn(6, length, generator=generator, dtype=torch.float64)
    vectors[1:] += vectors[0]  # products of every size
    sketch = Sketch("a block", length, CPU)
    sketches = torch.stack([sketch(vector) for vector in vectors])
    assert sketches.shape == (6, SIZE)
    norms = vectors.norm(dim=1)
    error = (sketches @ sketches.T - vectors @ vectors.T) / torch.outer(norms, norms)
    if length <= SIZE:
        assert error.abs().max() < 1e-12
    else:
        assert 1e-4 < error.abs().max() < 6 / np.sqrt(SIZE)


def test_a_sketch_is_right_on_average_with_the_error_that_is_promised() -> None:
    torch.manual_seed(0)
    first, second = functional.normalize(torch.randn(2, 20_000, dtype=torch.float64), dim=1)
    second = functional.normalize(first + second, dim=0)
    errors = []
    for number in range(200):
        sketch = Sketch(f"block {number}", 20_000, CPU)
        errors.append(float(sketch(first) @ sketch(second) - first @ second))
    promised = np.sqrt((1 + float(first @ second) ** 2) / SIZE)
    assert abs(np.mean(errors)) < 4 * promised / np.sqrt(200)
    assert np.std(errors) == pytest.approx(promised, rel=0.2)


def test_a_sketch_is_the_same_in_every_version_of_the_libraries() -> None:
    unit = torch.zeros(5000)
    unit[4999] = 1.0
    found = Sketch("layer.0", 5000, CPU)(unit)
    # SplitMix64 by hand: its state after 5,000 increments from the first eight bytes of the name's SHA-256.
    full = 2**64 - 1
    mixed = (int.from_bytes(hashlib.sha256(b"layer.0").digest()[:8], "little") + 5000 * 0x9E3779B97F4A7C15) & full
    mixed = ((mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9) & full
    mixed = ((mixed ^ (mixed >> 27)) * 0x94D049BB133111EB) & full
    code = (mixed ^ (mixed >> 31)) >> 51
    assert found.nonzero().flatten().tolist() == [code // 2]
    assert found[code // 2] == (-1.0 if code % 2 else 1.0)


class Layered(nn.Module):
    """Two linear layers and a table, named as an encoder's are."""

    def __init__(self) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.zeros(80, 80))
        self.layer = nn.ModuleList([nn.Linear(90, 90), nn.Linear(3, 1)])


def sketched(module: Layered, loss: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    found: tuple[torch.Tensor, torch.Tensor] = BlockSketches("here", find_blocks(module), CPU)(loss)
    return found


def test_equal_losses_agree_opposite_ones_oppose_scale_is_nothing_and_other_blocks_are_at_right_angles() -> None:
    torch.manual_seed(0)
    module = Layered()

    def loss() -> torch.Tensor:
        return module.layer[0].weight.sin().sum() + module.table.sum()

    losses = (loss(), loss(), -loss(), 3.5 * loss(), module.layer[1].weight.square().sum())
    first, again, flipped, scaled, elsewhere = (sketched(module, each)[0].numpy() for each in losses)
    assert cosine(first, again) == pytest.approx(1, abs=1e-12)
    assert cosine(first, flipped) == pytest.approx(-1, abs=1e-12)
    assert cosine(first, scaled) == pytest.approx(1, abs=1e-6)
    assert cosine(first, elsewhere) == 0
    assert (np.abs(elsewhere).sum(axis=1) > 0).tolist() == [False, False, True]


def test_a_label_negated_twin_of_a_linear_logistic_model_at_zero_has_the_opposite_gradient() -> None:
    generator = torch.Generator().manual_seed(1)
    module = Layered()
    nn.init.zeros_(module.layer[0].weight)
    features = torch.randn(50, 90, generator=generator)
    labels = (torch.rand(50, generator=generator) < 0.3).float()
    # At zero every probability is one half: the gradient is the mean of (1/2 - y) x, which 1 - y turns round.
    task, twin = (
        sketched(module, functional.binary_cross_entropy_with_logits(features @ module.layer[0].weight[0], each))
        for each in (labels, 1 - labels)
    )
    assert cosine(task[0].numpy(), twin[0].numpy()) == pytest.approx(-1, abs=1e-9)
    assert task[1][1].item() == pytest.approx(twin[1][1].item()) and task[1][1] > 0.1


def test_norms_are_exact_and_sketches_near() -> None:
    torch.manual_seed(0)
    module = Layered()
    pulls = [[torch.randn_like(parameter) for parameter in module.parameters()] for _ in range(2)]
    losses = [
        sum(((p * q).sum() for p, q in zip(module.parameters(), pull, strict=True)), torch.zeros(())) for pull in pulls
    ]
    (first, norms), (second, _) = (sketched(module, loss) for loss in losses)
    names = [name for name, _ in module.named_parameters()]
    for block, prefix in enumerate(("table", "layer.0", "layer.1")):
        one, other = (
            torch.cat(
                [part.flatten() for name, part in zip(names, pull, strict=True) if name.startswith(prefix)]
            ).double()
            for pull in pulls
        )
        assert norms[block].item() == pytest.approx(one.norm().item(), rel=1e-7)
        relative = (first[block] @ second[block] - one @ other) / (one.norm() * other.norm())
        assert abs(relative) < 5 / np.sqrt(SIZE) if prefix != "layer.1" else abs(relative) < 1e-6


@pytest.mark.parametrize("name", EVERY_KIND)
def test_gradients_are_those_of_a_slow_computation_in_float64(name: str) -> None:
    subject = subject_of(recipe_of((name,)), steps=3)
    found = measure_gradients(subject, {"batches": 2})
    model = in_double(fitted(subject)[0])
    blocks = find_blocks(model.encoder.module)
    assert found["blocks"].tolist() == list(blocks) == ["embeddings", "layer.0", "layer.1"]
    assert found["projections"].shape == (2, 3, SIZE) and found["projections"].dtype == np.float32
    for number in range(2):
        rows = choose_batch_rows(EVERY_KIND[name], subject.recipe, number)
        loss = slow_loss(model, EVERY_KIND[name], "train", rows)
        sketches, norms = BlockSketches(str(found["point"]), blocks, CPU)(loss)
        np.testing.assert_allclose(found["norms"][number], norms.numpy(), rtol=1e-3)
        scale = norms.max().item()
        np.testing.assert_allclose(found["projections"][number], sketches.numpy(), atol=1e-3 * scale)
    assert not np.array_equal(found["norms"][0], found["norms"][1])


def test_copies_of_a_task_agree_entirely_and_renamed_classes_change_nothing() -> None:
    sign = TASKS["sign"]
    renamed = {part: dataclasses.replace(split, labels=1 - split.labels) for part, split in sign.splits.items()}
    tasks = {
        **EVERY_KIND,
        "copy": dataclasses.replace(sign, name="copy"),
        "renamed": dataclasses.replace(sign, name="renamed", splits=renamed),
    }
    found = {name: measured(name, tasks)["projections"] for name in ("sign", "copy", "renamed", "thirds")}
    assert np.array_equal(found["sign"], found["copy"])
    assert cosine(found["sign"], found["renamed"]) == pytest.approx(1, abs=1e-4)
    assert abs(cosine(found["sign"], found["thirds"])) < 0.95


def test_the_point_is_the_encoder_as_it_came() -> None:
    untrained, trained = (measured("sign", steps=steps) for steps in (0, 5))
    assert all(np.array_equal(array, trained[key]) for key, array in untrained.items())
    other = measured("sign", seed=7)
    assert other["point"] != untrained["point"]
    weights = {name: tensor.numpy() for name, tensor in build_encoder(BASE, 0).module.state_dict().items()}
    pretrained = dataclasses.replace(BASE, weights=weights)
    assert name_common_point(pretrained, 0) == name_common_point(pretrained, 7) == BASE.digest


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_fitted_head_is_the_regression_that_scikit_learn_fits(pooling: str) -> None:
    model = dataclasses.replace(recipe_of(("thirds",)).model, pooling=pooling)
    fit, features = fitted(subject_of(recipe_of(("thirds",), model=model)))
    labels = THIRDS.splits["train"].labels
    known = LogisticRegression(C=1.0, max_iter=500, tol=1e-10, solver="newton-cg").fit(features.numpy(), labels)
    head = fit.head("thirds").linear
    np.testing.assert_allclose(head.weight.detach().numpy(), known.coef_, atol=CLOSE)
    np.testing.assert_allclose(head.bias.detach().numpy(), known.intercept_, atol=10 * CLOSE)
    values, features = fitted(subject_of(recipe_of(("share.of",), model=model)))
    targets = TASKS["share.of"].splits["train"].labels.astype(np.float64)
    ridge = Ridge(alpha=0.5).fit(features.numpy(), (targets - targets.mean()) / targets.std())
    np.testing.assert_allclose(values.head("share.of").linear.weight.detach().numpy()[0], ridge.coef_, atol=CLOSE)
    assert values.head("share.of").linear.bias.item() == pytest.approx(ridge.intercept_, abs=10 * CLOSE)


@pytest.mark.parametrize("family", FAMILIES)
def test_the_blocks_of_every_family_are_found(folders: dict[str, Path], family: str) -> None:
    model = options(folders[family])
    subject = subject_of(recipe_of(("classification",), model=model), tasks=SMALL, base=load_base(model))
    module = build_encoder(subject.base, 0).module
    blocks = find_blocks(module)
    assert list(blocks) == ["embeddings", "layer.0", "layer.1", "layer.2"]
    held = [parameter for block in blocks.values() for parameter in block]
    assert len(held) == len(list(module.parameters())) and {*map(id, held)} == {*map(id, module.parameters())}
    sizes = {name: sum(parameter.numel() for parameter in block) for name, block in blocks.items()}
    assert sizes["layer.1"] == sizes["layer.2"] > 1000
    found = measure_gradients(subject, {"batches": 2})
    assert found["norms"].shape == (2, 4) and (found["norms"] > 0).all() and np.isfinite(found["projections"]).all()


def test_an_encoder_without_layers_and_a_run_of_several_tasks_are_refused() -> None:
    with pytest.raises(ProbeError, match=r"whose parameters are named by layer .* found none in a Linear"):
        find_blocks(nn.Linear(2, 2))
    with pytest.raises(ProbeError, match=r"probes.gradients: expected a run of one task, found sign, tags"):
        measure_gradients(subject_of(recipe_of(("sign", "tags"))), {})


def test_the_run_is_left_as_it_was() -> None:
    subject = subject_of(recipe_of(("sign",)), steps=2)
    random, before = torch.get_rng_state(), {k: v.clone() for k, v in subject.model.state_dict().items()}
    measure_gradients(subject, {"batches": 1})
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in subject.model.state_dict().items())
    assert not subject.model.training
