"""A random projection of very long vectors to 4,096 numbers that keeps inner products: a count sketch.

Every coordinate goes to one of 4,096 places with a sign, both given by a hash of its position and of a name, and the
coordinates in a place are summed. The inner product of two sketches equals that of the vectors on average, with a
standard error of about |x| |y| / √4096. It costs one addition per coordinate, where a Gaussian projection costs 4,096.
Vectors of at most 4,096 numbers are kept as they are. The hash is SplitMix64 and not a library's generator, so that
sketches made with different versions can be compared.

Source: M. Charikar, K. Chen, M. Farach-Colton, "Finding Frequent Items in Data Streams", 2002; as a projection,
K. Weinberger et al., "Feature Hashing for Large Scale Multitask Learning", 2009, https://arxiv.org/abs/0902.2206.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable

import numpy as np
import torch

from auxtune.trials.probes.measuring import convert_to_double

SIZE = 4096
_CHUNK = 2**20  # coordinates at a time, to bound the memory of 64-bit copies


class Sketch:
    """The projection called ``name`` of vectors of ``length`` numbers. Holds 2 bytes per number on ``device``."""

    def __init__(self, name: str, length: int, device: torch.device) -> None:
        self._length = length
        self._codes = None
        if length > SIZE:
            place = torch.device("cpu") if device.type == "mps" else device
            self._codes = torch.from_numpy(_hash_codes(name, length)).to(place)

    def __call__(self, vector: torch.Tensor) -> torch.Tensor:
        """(length,) to (4096,) float64, on the host."""
        found = torch.zeros(SIZE, dtype=torch.float64)
        if self._codes is None:
            found[: self._length] = convert_to_double(vector).cpu()
            return found
        found = found.to(self._codes.device)
        for start in range(0, self._length, _CHUNK):
            codes = self._codes[start : start + _CHUNK].long()
            found.index_add_(0, codes >> 1, convert_to_double(vector[start : start + _CHUNK]) * (1 - 2 * (codes & 1)))
        return found.cpu()


class RowSketch:
    """The same projection for many vectors at once and to any ``size``, with an error of about |x| |y| / √size.

    Holds 4 bytes per number of a vector on ``device``, whatever ``size`` is.
    """

    def __init__(self, name: str, length: int, size: int, device: torch.device) -> None:
        self._length, self._size = length, size
        self._codes = None if length <= size else torch.from_numpy(_hash_codes_to(name, length, size)).to(device)

    def __call__(self, parts: Iterable[torch.Tensor]) -> torch.Tensor:
        """(rows, size) float64 on the host, of vectors that arrive in ``parts``, (rows, some numbers) each."""
        found, at = torch.zeros(0), 0
        for part in parts:
            rows = len(part)
            if at == 0:
                found = torch.zeros(rows * self._size, dtype=torch.float64)
            step = max(1, _CHUNK // rows)
            for start in range(0, part.shape[1], step):
                piece = part[:, start : start + step]
                found += self._sums(piece, at + start)
            at += part.shape[1]
        if at != self._length:
            raise ValueError(f"vectors must have {self._length} numbers, got {at}")
        return found.view(-1, self._size)

    def _sums(self, piece: torch.Tensor, start: int) -> torch.Tensor:
        """The sums that coordinates from ``start`` on add to each place of each row, (rows * size,), on the host."""
        rows, count = piece.shape
        offsets = self._size * torch.arange(rows, device=piece.device)[:, None]
        if self._codes is None:
            places, values = torch.arange(start, start + count, device=piece.device), piece
        else:
            codes = self._codes[start : start + count].long()
            places, values = codes >> 1, piece * (1 - 2 * (codes & 1))
        sums = piece.new_zeros(rows * self._size)
        return convert_to_double(sums.index_add_(0, (offsets + places).flatten(), values.flatten())).cpu()


def _hash_codes(name: str, length: int) -> np.ndarray:
    """For each coordinate, twice its place plus its sign bit: (length,) int16 in [0, 8192)."""
    codes = np.empty(length, np.int16)
    for start in range(0, length, _CHUNK):
        mixed = _hash_positions(name, start, min(start + _CHUNK, length))
        codes[start : start + len(mixed)] = mixed >> np.uint64(64 - 13)
    return codes


def _hash_codes_to(name: str, length: int, size: int) -> np.ndarray:
    """For each coordinate, twice its place below ``size`` plus its sign bit: (length,) int32."""
    codes = np.empty(length, np.int32)
    for start in range(0, length, _CHUNK):
        mixed = _hash_positions(name, start, min(start + _CHUNK, length))
        # The place is the upper half of the bits, read as a fraction of 1, times the size; the sign is the lowest bit.
        places = ((mixed >> np.uint64(32)) * np.uint64(size)) >> np.uint64(32)
        codes[start : start + len(mixed)] = places << np.uint64(1) | mixed & np.uint64(1)
    return codes


def _hash_positions(name: str, start: int, stop: int) -> np.ndarray:
    """64 pseudo-random bits for each coordinate from ``start`` to ``stop``, by SplitMix64."""
    seed = np.frombuffer(hashlib.sha256(name.encode()).digest()[:8], "<u8")
    mixed = np.arange(start + 1, stop + 1, dtype=np.uint64)
    mixed = mixed * np.uint64(0x9E3779B97F4A7C15) + seed
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    scrambled: np.ndarray = mixed ^ (mixed >> np.uint64(31))
    return scrambled
