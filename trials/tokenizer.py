"""The interface of tokenizers to the encoding of tasks, and the tokenizer of ``name: tiny``: words by a hash of each.

Hashed words and single signs of the lower-cased text need no vocabulary and so depend on no task: adding a candidate
changes nothing for the others. The price is that words share an id by chance, two given words once in about four
thousand. CRC-32 because it is the same in every process, unlike Python's own hash; the number of ids left for words,
4093, is prime, so that the low bits do not matter.
"""

from __future__ import annotations

import hashlib
import re
import unicodedata
import zlib
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from itertools import repeat
from typing import NamedTuple, Protocol

from auxtune.trials.data.cells import Words

VOCABULARY = 4096
PAD, CLS, SEP = 0, 1, 2
RESERVED = 3
WORD = re.compile(r"\w+|[^\w\s]")


class Pieces(NamedTuple):
    """The tokens of one row, special ones included, at most ``max_length``."""

    ids: Sequence[int]
    segments: Sequence[int]  # the sentence of each token, as the encoder expects it
    words: Sequence[int | None]  # index of each token's word, None on special tokens


class Tokenizer(Protocol):
    """Turns rows into token ids. A row that is too long loses tokens at the end, a pair in its longer sentence."""

    @property
    def digest(self) -> str:
        """A digest of vocabulary and rules: equal digests give equal ids."""

    def texts(self, first: Sequence[str], second: Sequence[str] | None, max_length: int) -> Iterable[Pieces]:
        """Single sentences, or pairs; ``words`` of the pieces means nothing here."""

    def words(self, rows: Sequence[Words], max_length: int) -> Iterable[Pieces]:
        """Sentences already split into words; every piece knows its word."""


@lru_cache(maxsize=1 << 16)  # words recur
def hash_word(word: str) -> int:
    """The id of one lower-cased word, in [RESERVED, VOCABULARY)."""
    return RESERVED + zlib.crc32(word.encode()) % (VOCABULARY - RESERVED)


def hash_words(text: str) -> list[int]:
    """The ids of the words of a text.

    >>> hash_words("Hello, WORLD") == [hash_word(word) for word in ("hello", ",", "world")]
    True
    """
    return [hash_word(word) for word in WORD.findall(unicodedata.normalize("NFKC", text).lower())]


class HashedWords:
    """``[CLS] sentence [SEP]`` or ``[CLS] first [SEP] second [SEP]``, like BERT."""

    digest = hashlib.sha256(f"hashed words 1, {VOCABULARY}".encode()).hexdigest()

    def texts(self, first: Sequence[str], second: Sequence[str] | None, max_length: int) -> Iterator[Pieces]:
        """See ``Tokenizer``."""
        for one, other in zip(first, repeat(None) if second is None else second, strict=False):
            ids = hash_words(one)
            if other is None:
                ids = [CLS, *ids[: max_length - 2], SEP]
                yield Pieces(ids, [0] * len(ids), ())
            else:
                ids, others = _shorten_pair(ids, hash_words(other), max_length - 3)
                segments = [0] * (len(ids) + 2) + [1] * (len(others) + 1)
                yield Pieces([CLS, *ids, SEP, *others, SEP], segments, ())

    def words(self, rows: Sequence[Words], max_length: int) -> Iterator[Pieces]:
        """See ``Tokenizer``."""
        for row in rows:
            pieces = [(piece, index) for index, word in enumerate(row) for piece in _hash_one(word)]
            pieces = pieces[: max_length - 2]
            ids = [CLS, *(piece for piece, _ in pieces), SEP]
            yield Pieces(ids, [0] * len(ids), [None, *(index for _, index in pieces), None])


@lru_cache(maxsize=1 << 16)
def _hash_one(word: str) -> tuple[int, ...]:
    return tuple(hash_words(word))


def _shorten_pair(first: list[int], second: list[int], room: int) -> tuple[list[int], list[int]]:
    """Both sentences within ``room`` tokens, the longer one cut first."""
    kept = min(len(second), max(room // 2, room - len(first)))
    return first[: room - kept], second[:kept]
