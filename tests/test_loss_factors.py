"""A loss factor f moves the weights f times as far, whether the gradient is clipped or not."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import torch
from synthetic_tasks import RECIPE, single, start

from auxtune.trials.recipe import Recipe

pytestmark = pytest.mark.arithmetic

TINY_NORM, HUGE_NORM = 1e-3, 1e6  # one that clips every gradient here, one that clips none


def gradients(recipe: Recipe, folder: Path) -> list[dict[str, torch.Tensor]]:
    """What the optimiser is given at each step, by parameter, with weights that stay as they are."""
    run = start(dataclasses.replace(recipe, learning_rate=0.0, weight_decay=0.0, checkpoint_every=60), folder)
    model, found = run._train_step.model, list[dict[str, torch.Tensor]]()
    run._train_step.optimiser.register_step_pre_hook(
        lambda *_: found.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
    )
    while not run.finished:
        run.advance()
    return found


@pytest.mark.parametrize("accumulate", [1, 3])
@pytest.mark.parametrize("clip", [TINY_NORM, HUGE_NORM, None])
@pytest.mark.parametrize("factor", [0.4, 1.6, 25.0])
def test_a_step_of_plain_gradient_descent_goes_as_far_as_the_factor_says(
    factor: float, clip: float | None, accumulate: int, tmp_path: Path
) -> None:
    moved = []
    for weight in (1.0, factor):
        recipe = single("sign", loss_weights={"sign": weight}, clip=clip, accumulate=accumulate, steps=1, warmup=0.0)
        run = start(dataclasses.replace(recipe, learning_rate=0.5), tmp_path / str(weight))
        model = run._train_step.model
        run._train_step.optimiser = torch.optim.SGD(model.parameters(), lr=1.0)
        before = {name: p.detach().clone() for name, p in model.named_parameters()}
        run._train_step.train("sign")
        moved.append({name: (p.detach() - before[name]).double() for name, p in model.named_parameters()})
    one, other = (torch.cat([part.flatten() for part in each.values()]) for each in moved)
    assert one.norm() > 0
    if clip == TINY_NORM:
        assert one.norm() == pytest.approx(0.5 * TINY_NORM, rel=1e-2), "the case shows nothing if nothing is clipped"
    # Weights near 1 hold a step to about 1e-7 of themselves, which is what differs here.
    torch.testing.assert_close(other, factor * one, rtol=1e-3, atol=2e-6)


def test_in_a_mixed_run_a_factor_scales_its_task_in_what_moves_the_shared_weights(tmp_path: Path) -> None:
    factors = {"sign": 1.6, "share.of": 0.4, "tags": 1.0}
    recipe = dataclasses.replace(RECIPE, clip=TINY_NORM)
    plain = gradients(recipe, tmp_path / "plain")
    weighed = gradients(dataclasses.replace(recipe, loss_weights=factors), tmp_path / "weighed")
    assert len(plain) == len(weighed) == recipe.steps
    seen = set()
    for one, other in zip(plain, weighed, strict=True):
        [head] = {name.split(".")[1] for name in one if name.startswith("heads.")}
        factor = list(factors.values())[int(head)]
        seen.add(factor)
        for name, gradient in one.items():
            torch.testing.assert_close(other[name], factor * gradient, rtol=1e-5, atol=0)
    assert seen == {1.6, 0.4, 1.0}


def test_factors_of_one_change_nothing(tmp_path: Path) -> None:
    without = gradients(RECIPE, tmp_path / "without")
    with_ones = gradients(dataclasses.replace(RECIPE, loss_weights=dict.fromkeys(RECIPE.tasks, 1.0)), tmp_path / "ones")
    for one, other in zip(without, with_ones, strict=True):
        assert all(torch.equal(gradient, other[name]) for name, gradient in one.items())
