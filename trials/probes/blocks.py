"""The blocks of an encoder: its transformer layers, and all that is outside them; and a loss's gradient by block."""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import nn

from auxtune.trials.probes.measuring import convert_to_double
from auxtune.trials.probes.probe import ProbeError
from auxtune.trials.probes.sketch import SIZE, Sketch

# BERT, RoBERTa, ELECTRA, MPNet and DeBERTa say encoder.layer.3., DistilBERT transformer.layer.3., newer ones layers.3.
_LAYER = re.compile(r"(?:^|\.)layers?\.(\d+)\.")
_OUTSIDE = "embeddings"


def find_blocks(module: nn.Module) -> dict[str, list[nn.Parameter]]:
    """``embeddings`` (whatever is in no layer: position biases and a last norm too) and ``layer.0``, ``layer.1``.

    Raises ``ProbeError`` where no layers can be made out.
    """
    found: dict[int, list[nn.Parameter]] = {}
    for name, parameter in module.named_parameters():
        layer = _LAYER.search(name)
        found.setdefault(int(layer[1]) if layer else -1, []).append(parameter)
    if not found or max(found) < 0:
        raise ProbeError(
            f"expected an encoder whose parameters are named by layer (layer.0. or layers.0.), found none "
            f"in a {type(module).__name__}; choose a BERT-like encoder"
        )
    return {_OUTSIDE if number < 0 else f"layer.{number}": found[number] for number in sorted(found)}


class BlockSketches:
    """Sketches of gradients by block, comparable between all that are made with the same ``point`` and blocks."""

    def __init__(self, point: str, blocks: Mapping[str, list[nn.Parameter]], device: torch.device) -> None:
        self._blocks = list(blocks.values())
        self._sketches = [
            Sketch(f"{point} {name}", sum(parameter.numel() for parameter in held), device)
            for name, held in blocks.items()
        ]

    def __call__(self, loss: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Sketches (blocks, 4096) and exact norms (blocks,) of the gradient of ``loss``, float64 on the host."""
        every = [parameter for held in self._blocks for parameter in held]
        parts = iter(torch.autograd.grad(loss, every, materialize_grads=True))
        sketches, norms = torch.empty(len(self._blocks), SIZE, dtype=torch.float64), []
        for number, held in enumerate(self._blocks):
            vector = torch.cat([next(parts).flatten() for _ in held])
            sketches[number] = self._sketches[number](vector)
            norms.append(convert_to_double(torch.linalg.vector_norm(convert_to_double(vector))).cpu())
        return sketches, torch.stack(norms)
