"""What the encoding of tasks asks of a tokenizer, so that hashed words and pretrained ones are interchangeable."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple, Protocol

from auxtune.trials.data.examples import Words


class Pieces(NamedTuple):
    """The tokens of one row, special ones included, at most ``max_length``."""

    ids: Sequence[int]
    segments: Sequence[int]  # what the encoder expects as the sentence of each token
    words: Sequence[int | None]  # index of each token's word, None on special tokens


class Tokenizer(Protocol):
    """Turns rows into token ids. A row that is too long loses tokens at the end, a pair in its longer sentence."""

    @property
    def digest(self) -> str:
        """Identifies vocabulary and rules: equal digests give equal ids."""

    def texts(self, first: Sequence[str], second: Sequence[str] | None, max_length: int) -> Iterable[Pieces]:
        """Single sentences, or pairs; ``words`` of the pieces means nothing here."""

    def words(self, rows: Sequence[Words], max_length: int) -> Iterable[Pieces]:
        """Sentences already cut into words; every piece knows its word."""
