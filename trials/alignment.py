"""Covariance alignment: a square matrix per task between an encoder's embeddings and its first layer.

Idea: tasks that share an encoder help each other if their inputs have similar covariances. Task i's embeddings E_i
become Z_i = E_i R_i, which is the input of the shared layers. R_i starts as the identity and is trained with the rest.

Source: S. Wu, H. R. Zhang, C. Ré, *Understanding and Improving Information Transfer in Multi-Task Learning*, ICLR 2020,
https://arxiv.org/abs/2005.00944. Its text fixes the shared weights while R_i and the heads are trained, and leaves open
how to treat a pretrained encoder; here everything is trained at once, by one optimiser at one learning rate. R_i is
spared weight decay, which pulls towards zero, whereas the neutral matrix is the identity.

The input of the first layer is what is aligned: after the norm and dropout of the embeddings and, if these are narrower
than the layers (ELECTRA), after their projection. The layer is found by its output, not by its name.

It costs a product with a width x width matrix per token and its gradient, and as many parameters and moments per task.
Do not expect it to help where the tasks' texts are of one kind, or where a task has few rows for so many weights.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.utils.hooks import RemovableHandle


def align_embeddings(layer: nn.Module, matrix: torch.Tensor) -> RemovableHandle:
    """While this context is open, the output of ``layer``, (…, width), is multiplied by ``matrix`` (width, width)."""

    def hook(_layer: nn.Module, _inputs: Any, hidden: torch.Tensor) -> torch.Tensor:
        # Not hidden @ matrix: this way an identity leaves every bit as it was, in any precision and backwards too.
        return hidden - hidden @ (torch.eye(len(matrix), device=matrix.device) - matrix)

    return layer.register_forward_hook(hook)


def find_embedding_layer(module: nn.Module, pad: int) -> str | None:
    """The name of the submodule whose output is the first layer's input; ``None`` if there is none.

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
    for name in names:  # children end before their parents: the outermost wins
        if found is not None and found.startswith(f"{name}."):
            found = name
    return found


def _is_equal(output: torch.Tensor, hidden: torch.Tensor) -> bool:
    return output.shape == hidden.shape and torch.equal(output, hidden)
