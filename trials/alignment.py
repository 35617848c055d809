"""Covariance alignment: a square matrix per task between an encoder's embeddings and its first layer.

Idea: tasks that share an encoder help each other where their inputs have like covariances. Task i's embeddings E_i
become E_i R_i, and what the tasks share sees Z_i = E_i R_i. R_i begins as the identity and is trained with the rest.

Source: S. Wu, H. R. Zhang, C. Ré, *Understanding and Improving Information Transfer in Multi-Task Learning*, ICLR 2020,
https://arxiv.org/abs/2005.00944. Its text fixes the shared weights while R_i and the heads are trained, and leaves open
how a pretrained encoder is treated; here all is trained at once, by one optimiser at one learning rate. R_i is spared
weight decay: that pulls towards zero, and what changes nothing is the identity.

Aligned is what the first layer is given: behind the norm and dropout of the embeddings and, where these are narrower
than the layers (ELECTRA), behind their projection. The layer is found by what it gives, not by its name.

Costs a product with a width x width matrix per token and the gradient of it, and as many parameters and moments per
task. Not to be expected to help where the tasks' texts are of one kind, or a task has few rows for so many weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


def align_embeddings(layer: nn.Module, matrix: torch.Tensor) -> RemovableHandle:
    """While this context is open, what ``layer`` gives, (…, width), is multiplied by ``matrix`` (width, width)."""

    def hook(_layer: nn.Module, _inputs: Any, hidden: torch.Tensor) -> torch.Tensor:
        # Not hidden @ matrix: so an identity leaves every bit as it was, in any precision and on the way back too.
        return hidden - hidden @ (torch.eye(len(matrix), device=matrix.device) - matrix)

    return layer.register_forward_hook(hook)


def find_embedding_layer(module: nn.Module, pad: int) -> str | None:
    """The name of the submodule that gives what the first layer is given; ``None`` if there is none.

    Runs a short row of tokens other than ``pad`` through ``module``, a transformers encoder.
    """
    outputs: list[tuple[str, Any]] = []
    handles = [
        child.register_forward_hook(lambda _child, _inputs, output, name=name: outputs.append((name, output)))
        for name, child in module.named_modules()
    ]
    training = module.training
    row = torch.full((1, 3), pad + 1, device=next(module.parameters()).device)
    try:
        with torch.no_grad():
            hidden = module.eval()(input_ids=row, output_hidden_states=True).hidden_states
    except (TypeError, AttributeError):  # a model with code of its own may not offer them
        return None
    finally:
        module.train(training)
        for handle in handles:
            handle.remove()
    if not hidden:
        return None
    names = [name for name, output in outputs if isinstance(output, torch.Tensor) and _is_equal(output, hidden[0])]
    found = names[0] if names else None
    for name in names:  # children end before their parents: the outermost of its line
        if found is not None and found.startswith(f"{name}."):
            found = name
    return found


def _is_equal(output: torch.Tensor, hidden: torch.Tensor) -> bool:
    return output.shape == hidden.shape and torch.equal(output, hidden)
