"""Head importance of every family of encoders equals what one row at a time gives."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from random_encoders import CONFIGS, HEADS, KINDS, LAYERS, LENGTHS, WIDTH, make_subject, named
from torch.nn import functional

from auxtune.trials.batches import Batch
from auxtune.trials.data import IGNORED, Kind
from auxtune.trials.failures import NonFiniteError
from auxtune.trials.model import Head
from auxtune.trials.probes import head_importance as module
from auxtune.trials.probes.head_importance import measure_head_importance, measure_instance_importance
from auxtune.trials.probes.probe import ProbeError, Subject

pytestmark = pytest.mark.arithmetic


@pytest.fixture(autouse=True)
def exact(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Heads of a model in float64 give float64 too: rounded to float32, their losses would hide a difference."""
    monkeypatch.setattr(Head, "forward", lambda self, vectors: self.linear(self.dropout(vectors)))
    yield


def alone(subject: Subject) -> Iterator[Batch]:
    """Each row in a batch of its own, without padding."""
    task = subject.tasks["one"]
    for row in range(len(LENGTHS)):
        batch = subject.collate(task, "train", np.array([row]))
        assert batch.mask is None
        yield batch


def own_loss(subject: Subject, batch: Batch) -> torch.Tensor:
    """The mean loss of the only row, 0 where nothing is scored."""
    [kind] = {task.kind for task in subject.tasks.values()}
    [name] = subject.model.tasks
    outputs, labels = subject.model(name, batch)[0], batch.labels[0]
    if kind == "regression":
        head = subject.model.head(name)
        return ((labels - head.mean) / head.deviation - outputs[0]) ** 2
    if kind == "multi_label":
        return functional.binary_cross_entropy(outputs.sigmoid(), labels.double())
    if kind == "token":
        kept = labels != IGNORED
        return functional.cross_entropy(outputs[kept], labels[kept]) if kept.any() else outputs.sum() * 0
    return functional.cross_entropy(outputs, labels)


def masked_loss(subject: Subject, family: str, batch: Batch, mask: torch.Tensor) -> torch.Tensor:
    """The row's loss when head h of layer l counts ``mask[l, h]`` times."""

    def hook(layer: int) -> Any:
        return lambda _, inputs: inputs[0] * mask[layer].repeat_interleave(WIDTH // HEADS)

    handles = [output.register_forward_pre_hook(hook(layer)) for layer, output in enumerate(named(subject, family, 2))]
    loss = own_loss(subject, batch)
    for handle in handles:
        handle.remove()
    return loss


def slow_mask(subject: Subject, family: str) -> np.ndarray:
    rows = []
    for batch in alone(subject):
        mask = torch.ones(LAYERS, HEADS, dtype=torch.float64, requires_grad=True)
        [gradient] = torch.autograd.grad(masked_loss(subject, family, batch, mask), mask)
        rows.append(gradient.abs().numpy())
    return np.stack(rows)


def slow_key_value(subject: Subject, family: str) -> np.ndarray:
    size, rows = WIDTH // HEADS, []
    for batch in alone(subject):
        subject.model.zero_grad()
        own_loss(subject, batch).backward()
        importance = np.zeros((LAYERS, HEADS))
        for which in (0, 1):
            for layer, linear in enumerate(named(subject, family, which)):
                gradient = linear.weight.grad
                if linear.out_features == 3 * WIDTH:  # queries, keys and values below each other
                    gradient = gradient[WIDTH * (which + 1) : WIDTH * (which + 2)]
                for head in range(HEADS):
                    part = gradient[:, head * size : (head + 1) * size]
                    importance[layer, head] += part.abs().mean().item()
        rows.append(importance)
    subject.model.zero_grad()
    return np.stack(rows)


def measured(subject: Subject, **options: str) -> np.ndarray:
    return measure_instance_importance(subject, options)["importance"]


def agree(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == np.float32 and found.shape == expected.shape
    # All is computed in float64 here and kept in float32.
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=1e-12)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("family", CONFIGS)
def test_mask_gradients_are_those_of_each_row_alone(family: str, kind: Kind) -> None:
    subject = make_subject(family, kind)
    expected = slow_mask(subject, family)
    assert (expected > 1e-6).sum() > 0.7 * expected.size
    agree(measured(subject), expected)


@pytest.mark.parametrize("kind", ["classification", "token"])
@pytest.mark.parametrize("family", CONFIGS)
def test_key_and_value_gradients_are_those_of_each_row_alone(family: str, kind: Kind) -> None:
    subject = make_subject(family, kind)
    expected = slow_key_value(subject, family)
    assert (expected > 1e-8).sum() > 0.7 * expected.size
    agree(measured(subject, form="key_value"), expected)


def test_mask_gradients_are_the_slope_of_the_loss() -> None:
    subject, step = make_subject(kind="token"), 1e-5
    expected = np.zeros((len(LENGTHS), LAYERS, HEADS))
    with torch.no_grad():
        for row, batch in enumerate(alone(subject)):
            for place in np.ndindex(LAYERS, HEADS):
                up, down = (torch.ones(LAYERS, HEADS, dtype=torch.float64) for _ in range(2))
                up[place] += step
                down[place] -= step
                rise = masked_loss(subject, "bert", batch, up) - masked_loss(subject, "bert", batch, down)
                expected[row][place] = abs(rise.item()) / (2 * step)
    np.testing.assert_allclose(measured(subject), expected, rtol=1e-5, atol=1e-8)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("form", ["mask", "key_value"])
def test_a_task_is_the_mean_of_its_rows_that_have_a_scored_label(kind: Kind, form: str) -> None:
    subject = make_subject(kind=kind)
    rows = measured(subject, form=form)
    counted = [0, 1, 2, 4] if kind == "token" else range(5)
    assert (rows[3] == 0).all() == (kind == "token")
    [(name, importance)] = measure_head_importance(subject, {"form": form}).items()
    assert name == "importance"
    agree(importance, rows[counted].mean(0))


@pytest.mark.parametrize("form", ["mask", "key_value"])
def test_one_pass_serves_a_batch_and_its_size_changes_nothing(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    subject, padded = make_subject(), []
    subject.model.register_forward_pre_hook(lambda _, inputs: padded.append(inputs[1].mask is not None))
    together = measured(subject, form=form)
    assert padded == [True]
    monkeypatch.setattr(module, "CPU_TOKENS", 22)
    agree(measured(subject, form=form), together)
    assert padded == [True, False, True]  # lengths 11 and 11, then 7, 5 and 4
    monkeypatch.setattr(module, "WEIGHT_GRADIENTS", 1)
    agree(measured(subject, form=form), together)


def test_keys_made_of_what_rows_share_are_measured_a_row_at_a_time() -> None:
    subject, rows = make_subject("deberta"), []
    subject.model.register_forward_hook(lambda _, inputs, __: rows.append(len(inputs[1].positions)))
    measured(subject)
    measured(subject, form="key_value")
    assert rows == [5, 1, 1, 1, 1, 1]


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_any_implementation_of_attention_will_do(attention: str) -> None:
    subject = make_subject()
    expected = slow_mask(subject, "bert")
    subject.model.encoder.module.set_attn_implementation(attention)
    agree(measured(subject), expected)


def test_a_head_that_nothing_reads_has_no_importance() -> None:
    subject, size = make_subject(), WIDTH // HEADS
    named(subject, "bert", 2)[0].weight.data[:, size : 2 * size] = 0
    importance = measured(subject)
    assert (importance[:, 0, 1] == 0).all()
    assert (np.delete(importance.reshape(5, -1), 1, 1) > 0).all()


def test_heads_that_are_the_same_are_equally_important() -> None:
    subject, size = make_subject(), WIDTH // HEADS
    first, third = slice(0, size), slice(2 * size, 3 * size)
    attention = subject.model.encoder.module.encoder.layer[1].attention
    for linear in (attention.self.query, attention.self.key, attention.self.value):
        linear.weight.data[third] = linear.weight.data[first]
        linear.bias.data[third] = linear.bias.data[first]
    attention.output.dense.weight.data[:, third] = attention.output.dense.weight.data[:, first]
    importance = measured(subject, form="mask")[:, 1]
    np.testing.assert_allclose(importance[:, 0], importance[:, 2], rtol=1e-6)
    assert (abs(importance[:, 0] / importance[:, 1] - 1) > 1e-3).all()


@pytest.mark.parametrize("form", ["mask", "key_value"])
@pytest.mark.parametrize("family", ["bert", "deberta"])
def test_nothing_of_the_run_is_touched(family: str, form: str) -> None:
    subject = make_subject(family, dtype=torch.float32)
    model = subject.model
    parameters = dict(model.named_parameters())
    frozen = next(iter(parameters))
    parameters[frozen].requires_grad_(False)
    kept = list(parameters)[-1]
    parameters[kept].grad = torch.ones_like(parameters[kept])
    state, buffers = copy.deepcopy(model.state_dict()), copy.deepcopy(dict(model.named_buffers()))
    random = torch.get_rng_state()
    numpy_random = np.random.get_state()[1].copy()
    first = measured(subject, form=form)
    assert np.array_equal(measured(subject, form=form), first)
    assert all(torch.equal(tensor, state[name]) for name, tensor in model.state_dict().items())
    assert all(torch.equal(tensor, buffers[name]) for name, tensor in model.named_buffers())
    assert torch.equal(torch.get_rng_state(), random)
    assert np.array_equal(np.random.get_state()[1], numpy_random)
    assert [name for name in parameters if not parameters[name].requires_grad] == [frozen]
    assert [name for name in parameters if parameters[name].grad is not None] == [kept]
    assert (parameters[kept].grad == 1).all()
    assert not any(part._forward_hooks or part._forward_pre_hooks or part.training for part in model.modules())


def test_what_cannot_be_measured_is_refused_with_the_reason() -> None:
    subject = make_subject(kind="token")
    task = subject.tasks["one"]
    with pytest.raises(ProbeError, match="form: expected mask or key_value, found 'query'"):
        measure_head_importance(subject, {"form": "query"})
    with pytest.raises(ProbeError, match="head_importance: expected some of form, split, found the option 'sliced'"):
        measure_head_importance(subject, {"form": "key_value", "sliced": "input"})
    with pytest.raises(ProbeError, match="split: expected probe or train, found 'test'"):
        measure_head_importance(subject, {"split": "test"})
    with pytest.raises(ProbeError, match="found the option 'split'"):
        measure_instance_importance(subject, {"split": "train"})
    with pytest.raises(ProbeError, match=r"expected its own run, found \['one', 'two'\]"):
        measure_head_importance(replace(subject, tasks={"one": task, "two": task}), {})
    split = task.splits["probe"]
    silent = replace(task, splits={"probe": replace(split, labels=np.full_like(split.labels, IGNORED))})
    with pytest.raises(ProbeError, match="task one: no row of its probe split has a scored label"):
        measure_head_importance(replace(subject, tasks={"one": silent}), {})
    subject.model.head(task.name).linear.weight.data[0, 0] = float("nan")
    with pytest.raises(NonFiniteError, match="task one: the importance of a head on the probe split is not finite"):
        measure_head_importance(subject, {})


@pytest.mark.parametrize("form", ["mask", "key_value"])
def test_a_task_is_measured_over_its_training_rows_where_it_is_asked_for(form: str) -> None:
    subject = make_subject(kind="classification")
    task = subject.tasks["one"]
    other = replace(task.splits["train"], labels=(task.splits["train"].labels + 1) % 4)
    subject = replace(subject, tasks={"one": replace(task, splits={**task.splits, "train": other})})
    options = {"form": form}
    rows = measure_instance_importance(subject, options)["importance"]
    over_train = measure_head_importance(subject, {**options, "split": "train"})["importance"]
    np.testing.assert_allclose(over_train, rows.mean(axis=0), rtol=1e-5)
    assert not np.allclose(over_train, measure_head_importance(subject, options)["importance"], rtol=0.1)
