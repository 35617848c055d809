"""The gradient of a number that a model says of each row, with respect to the encoder, as a sketch for each row.

``torch.func`` differentiates all rows of a batch at once. It cannot follow code that decides by the numbers in a
tensor, which transformers has where masks are made. So the rows of a batch are of one length and need none. DeBERTa
makes its own where it is given none, and is given one of ones. A model that can be followed in neither way is
differentiated row by row, which is slow. Attention is computed in its plain form: fused ones have no rule for many rows
at once.

Memory: ``most`` bounds the rows of a batch, so that their gradients are 256 MiB on a CPU and 2 GiB on a GPU, or those
of one row. Only sketches are kept.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np
import torch
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from auxtune.trials.batches import Batch
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.probes.measuring import convert_to_double
from auxtune.trials.probes.sketch import RowSketch

# Numbers of the gradients held at once, 4 bytes each.
CPU_NUMBERS, GPU_NUMBERS = 2**26, 2**29
Said: TypeAlias = Callable[..., torch.Tensor]
Inputs: TypeAlias = tuple[torch.Tensor, ...]  # a row each along the first axis
Found: TypeAlias = tuple[dict[str, torch.Tensor], torch.Tensor]


class RowGradients:
    """Gradients of ``model`` by its encoder's parameters, sketched to ``size`` numbers by the projection ``name``."""

    def __init__(self, model: MultiTaskModel, name: str, size: int, device: torch.device) -> None:
        self._model = model
        self._parameters = {
            name: parameter.detach()
            for name, parameter in model.named_parameters()
            if name.startswith("encoder.") and parameter.requires_grad
        }
        length = sum(parameter.numel() for parameter in self._parameters.values())
        self.most = max(1, (CPU_NUMBERS if device.type == "cpu" else GPU_NUMBERS) // length)
        self._sketch = RowSketch(name, length, size, device)
        self._way = 0

    def __call__(
        self, task: str, said: Said, tokens: torch.Tensor, segments: torch.Tensor, *asked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The numbers (rows,) and their gradients' sketches (rows, size), both float64 on the host.

        ``said`` makes one number of the outputs of a row, (outputs,) or (length, outputs), and of its ``asked``.
        ``tokens`` and ``segments`` are (rows, length), without padding.
        """
        gradients, values = self._found(self._number(task, said), (tokens, segments, *asked))
        sketches = self._sketch(gradients[name].flatten(1) for name in self._parameters)
        return convert_to_double(values).cpu(), sketches

    def _number(self, task: str, said: Said) -> Said:
        """The number of one row, as a function of the parameters, of whether a mask is given, and of its inputs."""

        def number(
            parameters: dict[str, torch.Tensor],
            masked: bool,
            tokens: torch.Tensor,
            segments: torch.Tensor,
            *asked: torch.Tensor,
        ) -> torch.Tensor:
            mask = torch.ones_like(tokens)[None] if masked else None
            # Only tokens, segments and mask are read of it.
            batch = Batch(tokens[None], segments[None], mask, tokens[None], np.zeros((1, len(tokens))), scored=0)
            return said(functional_call(self._model, parameters, (task, batch))[0], *asked)

        return number

    def _found(self, number: Said, inputs: Inputs) -> Found:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            while True:
                try:
                    return _WAYS[self._way](number, self._parameters, inputs)
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError:  # the same for every row: the way that works is kept
                    if self._way == len(_WAYS) - 1:
                        raise
                    self._way += 1


def _together(masked: bool) -> Callable[[Said, dict[str, torch.Tensor], Inputs], Found]:
    """All rows at once, with a mask or without."""

    def way(number: Said, parameters: dict[str, torch.Tensor], inputs: Inputs) -> Found:
        axes = (None, None, *(0 for _ in inputs))
        found: Found = vmap(grad_and_value(number), axes)(parameters, masked, *inputs)
        return found

    return way


def _one_by_one(number: Said, parameters: dict[str, torch.Tensor], inputs: Inputs) -> Found:
    each = [grad_and_value(number)(parameters, True, *row) for row in zip(*inputs, strict=True)]
    gradients = {name: torch.stack([gradient[name] for gradient, _ in each]) for name in parameters}
    return gradients, torch.stack([value for _, value in each])


_WAYS = (_together(False), _together(True), _one_by_one)
