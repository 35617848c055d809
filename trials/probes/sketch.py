"""A random projection of very long vectors to 4,096 numbers that keeps inner products: a count sketch.

Every coordinate goes to one of the 4,096 places with a sign, both given by a hash of its position and of a name, and
what meets in a place is added up. The inner product of two sketches is that of the vectors on average, with a standard
error of about |x| |y| / √4096. It costs one addition per coordinate, where a Gaussian projection costs 4,096. Vectors
that fit are kept as they are. The hash is SplitMix64 and not a library's generator, so that what was sketched with one
version can be compared with what is sketched with another.

Source: Charikar, Chen and Farach-Colton, "Finding Frequent Items in Data Streams", 2002, as a projection by Weinberger
et al., "Feature Hashing for Large Scale Multitask Learning", 2009 (https://arxiv.org/abs/0902.2206).
"""

from __future__ import annotations

import hashlib

import numpy as np
import torch

from auxtune.trials.probes.measuring import doubles

SIZE = 4096
_CHUNK = 2**20                                         # coordinates at a time: bounds what is in float64 or 64 bits


class Sketch:
    """The projection called ``name`` of vectors of ``length`` numbers. Holds 2 bytes per number on ``device``."""

    def __init__(self, name: str, length: int, device: torch.device) -> None:
        self._length = length
        self._codes = None
        if length > SIZE:
            place = torch.device("cpu") if device.type == "mps" else device
            self._codes = torch.from_numpy(_codes(name, length)).to(place)

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        """(length,) to (4096,) float64, on the host."""
        found = torch.zeros(SIZE, dtype=torch.float64)
        if self._codes is None:
            found[: self._length] = doubles(vector).cpu()
            return found
        found = found.to(self._codes.device)
        for start in range(0, self._length, _CHUNK):
            codes = self._codes[start : start + _CHUNK].long()
            found.index_add_(0, codes >> 1, doubles(vector[start : start + _CHUNK]) * (1 - 2 * (codes & 1)))
        return found.cpu()


def _codes(name: str, length: int) -> np.ndarray:
    """For each coordinate twice its place plus its sign bit, (length,) int16 in [0, 8192)."""
    seed = np.frombuffer(hashlib.sha256(name.encode()).digest()[:8], "<u8")
    codes = np.empty(length, np.int16)
    for start in range(0, length, _CHUNK):
        mixed = np.arange(start + 1, min(start + _CHUNK, length) + 1, dtype=np.uint64)
        mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + seed
        mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        mixed ^= mixed >> np.uint64(31)
        codes[start : start + len(mixed)] = mixed >> np.uint64(64 - 13)
    return codes
