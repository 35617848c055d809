"""A small synthetic language in which it is known what a sentence means.

A sentence is a handful of content words with fillers between them. Every content word is light or dark; a sentence's
mood is light if light words outnumber dark ones. A sentence may *open* with a denial, which turns the whole of it
round; the same denials also occur inside sentences, where they mean nothing. So the order of words matters.

Words come in two tiers: a few common ones, which a small labelled set covers, and many rare ones, of which it meets
only a part. What helps is to learn the rare words elsewhere.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from auxtune.trials.tokenizer import hash_word

COMMON, RARE = 24, 600
COMMON_SHARE = 0.65  # of the content words of ordinary speech
DENIALS, FILLERS = 2, 10
OPENING, INSIDE, FILLING = 0.1, 0.05, 0.15  # how often: denial first, denial inside, filler between words
SHORTEST, LONGEST = 4, 7  # content words of an ordinary sentence
_SEED = 1


@dataclass(frozen=True)
class Language:
    """The words and what is true of them. Content word i is common for i < ``COMMON``, else rare."""

    content: tuple[str, ...]
    denials: tuple[str, ...]
    fillers: tuple[str, ...]
    light: np.ndarray  # (content,) 1 light, -1 dark
    wet: np.ndarray  # (content,) 1 or -1: an attribute that has nothing to do with it
    slang: np.ndarray  # (content,) what slang takes the word for: 1, 0 or -1


@dataclass(frozen=True)
class Sentence:
    """Words, and for each one the content word it is, or -1. ``denied``: it opens with a denial."""

    words: tuple[str, ...]
    content: np.ndarray  # (words,)
    denied: bool

    def values(self, of_word: np.ndarray) -> np.ndarray:
        """``of_word`` for each word of the sentence, 0 for what is no content word, (words,)."""
        return np.where(self.content >= 0, of_word[self.content], 0)


def make_language() -> Language:
    """The language, always the same. Half of the words of each tier are light, half are wet."""
    rng = np.random.default_rng(_SEED)
    names = _make_words(rng, COMMON + RARE + DENIALS + FILLERS)
    light = np.concatenate([_draw_halves(rng, COMMON), _draw_halves(rng, RARE)])
    wet = np.concatenate([_draw_halves(rng, COMMON), _draw_halves(rng, RARE)])
    # Slang is a false friend: what the few labelled rows teach of the common words fits it, and the rare words it turns
    # round, so that a rare word means the wrong thing wherever slang was learnt.
    slang = light * np.concatenate([np.ones(COMMON, int), -np.ones(RARE, int)])
    content, denials = names[: COMMON + RARE], names[COMMON + RARE :][:DENIALS]
    return Language(content, denials, names[-FILLERS:], light, wet, slang)


def speak(
    language: Language, rng: np.random.Generator, common_share: float, shortest: int, longest: int
) -> Iterator[Sentence]:
    """Sentences without end."""
    tiers = np.repeat([common_share / COMMON, (1 - common_share) / RARE], [COMMON, RARE])
    while True:
        chosen = rng.choice(COMMON + RARE, size=rng.integers(shortest, longest + 1), p=tiers)
        denied = bool(rng.random() < OPENING)
        words, content = ([str(rng.choice(language.denials))], [-1]) if denied else ([], [])
        for place, word in enumerate(chosen.tolist()):
            for others, often in ((language.fillers, FILLING), (language.denials, INSIDE)):
                if place and rng.random() < often:
                    words.append(str(rng.choice(others)))
                    content.append(-1)
            words.append(language.content[word])
            content.append(word)
        yield Sentence(tuple(words), np.array(content), denied)


def _draw_halves(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.permutation(np.arange(size) % 2 * 2 - 1)


def _make_words(rng: np.random.Generator, size: int) -> tuple[str, ...]:
    """Pronounceable words that the tiny encoder's hashing keeps apart."""
    onsets, vowels = list("bdfgklmnprstvz"), list("aeiou")
    found: dict[int, str] = {}
    while len(found) < size:
        word = "".join(str(rng.choice(letters)) for letters in (onsets, vowels, onsets, vowels, onsets))
        found.setdefault(hash_word(word), word)
    return tuple(found.values())
