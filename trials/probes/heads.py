"""Finds the attention heads of an encoder by structure: no list of architectures, no class names.

An attention is three sibling linear maps whose names begin with q, k and v, or one called …qkv… that holds them in this
order. Names alone would be a guess, so the guess is tested on two short rows: the values of head 1, 2, … are replaced
by the numbers 1, 2, … at every position. Attention averages values over positions, so the first linear map whose input
is exactly these numbers, a block per head, is the one that takes the heads' results side by side. If there is none, or
in another layout, a probe would hook into the wrong place: such an encoder is refused.

Known to work: BERT (also MiniLM), RoBERTa, DistilBERT, ELECTRA, MPNet, DeBERTa-v2, ModernBERT. Refused: ALBERT, whose
layers are one and the same, and ConvBERT, half of whose results are convolutions. Costs one forward pass of six tokens.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass

import torch
from torch import nn

from auxtune.trials.encoder import Encoder
from auxtune.trials.probes.probe import ProbeError

TRIED = (2, 3)  # rows and tokens: two numbers that cannot be confused


@dataclass(frozen=True)
class Projection:
    """``size`` outputs of ``linear`` from the one numbered ``first``: the heads' blocks, one after the other."""

    linear: nn.Linear
    first: int
    size: int

    def of(self, outputs: torch.Tensor) -> torch.Tensor:
        """(…, all outputs of the linear map) to a view (…, size)."""
        return outputs.narrow(-1, self.first, self.size)


@dataclass(frozen=True)
class AttentionLayer:
    """The maps of one layer that its heads share. ``output`` takes their results: (rows, length, heads * head size)."""

    key: Projection
    value: Projection
    output: nn.Linear


@dataclass(frozen=True)
class AttentionHeads:
    """``heads`` in each of ``layers``, first to last.

    ``by_row``: keys and values depend only on each row's own tokens. DeBERTa may also compute keys of relative
    positions, which all rows of a batch share.
    """

    heads: int
    layers: tuple[AttentionLayer, ...]
    by_row: bool


@dataclass(frozen=True)
class _Call:
    linear: nn.Linear
    by_row: bool  # its input is (rows, length, …)
    numbered: bool  # … and holds the heads' numbers


def find_heads(encoder: Encoder) -> AttentionHeads:
    """The heads of an encoder in evaluation mode. Raises ``ProbeError`` if they are not as expected."""
    config = encoder.module.config
    heads = getattr(config, "num_attention_heads", None)
    expected = getattr(config, "num_hidden_layers", None)
    attentions = {value.linear: (key, value) for key, value in _find_attentions(encoder)}
    if not isinstance(heads, int) or not attentions or any(value.size % heads for _, value in attentions.values()):
        raise _explain_refusal(encoder, f"{len(attentions)} of the first kind, for {heads} heads")
    calls = _try(encoder, {linear: value for linear, (_, value) in attentions.items()}, heads)
    layers: list[AttentionLayer] = []
    for place, call in enumerate(calls):
        if call.linear in attentions:
            output = _find_output(calls[place + 1 :], set(attentions))
            if output is None:
                raise _explain_refusal(encoder, f"none of the second kind after {len(layers)} layers")
            layers.append(AttentionLayer(*attentions[call.linear], output))
    if len(layers) != expected:
        raise _explain_refusal(encoder, f"them in {len(layers)} of {expected} layers")
    times = Counter(call.linear for call in calls)
    if any(times[linear] > 1 for layer in layers for linear in (layer.value.linear, layer.output)):
        raise _explain_refusal(encoder, "one layer that is used several times")
    makers = {projection.linear for layer in layers for projection in (layer.key, layer.value)}
    by_row = all(call.by_row and times[call.linear] == 1 for call in calls if call.linear in makers)
    return AttentionHeads(heads, tuple(layers), by_row)


def _find_attentions(encoder: Encoder) -> Iterator[tuple[Projection, Projection]]:
    """Key and value of every module that looks like an attention."""
    for module in encoder.module.modules():
        linears = {name: child for name, child in module.named_children() if isinstance(child, nn.Linear)}
        fused = [child for name, child in linears.items() if "qkv" in name.lower()]
        sides = [[child for name, child in linears.items() if name.lower().startswith(first)] for first in "qkv"]
        if len(fused) == 1 and fused[0].out_features % 3 == 0:
            size = fused[0].out_features // 3
            yield Projection(fused[0], size, size), Projection(fused[0], 2 * size, size)
        elif all(len(side) == 1 for side in sides) and len({side[0].weight.shape for side in sides}) == 1:
            _, key, value = (Projection(side[0], 0, side[0].out_features) for side in sides)
            yield key, value


def _try(encoder: Encoder, values: dict[nn.Linear, Projection], heads: int) -> list[_Call]:
    """The calls of all linear maps, in order, while each head's values are its own number."""
    device = next(encoder.parameters()).device
    numbers = torch.arange(1.0, heads + 1, device=device)
    calls: list[_Call] = []

    def note(linear: nn.Linear, inputs: tuple[torch.Tensor], output: torch.Tensor) -> torch.Tensor:
        by_row = inputs[0].shape[:-1] == TRIED
        calls.append(_Call(linear, by_row, by_row and _has_numbers(inputs[0], numbers)))
        if linear in values:
            output = output.clone()
            values[linear].of(output).unflatten(-1, (heads, -1)).copy_(numbers[:, None])
        return output

    with ExitStack() as hooks, torch.no_grad():
        for module in encoder.module.modules():
            if isinstance(module, nn.Linear):
                hooks.enter_context(module.register_forward_hook(note))
        tokens = torch.full(TRIED, encoder.pad + 1, device=device)
        encoder(tokens, torch.zeros_like(tokens), None)
    return calls


def _has_numbers(vectors: torch.Tensor, numbers: torch.Tensor) -> bool:
    """Whether every vector consists of equal blocks filled with ``numbers`` in their order."""
    if vectors.shape[-1] % len(numbers):
        return False
    blocks = vectors.unflatten(-1, (len(numbers), -1))
    # Whole numbers, up to the rounding of any precision: a tenth is far above that, and far below 1.
    return bool((blocks - numbers[:, None]).abs().max() < 0.1)


def _find_output(later: list[_Call], values: set[nn.Linear]) -> nn.Linear | None:
    """The first map that takes the heads' results, before the next attention begins."""
    for call in later:
        if call.linear in values:
            return None
        if call.numbered:
            return call.linear
    return None


def _explain_refusal(encoder: Encoder, found: str) -> ProbeError:
    return ProbeError(
        f"the heads of a {encoder.module.config.model_type} encoder cannot be told apart: expected in every layer "
        "(1) linear maps q…, k… and v… of one shape side by side, or one …qkv…, and (2) one linear map that takes "
        f"all heads' results side by side; found {found}. Use an encoder such as BERT, RoBERTa, DistilBERT, ELECTRA, "
        "MPNet or DeBERTa, or a selector that measures no heads"
    )
