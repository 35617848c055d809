"""Tries an encoder on a few rows before any training: is it sound, and which other tokens does a token see?

Whether a model is causal is determined by what it does and not by its name: flags and classes for that differ between
families, and many a decoder was converted to look both ways.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import torch
from transformers import PreTrainedModel

if TYPE_CHECKING:
    from auxtune.trials.encoder import Encoder

SHORT = 8  # tokens: enough to tell whether one sees another
# Relative to the largest value: far above the rounding of a sum in another order, far below the effect of one of eight
# tokens on the vector of another, even with random weights.
_SAME = 1e-6
_UNKNOWN_ROWS = 1000  # ids that any vocabulary has


def count_embeddings(module: PreTrainedModel) -> int | None:
    """How many token ids have an embedding, ``None`` if the model does not tell."""
    try:
        weight = getattr(module.get_input_embeddings(), "weight", None)
    except (NotImplementedError, AttributeError):
        weight = None
    if isinstance(weight, torch.Tensor) and weight.ndim == 2:
        return int(weight.shape[0])
    return cast("int | None", getattr(module.config, "vocab_size", None))


def spread_token_ids(count: int | None, pad: int, length: int) -> torch.Tensor:
    """A row (length,) of token ids spread over all ``count``, without ``pad``, where some models begin to count."""
    ids = torch.linspace(0, (count or _UNKNOWN_ROWS) - 1, length).long()
    ordinary = pad + 1 if count is None or pad + 1 < count else 0
    return torch.where(ids == pad, ordinary, ids)


def is_finite(hidden: torch.Tensor) -> bool:
    """Whether no value is NaN or infinite."""
    return bool(torch.isfinite(hidden).all())


def find_broken_weight(module: PreTrainedModel) -> str | None:
    """The name of the first parameter that holds a value that is not finite, if there is one."""
    return next((name for name, weight in module.named_parameters() if not is_finite(weight)), None)


def is_causal(encoder: Encoder, count: int | None, longest: int) -> bool:
    """Whether a token sees those before it, and none after it. ``encoder`` is in evaluation mode.

    It is tried on rows of a few tokens or, if the encoder does not accept these, of ``longest``. If all tokens but the
    first are changed, its vector must stay; if all but the last, its vector must change.
    """
    try:
        return _is_causal(encoder, count, min(SHORT, longest))
    except (RuntimeError, ValueError, IndexError):
        return _is_causal(encoder, count, longest)


def _is_causal(encoder: Encoder, count: int | None, length: int) -> bool:
    row = spread_token_ids(count, encoder.pad, length)
    other = row.flip(0)
    first, last = other.clone(), other.clone()
    first[0], last[-1] = row[0], row[-1]
    with torch.no_grad():
        kept, of_first, of_last = (_encode_row(encoder, each) for each in (row, first, last))
    return _is_alike(kept[0], of_first[0]) and not _is_alike(kept[-1], of_last[-1])


def _encode_row(encoder: Encoder, row: torch.Tensor) -> torch.Tensor:
    """(length, width)."""
    rows = row.unsqueeze(0)
    hidden: torch.Tensor = encoder(rows, torch.zeros_like(rows), torch.ones_like(rows))
    return hidden[0]


def _is_alike(one: torch.Tensor, other: torch.Tensor) -> bool:
    return bool((one - other).abs().max() <= _SAME * one.abs().max())
