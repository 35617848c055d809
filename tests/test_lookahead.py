"""The look-ahead measures what a slow computation in float64 measures, and the run does not notice it."""

from __future__ import annotations

import copy
import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from probe_subjects import EVERY_KIND, in_double, recipe_of, slow_loss, train_step_of
from synthetic_tasks import TASKS

from auxtune.trials.checkpoint import read_checkpoint, write_checkpoint
from auxtune.trials.failures import NonFiniteError
from auxtune.trials.model import Head, MultiTaskModel
from auxtune.trials.probes.lookahead import Lookahead
from auxtune.trials.probes.probe import Arrays, ProbeError
from auxtune.trials.recipe import Recipe
from auxtune.trials.train_step import TrainStep, optimizer_state

pytestmark = pytest.mark.arithmetic

NAMES = ("sign", "share.of", "tags", "topics")
RECIPE = recipe_of(NAMES, steps=40, learning_rate=3e-3, batch_size=6)
FORMS = [{"step": step, "order": order} for step in ("sgd", "optimiser") for order in ("exact", "first")]


def probe_of(recipe: Recipe = RECIPE, **options: Any) -> Lookahead:
    return Lookahead(recipe, EVERY_KIND, {"every": 1, **options})


def measured(train_step: TrainStep, **options: Any) -> Arrays:
    """What a single probe finds."""
    probe = probe_of(**options)
    probe.observe(train_step, "sign")
    return probe.arrays()


def stepped(train_step: TrainStep, model: MultiTaskModel, gradients: list[torch.Tensor], step: str) -> MultiTaskModel:
    """The model after a step on its encoder, taken by an optimiser of torch in float64."""
    if step == "sgd":
        rate = train_step.optimiser.param_groups[0]["lr"]
        return _taken(model, gradients, lambda encoder: torch.optim.SGD(encoder.parameters(), lr=rate))
    none = [torch.zeros_like(part) for part in gradients]
    with_it, without = (
        _taken(model, pull, lambda encoder: _continued(train_step, encoder)) for pull in (gradients, none)
    )
    moved = copy.deepcopy(model)
    with torch.no_grad():
        for parameter, one, other in zip(
            moved.encoder.parameters(), with_it.encoder.parameters(), without.encoder.parameters(), strict=True
        ):
            parameter.add_(one - other)
    return moved


def _taken(model: MultiTaskModel, gradients: list[torch.Tensor], optimiser: Any) -> MultiTaskModel:
    moved = copy.deepcopy(model)
    for parameter, gradient in zip(moved.encoder.parameters(), gradients, strict=True):
        parameter.grad = gradient.clone()
    optimiser(moved.encoder).step()
    return moved


def _continued(train_step: TrainStep, encoder: torch.nn.Module) -> torch.optim.AdamW:
    """An AdamW over the copy that stands where the run's stands."""
    own = dict(train_step.model.encoder.named_parameters())
    group = train_step.optimiser.param_groups[0]
    fresh = torch.optim.AdamW(
        encoder.parameters(), lr=group["lr"], betas=group["betas"], eps=group["eps"], weight_decay=group["weight_decay"]
    )
    for name, parameter in encoder.named_parameters():
        if held := train_step.optimiser.state.get(own[name]):
            fresh.state[parameter] = {
                key: tensor.clone() if key == "step" else tensor.double() for key, tensor in held.items()
            }
    return fresh


def slowly(train_step: TrainStep, probe: Lookahead, step: str) -> dict[str, np.ndarray]:
    """Gains one at a time: copy the model, take the step, compute each loss again, row by row in float64."""
    model, tasks = in_double(train_step.model), [EVERY_KIND[name] for name in NAMES]
    rows = {(name, part): probe.rows(name, part, train_step.step) for name in NAMES for part in ("train", "probe")}

    def loss(of: MultiTaskModel, number: int, part: str) -> torch.Tensor:
        return slow_loss(of, tasks[number], part, rows[NAMES[number], part])

    shared = list(model.encoder.parameters())
    gradients = [
        list(torch.autograd.grad(loss(model, number, "train"), shared, materialize_grads=True))
        for number in range(len(NAMES))
    ]
    gain, held = np.empty((len(NAMES), len(NAMES))), np.empty(len(NAMES))
    for source in range(len(NAMES)):
        after = stepped(train_step, model, gradients[source], step)
        with torch.no_grad():
            for recipient in range(len(NAMES)):
                gain[recipient, source] = 1 - loss(after, recipient, "train") / loss(model, recipient, "train")
            held[source] = 1 - loss(after, source, "probe") / loss(model, source, "probe")
    flat = torch.stack([torch.cat([part.flatten() for part in parts]) for parts in gradients])
    return {"gain": gain, "held": held, "gram": (flat @ flat.T).numpy()}


@pytest.mark.parametrize("step", ["sgd", "optimiser"])
def test_gains_are_those_of_a_slow_computation_in_float64(step: str) -> None:
    train_step, probe = train_step_of(RECIPE, 6), probe_of(step=step)
    probe.observe(train_step, "sign")
    found, slow = probe.arrays(), slowly(train_step, probe, step)
    own = np.arange(len(NAMES))
    expected = slow["gain"].copy()
    expected[own, own] = slow["held"]
    assert np.abs(expected).min() > 1e-6
    np.testing.assert_allclose(found["affinity"], expected, rtol=2e-3, atol=2e-6)
    np.testing.assert_allclose(found["train_diagonal"], slow["gain"][own, own], rtol=2e-3, atol=2e-6)
    np.testing.assert_allclose(found["gram"][0], slow["gram"], rtol=1e-4, atol=1e-6)
    norms = np.sqrt(np.diag(slow["gram"]))
    np.testing.assert_allclose(found["cosine"], slow["gram"] / np.outer(norms, norms), rtol=1e-3, atol=1e-6)
    rate = train_step.optimiser.param_groups[0]["lr"]
    np.testing.assert_allclose(found["per_rate"], found["affinity"] / rate)
    assert found["tasks"].tolist() == list(NAMES) and found["probes"] == 1


@pytest.mark.parametrize("step", ["sgd", "optimiser"])
def test_the_first_order_is_what_small_steps_tend_to(step: str, monkeypatch: pytest.MonkeyPatch) -> None:
    # In float64, since a small step's gain drowns in the rounding of float32.
    monkeypatch.setattr(Head, "forward", lambda head, vectors: head.linear(vectors))
    train_step = train_step_of(RECIPE, 6)
    train_step.model.double()
    for held in train_step.optimiser.state.values():
        held.update({key: tensor.double() for key, tensor in held.items()})
    apart = []
    for rate in (1e-5, 1e-6):
        for group in train_step.optimiser.param_groups:
            group["lr"] = rate
        exact, first = (measured(train_step, step=step, order=order) for order in ("exact", "first"))
        scale = np.abs(first["affinity"]).max()
        apart.append(max(np.abs(exact[key] - first[key]).max() / scale for key in ("affinity", "train_diagonal")))
    assert apart[0] < 0.1 and apart[1] < 0.2 * apart[0]


@pytest.mark.parametrize("options", FORMS, ids=lambda form: "-".join(form.values()))
def test_training_is_bit_for_bit_the_same_with_the_probe_and_without(options: dict[str, str]) -> None:
    probe, ends = probe_of(**options), []
    for watched in (False, True):
        train_step = train_step_of(RECIPE)  # seeds torch, as every run does
        for step in range(9):
            train_step.train(NAMES[step % 4])
            if watched:
                probe.observe(train_step, NAMES[step % 4])
        tensors = {(part, name): tensor for part, held in train_step.tensors().items() for name, tensor in held.items()}
        ends.append((tensors, train_step.document()))
    assert probe.arrays()["probes"] == 8
    assert ends[0][1] == ends[1][1]
    assert len(ends[0][0]) > 100 and ends[0][0].keys() == ends[1][0].keys()
    assert [key for key, tensor in ends[0][0].items() if not torch.equal(tensor, ends[1][0][key])] == []


@pytest.mark.parametrize("options", FORMS, ids=lambda form: "-".join(form.values()))
def test_a_probe_leaves_the_run_as_it_was(options: dict[str, str]) -> None:
    train_step, probe = train_step_of(RECIPE, 5), probe_of(**options)
    train_step.model.head(train_step.model.tasks[0]).eval()  # a mode that is not the others'
    modes = [module.training for module in train_step.model.modules()]
    before = {name: tensor.clone() for name, tensor in train_step.model.state_dict().items()}
    held = {name: tensor.clone() for name, tensor in optimizer_state(train_step.optimiser).items()}
    random = torch.get_rng_state()
    probe.observe(train_step, "sign")
    assert [module.training for module in train_step.model.modules()] == modes and len(set(modes)) == 2
    assert all(torch.equal(tensor, before[name]) for name, tensor in train_step.model.state_dict().items())
    after = optimizer_state(train_step.optimiser)
    assert after.keys() == held.keys() and all(torch.equal(tensor, held[name]) for name, tensor in after.items())
    assert torch.equal(torch.get_rng_state(), random)
    assert [name for name, parameter in train_step.model.named_parameters() if parameter.grad is not None] == []


def test_what_was_gathered_survives_a_checkpoint(tmp_path: Path) -> None:
    whole, first = probe_of(), probe_of()
    train_step = train_step_of(RECIPE)
    assert probe_of().tensors() == {}
    for step in range(6):
        train_step.train(NAMES[step % 4])
        whole.observe(train_step, NAMES[step % 4])
        if step < 3:
            first.observe(train_step, NAMES[step % 4])
        if step == 2:
            write_checkpoint(tmp_path, first.tensors(), {})
            second = probe_of()
            second.load(read_checkpoint(tmp_path)[0])
        if step > 2:
            second.observe(train_step, NAMES[step % 4])
    expected, found = whole.arrays(), second.arrays()
    assert expected["probes"] == 5 and expected.keys() == found.keys()
    assert all(np.array_equal(array, found[key]) for key, array in expected.items())


def test_means_are_over_the_probes() -> None:
    probe, train_step, single = probe_of(every=3), train_step_of(RECIPE), []
    for step in range(6):
        train_step.train(NAMES[step % 4])
        probe.observe(train_step, NAMES[step % 4])
        if step in (2, 5):
            single.append((measured(train_step), train_step.optimiser.param_groups[0]["lr"]))
    found = probe.arrays()
    assert found["probes"] == 2 and found["gram"].shape == (2, 4, 4) and single[0][1] != single[1][1]
    for key in ("affinity", "train_diagonal", "cosine"):
        np.testing.assert_allclose(found[key], np.mean([one[key] for one, _ in single], axis=0), rtol=1e-12)
    by_rate = np.mean([one["affinity"] / rate for one, rate in single], axis=0)
    np.testing.assert_allclose(found["per_rate"], by_rate, rtol=1e-12)
    assert np.array_equal(found["rates"], [rate for _, rate in single])
    assert found["each_affinity"].dtype == np.float32
    np.testing.assert_allclose(found["each_affinity"], [one["affinity"] for one, _ in single], rtol=1e-6)


def test_tasks_with_the_same_inputs_are_compared_on_the_same_rows_and_every_step_on_others() -> None:
    probe = probe_of()
    for part, other in (("train", "probe"), ("probe", "train")):
        rows = {name: probe.rows(name, part, 7) for name in NAMES}
        assert np.array_equal(rows["sign"], rows["topics"])
        assert not np.array_equal(rows["sign"], rows["share.of"])
        assert not np.array_equal(rows["sign"], probe.rows("sign", part, 8))
        assert not np.array_equal(rows["sign"], probe.rows("sign", other, 7))
        assert len(set(rows["sign"].tolist())) == RECIPE.batch_size
    small = Lookahead(dataclasses.replace(RECIPE, batch_size=100), EVERY_KIND, {"every": 1})
    assert sorted(small.rows("sign", "probe", 3)) == list(range(60))


@pytest.mark.parametrize(("steps", "every", "expected"), [(100, 1, 98), (100, 10, 10), (40, 1, 39)])
def test_the_first_steps_are_dropped(steps: int, every: int, expected: int) -> None:
    recipe = recipe_of(("sign",), steps=steps, batch_size=1)
    probe = Lookahead(recipe, EVERY_KIND, {"every": every, "order": "first"})
    train_step = train_step_of(recipe)
    for train_step.step in range(1, steps + 1):
        probe.observe(train_step, "sign")
    assert probe.arrays()["probes"] == expected


def test_a_probe_that_would_measure_nothing_is_refused() -> None:
    with pytest.raises(ProbeError, match="found none in 8 steps, 10 apart; give the run more steps"):
        Lookahead(dataclasses.replace(RECIPE, steps=8), EVERY_KIND, {})


def test_a_task_without_a_loss_is_refused_and_a_single_such_batch_is_not_counted() -> None:
    tags = TASKS["tags"]
    unlabelled = {
        part: dataclasses.replace(split, labels=np.full_like(split.labels, -100)) for part, split in tags.splits.items()
    }
    tasks = {**EVERY_KIND, "tags": dataclasses.replace(tags, splits=unlabelled)}
    probe, train_step = Lookahead(RECIPE, tasks, {"every": 1}), train_step_of(RECIPE, 2)
    probe.observe(train_step, "sign")
    with pytest.raises(ProbeError, match="task tags: its loss was 0 at all 1 probes"):
        probe.arrays()
    lasting = probe_of()
    train_step.train("sign")
    lasting.observe(train_step, "sign")
    alone = lasting.arrays()
    probe.load({key: torch.cat([tensor, lasting.tensors()[key]]) for key, tensor in probe.tensors().items()})
    both = probe.arrays()
    assert both["probes"] == 2 and np.array_equal(both["affinity"][2], alone["affinity"][2])
    assert not np.array_equal(both["affinity"][0], alone["affinity"][0])


def test_a_loss_that_bursts_after_a_step_ends_the_run() -> None:
    train_step = train_step_of(RECIPE, 3)
    for group in train_step.optimiser.param_groups:
        group["lr"] = 1e38
    with pytest.raises(NonFiniteError, match="its loss after a look-ahead step is not finite at step 3"):
        measured(train_step)
    assert all(parameter.isfinite().all() for parameter in train_step.model.parameters())
