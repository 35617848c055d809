"""Gradients of margins, row by row: those of a slow loop in float64, for every family and kind of task."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest
import torch
from probe_subjects import EVERY_KIND, in_double, recipe_of, row_vector, states_of_row, subject_of
from random_encoders import CONFIGS, KINDS, make_subject
from synthetic_tasks import TASKS
from torch.nn import functional

from auxtune.trials.data import IGNORED, Kind
from auxtune.trials.failures import NonFiniteError
from auxtune.trials.model import MultiTaskModel, RegressionHead
from auxtune.trials.probes import output_gradients
from auxtune.trials.probes.output_gradients import Drawn, draw_rows, measure_output_gradients
from auxtune.trials.probes.probe import Arrays, ProbeError, Subject
from auxtune.trials.probes.sketch import RowSketch
from auxtune.trials.tokens import EncodedTask

pytestmark = pytest.mark.arithmetic

CPU = torch.device("cpu")


def slow(subject: Subject, part: str, rows: int, size: int) -> tuple[np.ndarray, np.ndarray]:
    """Margins and sketches of all tasks' drawn rows, one row after the other, in float64."""
    model = in_double(subject.model)
    shared = list(model.encoder.parameters())
    length = sum(parameter.numel() for parameter in shared)
    sketch = RowSketch(f"output gradients {subject.recipe.seed}", length, size, CPU)
    margins, sketches = [], []
    for task in subject.tasks.values():
        drawn = draw_rows(task, part, rows, subject.recipe.seed)
        for row, place, label in zip(drawn.rows, drawn.place, drawn.label, strict=True):
            margin = slow_margin(model, task, part, (int(row), int(place), label), subject)
            gradient = torch.autograd.grad(margin, shared, materialize_grads=True)
            margins.append(margin.item())
            sketches.append(sketch([torch.cat([each.flatten() for each in gradient])[None]])[0].numpy())
    return np.array(margins), np.array(sketches)


def slow_margin(
    model: MultiTaskModel,
    task: EncodedTask,
    part: str,
    asked: tuple[int, int, np.generic],
    subject: Subject,
) -> torch.Tensor:
    row, place, label = asked
    hidden, head = states_of_row(model, task, part, row)[-1], model.head(task.name)
    vector = hidden[place] if task.kind == "token" else row_vector(hidden, subject.recipe.model.pooling)
    outputs = head.linear.weight @ vector + head.linear.bias
    if isinstance(head, RegressionHead):
        return (float(label) - head.mean) / head.deviation - outputs[0]
    if task.kind == "multi_label":
        return outputs[place] if label else -outputs[place]
    loss = functional.cross_entropy(outputs[None], torch.tensor([int(label)]))
    return -torch.log(torch.expm1(loss))  # the margin of which log(1 + exp(-margin)) is the loss


def check(subject: Subject, rows: int = 256, size: int = 200, tolerance: float = 1e-4) -> Arrays:
    found = measure_output_gradients(subject, {"rows": rows, "size": size})
    for part in ("train", "probe"):
        margins, sketches = slow(subject, part, rows, size)
        assert found[f"{part}_gradients"].shape == (len(margins), size)
        assert found[f"{part}_gradients"].dtype == found[f"{part}_margins"].dtype == np.float32
        np.testing.assert_allclose(found[f"{part}_margins"], margins, atol=tolerance)
        scale = np.abs(sketches).max()
        assert scale > 1e-3
        np.testing.assert_allclose(found[f"{part}_gradients"], sketches, atol=tolerance * scale)
    return found


@pytest.mark.parametrize("family", CONFIGS)
@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_those_of_a_slow_loop_for_every_family_and_kind(
    family: str, kind: Kind, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(output_gradients, "_WAYS", output_gradients._WAYS[:2])  # none of these is taken row by row
    subject = make_subject(family, kind, torch.float32)
    model = dataclasses.replace(subject.recipe.model, pooling="mean")  # as the subject's model pools
    check(dataclasses.replace(subject, recipe=dataclasses.replace(subject.recipe, model=model)), tolerance=1e-3)


def test_all_tasks_of_a_run_are_measured_and_their_rows_told_apart() -> None:
    names = tuple(EVERY_KIND)
    subject = subject_of(recipe_of(names), steps=6)
    found = check(subject, rows=7, size=50)
    assert found["tasks"].tolist() == list(names)
    assert found["kinds"].tolist() == [EVERY_KIND[name].kind for name in names]
    assert found["train_task"].tolist() == np.repeat(np.arange(len(names)), 7).tolist()


def test_without_a_projection_a_gradient_says_what_a_small_move_of_the_encoder_does_to_a_loss() -> None:
    subject = subject_of(recipe_of(("sign",)), steps=4)
    length = sum(parameter.numel() for parameter in subject.model.encoder.parameters())
    found = measure_output_gradients(subject, {"rows": 5, "size": length})
    model, drawn = in_double(subject.model), draw_rows(TASKS["sign"], "probe", 5, 0)
    move = torch.randn(length, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 1e-6
    asked = [(int(row), 0, label) for row, label in zip(drawn.rows, drawn.label, strict=True)]
    before = [slow_margin(model, TASKS["sign"], "probe", each, subject).item() for each in asked]
    with torch.no_grad():
        for parameter, part in zip(
            model.encoder.parameters(), move.split([p.numel() for p in model.encoder.parameters()]), strict=True
        ):
            parameter.add_(part.view_as(parameter))
    after = [slow_margin(model, TASKS["sign"], "probe", each, subject).item() for each in asked]
    np.testing.assert_allclose(
        found["probe_gradients"] @ move.numpy(), np.subtract(after, before), rtol=1e-3, atol=1e-9
    )


def test_rows_are_drawn_by_seed_and_inputs_and_only_of_those_that_have_a_label() -> None:
    sign, tags = TASKS["sign"], TASKS["tags"]
    twin = dataclasses.replace(sign, name="twin")
    first = draw_rows(sign, "train", 40, 3)
    assert np.array_equal(first.rows, draw_rows(twin, "train", 40, 3).rows)
    assert not np.array_equal(first.rows, draw_rows(sign, "train", 40, 4).rows)
    assert len(np.unique(first.rows)) == 40 and (np.diff(first.rows) > 0).all() and first.place.max() == 0
    assert np.array_equal(first.label, sign.splits["train"].labels[first.rows])
    assert len(draw_rows(sign, "train", 10_000, 3).rows) == len(sign.splits["train"])
    drawn = draw_rows(tags, "train", 240, 3)
    split = tags.splits["train"]
    assert np.array_equal(drawn.label, split.labels[split.offsets[drawn.rows] + drawn.place])
    assert (drawn.label != IGNORED).all() and len(np.unique(drawn.place)) > 5
    topics = draw_rows(EVERY_KIND["topics"], "probe", 60, 3)
    assert set(topics.place.tolist()) == {0, 1, 2} and set(topics.label.tolist()) == {0, 1}


def test_a_value_that_happens_to_be_the_mark_of_no_label_is_a_value() -> None:
    share = TASKS["share.of"]
    marked = {
        part: dataclasses.replace(split, labels=np.full(len(split), float(IGNORED), np.float32))
        for part, split in share.splits.items()
    }
    drawn: Drawn = draw_rows(dataclasses.replace(share, splits=marked), "train", 9, 0)
    assert (drawn.label == IGNORED).all() and len(drawn.rows) == 9


def test_a_split_without_labels_and_weights_that_are_not_finite_are_refused() -> None:
    tags = TASKS["tags"]
    bare = {
        part: dataclasses.replace(split, labels=np.full_like(split.labels, IGNORED))
        for part, split in tags.splits.items()
    }
    with pytest.raises(ProbeError, match="task tags: no row of its train split has a label"):
        draw_rows(dataclasses.replace(tags, splits=bare), "train", 9, 0)
    subject = subject_of(recipe_of(("sign",)))
    subject.model.head(subject.model.tasks[0]).linear.weight.data[0] = torch.nan
    with pytest.raises(NonFiniteError, match="task sign: an output or its gradient on the train split"):
        measure_output_gradients(subject, {"rows": 2})


def test_the_size_of_a_batch_changes_nothing_and_bounds_the_gradients_held(monkeypatch: pytest.MonkeyPatch) -> None:
    subject = subject_of(recipe_of(("sign", "tags")), steps=2)
    length = sum(parameter.numel() for parameter in subject.model.encoder.parameters())
    wide = measure_output_gradients(subject, {"rows": 12})
    monkeypatch.setattr(output_gradients, "CPU_NUMBERS", 2 * length + 1)
    assert output_gradients.RowGradients(subject.model, "any", 200, CPU).most == 2
    narrow = measure_output_gradients(subject, {"rows": 12})
    for name, array in wide.items():
        if array.dtype == np.float32:
            np.testing.assert_allclose(narrow[name], array, atol=1e-5 * np.abs(array).max())
        else:
            assert np.array_equal(narrow[name], array)


def test_a_model_that_cannot_be_followed_is_taken_row_by_row() -> None:
    subject = subject_of(recipe_of(("sign",)), steps=2)
    expected = measure_output_gradients(subject, {"rows": 6})
    taken = []

    def looks_at_numbers(_module: torch.nn.Module, _inputs: object, hidden: torch.Tensor) -> torch.Tensor:
        taken.append(len(hidden))
        return hidden if bool(hidden.sum() < math.inf) else -hidden

    handle = subject.model.head(subject.model.tasks[0]).register_forward_hook(looks_at_numbers)
    found = measure_output_gradients(subject, {"rows": 6})
    handle.remove()
    np.testing.assert_allclose(
        found["probe_gradients"], expected["probe_gradients"], atol=1e-5 * np.abs(expected["probe_gradients"]).max()
    )
    assert len(taken) >= 12


def test_the_run_is_left_as_it_was() -> None:
    subject = subject_of(recipe_of(("sign", "share.of")), steps=2)
    random, before = torch.get_rng_state(), {k: v.clone() for k, v in subject.model.state_dict().items()}
    measure_output_gradients(subject, {"rows": 4})
    assert torch.equal(torch.get_rng_state(), random)
    assert all(torch.equal(tensor, before[name]) for name, tensor in subject.model.state_dict().items())
    assert all(parameter.grad is None and parameter.requires_grad for parameter in subject.model.parameters())


# The projection


@pytest.mark.parametrize("size", [50, 200, 800])
def test_a_projection_keeps_inner_products_on_average_with_an_error_of_one_over_the_root_of_its_size(size: int) -> None:
    generator = torch.Generator().manual_seed(1)
    vectors = functional.normalize(torch.randn(2, 5000, generator=generator, dtype=torch.float64), dim=1)
    vectors[1] = functional.normalize(vectors[0] + vectors[1], dim=0)
    exact = float(vectors[0] @ vectors[1])
    errors = []
    for number in range(400):
        first, second = RowSketch(f"number {number}", 5000, size, CPU)([vectors])
        errors.append(float(first @ second) - exact)
    promised = math.sqrt((1 + exact**2) / size)
    assert abs(np.mean(errors)) < 4 * promised / math.sqrt(400)
    assert np.std(errors) == pytest.approx(promised, rel=0.15)


def test_vectors_that_fit_are_kept_and_parts_of_any_size_come_to_the_same() -> None:
    vectors = torch.randn(3, 1000, generator=torch.Generator().manual_seed(2))
    kept = RowSketch("any", 1000, 1200, CPU)(vectors.split(300, dim=1))
    assert torch.equal(kept[:, :1000].float(), vectors) and not kept[:, 1000:].any()
    sketch = RowSketch("any", 1000, 64, CPU)
    torch.testing.assert_close(sketch([vectors]), sketch(vectors.split([1, 2, 997], dim=1)), atol=1e-5, rtol=0)
    assert not torch.allclose(sketch([vectors]), RowSketch("other", 1000, 64, CPU)([vectors]), atol=0.1)
    with pytest.raises(ValueError, match="vectors must have 1000 numbers, got 999"):
        sketch([vectors[:, :999]])


def test_a_projection_holds_a_few_bytes_per_number_whatever_its_size() -> None:
    length = 2**20 + 7  # more than are hashed at a time
    held = {
        size: [
            value.nbytes
            for value in vars(RowSketch("any", length, size, CPU)).values()
            if isinstance(value, torch.Tensor)
        ]
        for size in (200, 20_000)
    }
    assert held == {200: [4 * length], 20_000: [4 * length]}
