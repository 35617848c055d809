"""How a training run fails, and the result's reason for each failure."""

from __future__ import annotations

import torch

from auxtune.trials.result import FailureReason

# Torch's allocators of host memory and of Apple's GPUs raise plain RuntimeErrors that contain these words.
_NO_MEMORY = ("DefaultCPUAllocator: ", "MPS backend out of memory")


class NonFiniteError(ArithmeticError):
    """A loss or an output is infinite or not a number."""


class TimeLimitError(RuntimeError):
    """The attempt took longer than the recipe allows."""


def classify_failure(error: BaseException) -> FailureReason:
    """The result's reason for ``error``."""
    if isinstance(error, NonFiniteError):
        return "non-finite"
    if isinstance(error, TimeLimitError):
        return "time limit"
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)):
        return "out of memory"
    if isinstance(error, RuntimeError) and any(sign in describe_error(error) for sign in _NO_MEMORY):
        return "out of memory"
    return "error"


def describe_error(error: BaseException) -> str:
    """Type and message of ``error``, in text that every file can hold."""
    try:
        message = str(error)
    except Exception:  # an error of someone else's, whose own ``__str__`` is broken
        message = "its message cannot be made"
    return escape_bytes(f"{type(error).__name__}: {message}")


def escape_bytes(text: str) -> str:
    """``text`` with escapes for what UTF-8 cannot hold: half characters, such as bytes in the name of a file."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
