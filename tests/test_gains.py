"""The gain of one loss from a step on another, where it can be worked out by hand."""

from __future__ import annotations

from typing import Literal

import pytest
import torch

from auxtune.trials.probes.lookahead import Gains, Loss, measure_gains
from auxtune.trials.probes.steps import build_sgd_rule

pytestmark = pytest.mark.arithmetic

ORDERS: tuple[Literal["exact", "first"], ...] = ("exact", "first")


def number(value: float) -> torch.Tensor:
    return torch.tensor([value], dtype=torch.float64, requires_grad=True)


def square(parameter: torch.Tensor, centre: float, scale: float = 1.0) -> Loss:
    return lambda: scale * 0.5 * (parameter - centre).square().sum()


def of_squares(
    centres: tuple[float, ...],
    rate: float,
    order: Literal["exact", "first"] = "exact",
    scales: tuple[float, ...] = (1.0, 1.0),
) -> Gains:
    """At 0, of losses ½ (θ - c)²."""
    parameter = number(0.0)
    losses = [square(parameter, centre, scale) for centre, scale in zip(centres, scales, strict=True)]
    return measure_gains(losses, losses, [parameter], build_sgd_rule(rate), order)


@pytest.mark.parametrize(("source", "recipient", "gain"), [(1, 2, 0.0975), (2, 1, 0.36), (-1, 2, -0.1025)])
def test_a_step_on_one_parabola_lowers_another_by_a_known_share(source: float, recipient: float, gain: float) -> None:
    found = of_squares((source, recipient), rate=0.1)
    # Stored [recipient, source].
    assert found.gain[1, 0].item() == pytest.approx(gain, abs=1e-12)
    assert found.gain.diagonal().tolist() == pytest.approx([0.19, 0.19], abs=1e-12)
    assert found.held_out.tolist() == pytest.approx([0.19, 0.19], abs=1e-12)
    ratio = source / recipient
    assert found.gain[1, 0].item() == pytest.approx(1 - (1 - 0.1 * ratio) ** 2, abs=1e-12)


@pytest.mark.parametrize(("rate", "expected"), [(1e-1, 0.975), (1e-3, 0.99975), (1e-5, 0.9999975)])
def test_gain_by_learning_rate_tends_to_the_first_order(rate: float, expected: float) -> None:
    assert of_squares((1, 2), rate).gain[1, 0].item() / rate == pytest.approx(expected, rel=1e-9)
    # g_i g_j / L_j = (-1) (-2) / 2
    assert of_squares((1, 2), rate, "first").gain[1, 0].item() / rate == pytest.approx(1.0, rel=1e-12)


@pytest.mark.parametrize("order", ORDERS)
def test_the_recipients_scale_is_nothing_and_the_sources_is_a_learning_rate(order: Literal["exact", "first"]) -> None:
    plain = of_squares((1, 2), 0.1, order).gain[1, 0]
    assert of_squares((1, 2), 0.1, order, (1, 7)).gain[1, 0].item() == pytest.approx(plain.item(), rel=1e-12)
    faster = of_squares((1, 2), 0.3, order).gain[1, 0]
    assert of_squares((1, 2), 0.1, order, (3, 1)).gain[1, 0].item() == pytest.approx(faster.item(), rel=1e-12)


@pytest.mark.parametrize("rate", [1e-2, 1e-3])
def test_a_step_on_two_losses_gains_the_sum_up_to_the_square_of_the_rate(rate: float) -> None:
    parameter = number(0.0)
    one, other = square(parameter, 1), square(parameter, -3)
    losses: list[Loss] = [one, other, lambda: one() + other(), square(parameter, 2)]
    found = measure_gains(losses, losses, [parameter], build_sgd_rule(rate), "exact").gain[3]
    assert found[2].item() == pytest.approx((found[0] + found[1]).item(), abs=5 * rate**2)
    assert abs(found[2].item()) > rate


@pytest.mark.parametrize("order", ORDERS)
def test_losses_of_different_parameters_gain_nothing_from_each_other(order: Literal["exact", "first"]) -> None:
    first, second = number(0.0), number(0.0)
    losses = [square(first, 1), square(second, 2)]
    found = measure_gains(losses, losses, [first, second], build_sgd_rule(0.1), order)
    assert found.gain[0, 1] == found.gain[1, 0] == found.gram[0, 1] == 0
    assert found.gram.diagonal().tolist() == [1, 4]


@pytest.mark.parametrize("order", ORDERS)
def test_parameters_are_put_back_bit_for_bit_and_hold_no_gradient(order: Literal["exact", "first"]) -> None:
    torch.manual_seed(0)
    parameter = torch.randn(1000).requires_grad_()
    before = parameter.detach().clone()
    losses: list[Loss] = [lambda: parameter.square().sum(), lambda: parameter.sin().sum()]
    measure_gains(losses, losses, [parameter], build_sgd_rule(0.37), order)
    assert torch.equal(parameter, before) and parameter.grad is None


def test_parameters_are_put_back_when_a_loss_fails() -> None:
    parameter = number(0.5)

    def fails() -> torch.Tensor:
        if parameter.item() != 0.5:
            raise RuntimeError("out of range")
        return square(parameter, 1)()

    with pytest.raises(RuntimeError, match="out of range"):
        measure_gains([fails], [fails], [parameter], build_sgd_rule(0.1), "exact")
    assert parameter.item() == 0.5


@pytest.mark.parametrize("order", ORDERS)
def test_the_gain_of_a_loss_of_zero_is_unknown(order: Literal["exact", "first"]) -> None:
    found = of_squares((1, 0), 0.1, order)
    assert found.gain.isnan().tolist() == [[False, False], [True, True]]
    assert found.held_out.isnan().tolist() == [False, True]


def test_a_loss_that_is_no_number_after_a_step_is_endless_harm() -> None:
    parameter = number(1.0)
    bursts: list[Loss] = [lambda: parameter.log().sum() + 1]
    harmed = measure_gains(bursts, bursts, [parameter], build_sgd_rule(2.0), "exact")
    assert harmed.gain.item() == harmed.held_out.item() == -torch.inf


@pytest.mark.parametrize("length", [10, 2**20 + 5])
def test_inner_products_are_of_all_parameters(length: int) -> None:
    torch.manual_seed(0)
    parameters = [torch.zeros(length, requires_grad=True), torch.zeros(3, 2, requires_grad=True)]
    pulls = [[torch.randn_like(parameter) for parameter in parameters] for _ in range(2)]
    losses: list[Loss] = [
        lambda pull=pull: sum((1 + (p * q).sum() for p, q in zip(parameters, pull, strict=True)), torch.zeros(()))
        for pull in pulls
    ]
    found = measure_gains(losses, losses, parameters, build_sgd_rule(1e-3), "first").gram
    flat = [torch.cat([part.flatten() for part in pull]).double() for pull in pulls]
    expected = torch.stack([torch.stack([one @ other for other in flat]) for one in flat])
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-8)
