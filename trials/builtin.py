"""Built-in tasks with a known answer: a low-resource primary and six candidates in one synthetic language.

``mood`` is the task to win. Of the candidates, ``tint``, ``stars`` and ``rival`` are about the same words and help;
``slang`` uses the words differently and hurts; ``river`` and ``pace`` are about something else that the common words
make look like it, and hurt beside those that help. This was measured, not assumed: ``examples/tables/builtin`` holds
the results of every subset, and ``docs/builtin-tasks.md`` says how.

The language. A sentence is a handful of content words with fillers between them. Every content word is light or dark;
a sentence's mood is light if light words outnumber dark ones. A sentence may *open* with a denial, which reverses all
of it; the same denials also occur inside sentences, where they mean nothing. So the order of words matters. Words come
in two tiers: a few common ones, which a small labelled set covers, and many rare ones, of which it contains only some.
What helps is to learn the rare words elsewhere. They come from four fields, and each helping task speaks of one field
only, so that none makes another superfluous; what hurts agrees with the mood on the common words alone.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import numpy as np

from auxtune.trials.tokenizer import hash_word

COMMON, RARE = 24, 600
FIELDS = 4  # rare word i is of field i % FIELDS
COMMON_SHARE = 0.4  # of the content words of ordinary speech
DENIALS, FILLERS = 2, 10
OPENING, INSIDE, FILLING = 0.04, 0.05, 0.15  # how often: denial first, denial inside, filler between words
SHORTEST, LONGEST = 4, 7  # content words of an ordinary sentence
_SEED = 1
_ASTRAY = 0.6  # share of the rare words whose other properties are against their light
_BLOCK = 512  # sentences drawn at once


@dataclass(frozen=True)
class Language:
    """The words and their properties. Content word i is common if i < ``COMMON``, else rare."""

    content: tuple[str, ...]
    denials: tuple[str, ...]
    fillers: tuple[str, ...]
    light: np.ndarray  # (content,) 1 light, -1 dark
    wet: np.ndarray  # (content,) 1 or -1: as light in common words, mostly against it in rare ones
    quick: np.ndarray  # (content,) 1 or -1: as ``wet``, astray in other rare words
    slang: np.ndarray  # (content,) the meaning of the word in slang: 1 or -1


@dataclass(frozen=True)
class Sentence:
    """Words, and of each its number as a content word, or -1. ``denied``: the sentence opens with a denial."""

    words: tuple[str, ...]
    content: np.ndarray  # (words,)
    denied: bool

    def values(self, of_word: np.ndarray) -> np.ndarray:
        """``of_word`` for each word of the sentence, 0 for words that are not content words, (words,)."""
        return np.where(self.content >= 0, of_word[self.content], 0)


def generate_language() -> Language:
    """The language, always the same. Half of the words of each tier are light."""
    rng = np.random.default_rng(_SEED)
    names = _generate_words(rng, COMMON + RARE + DENIALS + FILLERS)
    light = np.concatenate([_draw_halves(rng, COMMON), _draw_halves(rng, RARE)])
    # False friends: they agree on the common words, which the few labelled rows teach, and not on the rare ones, so
    # that a model that learnt them takes rare words for their opposite: in slang all of them.
    wet, quick = (_turn_rare(light, rng.permutation(RARE) < RARE * _ASTRAY) for _ in range(2))
    slang = _turn_rare(light, np.ones(RARE, bool))
    content, denials = names[: COMMON + RARE], names[COMMON + RARE :][:DENIALS]
    return Language(content, denials, names[-FILLERS:], light, wet, quick, slang)


def generate_sentences(
    language: Language,
    rng: np.random.Generator,
    common_share: float = COMMON_SHARE,
    shortest: int = SHORTEST,
    longest: int = LONGEST,
    fields: tuple[int, ...] = tuple(range(FIELDS)),
) -> Iterator[Sentence]:
    """An endless stream of sentences whose rare words are of ``fields``."""
    spoken = COMMON + np.flatnonzero(np.isin(np.arange(RARE) % FIELDS, fields))
    while True:
        lengths = rng.integers(shortest, longest + 1, size=_BLOCK)
        total = int(lengths.sum())
        common, rare = rng.integers(COMMON, size=total), rng.choice(spoken, size=total)
        content = np.where(rng.random(total) < common_share, common, rare)
        filled, within = rng.random(total) < FILLING, rng.random(total) < INSIDE
        fillers, denials = rng.choice(language.fillers, size=total), rng.choice(language.denials, size=(2, total))
        opens = rng.random(_BLOCK) < OPENING
        ends = np.cumsum(lengths)
        # As lists: single elements of arrays take several times as long to read.
        numbers, fills, inside, first = content.tolist(), fillers.tolist(), denials[0].tolist(), denials[1].tolist()
        is_filled, is_denied = filled.tolist(), within.tolist()
        for begin, end, denied in zip((ends - lengths).tolist(), ends.tolist(), opens.tolist(), strict=True):
            said = [(first[begin], -1)] if denied else []
            for place in range(begin, end):
                if place > begin:
                    said += [(fills[place], -1)] if is_filled[place] else []
                    said += [(inside[place], -1)] if is_denied[place] else []
                said.append((language.content[numbers[place]], numbers[place]))
            words, places = zip(*said, strict=True)
            yield Sentence(words, np.array(places), denied)


def _draw_halves(rng: np.random.Generator, size: int) -> np.ndarray:
    return rng.permutation(np.arange(size) % 2 * 2 - 1)


def _turn_rare(light: np.ndarray, turned: np.ndarray) -> np.ndarray:
    """``light``, with the opposite sign in the rare words that are ``turned``, (rare,) of bool."""
    of_word: np.ndarray = light * np.concatenate([np.ones(COMMON, int), np.where(turned, -1, 1)])
    return of_word


def _generate_words(rng: np.random.Generator, size: int) -> tuple[str, ...]:
    """Pronounceable words that the tiny encoder's hash does not confuse."""
    onsets, vowels = list("bdfgklmnprstvz"), list("aeiou")
    found: dict[int, str] = {}
    while len(found) < size:
        word = "".join(str(rng.choice(letters)) for letters in (onsets, vowels, onsets, vowels, onsets))
        found.setdefault(hash_word(word), word)
    return tuple(found.values())


Row = dict[str, Any]
_STRENGTH = 4  # surplus of light over dark words that gives the full number of stars


@dataclass(frozen=True)
class _Task:
    """A task, whose ``row`` builds a row from the next sentences, or ``None`` if these do not give one."""

    kind: str
    labels: tuple[str, ...]
    row: Callable[[Language, np.random.Generator, Callable[[], Sentence]], Row | None]
    metric: str = "accuracy"
    pair: bool = False
    common_share: float = COMMON_SHARE
    shortest: int = SHORTEST
    longest: int = LONGEST
    fields: tuple[int, ...] = tuple(range(FIELDS))  # whose rare words it uses
    sizes: tuple[int, int, int] = (6000, 400, 400)


def _measure_balance(language: Language, sentence: Sentence) -> int:
    """Light minus dark words, with the opposite sign after a denial at the start."""
    total = int(sentence.values(language.light).sum())
    return -total if sentence.denied else total


def _build_text_row(sentence: Sentence, label: Any) -> Row:
    return {"sentence1": " ".join(sentence.words), "sentence2": None, "label": label}


def _draw_mood(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row | None:
    balance = _measure_balance(language, sentence := say())
    return _build_text_row(sentence, "light" if balance > 0 else "dark") if balance else None


def _draw_stars(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row:
    balance = _measure_balance(language, sentence := say())
    return _build_text_row(sentence, max(-1.0, min(1.0, balance / _STRENGTH)))


def _draw_rival(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row | None:
    first, second = say(), say()
    lead = _measure_balance(language, first) - _measure_balance(language, second)
    label = "first" if lead > 0 else "second"
    return _build_text_row(first, label) | {"sentence2": " ".join(second.words)} if lead else None


def _draw_tint(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row:
    sentence = say()
    values = sentence.values(language.light)
    return _build_tag_row(sentence, -values if sentence.denied else values)


def _draw_slang(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row:
    sentence = say()
    return _build_tag_row(sentence, sentence.values(language.slang))


def _build_tag_row(sentence: Sentence, values: np.ndarray) -> Row:
    return {"tokens": list(sentence.words), "tags": [_TINTS[value + 1] for value in values.tolist()]}


def _draw_river(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row | None:
    total = int((sentence := say()).values(language.wet).sum())
    return _build_text_row(sentence, "river" if total > 0 else "hill") if total else None


def _draw_pace(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row | None:
    total = int((sentence := say()).values(language.quick).sum())
    return _build_text_row(sentence, "quick" if total > 0 else "slow") if total else None


_TINTS = ("dark", "plain", "light")
_TASKS: Mapping[str, _Task] = {
    "mood": _Task("classification", ("dark", "light"), _draw_mood, sizes=(2400, 1000, 2000)),
    "tint": _Task("token", _TINTS, _draw_tint, fields=(0,)),
    "stars": _Task("regression", (), _draw_stars, metric="pearson", fields=(1,)),
    "rival": _Task("classification", ("first", "second"), _draw_rival, pair=True, fields=(2,)),
    "river": _Task("classification", ("hill", "river"), _draw_river),
    "pace": _Task("classification", ("quick", "slow"), _draw_pace),
    "slang": _Task("token", _TINTS, _draw_slang, common_share=0.65, shortest=8, longest=14, fields=(3,)),
}
BUILTIN: tuple[str, ...] = tuple(_TASKS)


@cache
def generate_builtin_rows(name: str) -> Mapping[str, list[Row]]:
    """The rows of a built-in task: ``train``, ``validation`` and ``test``, always the same. ``KeyError`` if unknown."""
    task, language = _TASKS[name], generate_language()
    rng = np.random.default_rng([BUILTIN.index(name), 2026])
    sentences = generate_sentences(language, rng, task.common_share, task.shortest, task.longest, task.fields)
    say = sentences.__next__
    rows = (row for row in iter(lambda: task.row(language, rng, say), object()) if row is not None)
    parts = zip(("train", "validation", "test"), task.sizes, strict=True)
    return {part: list(islice(rows, size)) for part, size in parts}


def describe_builtin(name: str) -> dict[str, Any]:
    """The content that a task folder's meta.json would have: kind, labels, metric, pair."""
    task = _TASKS[name]
    return {"kind": task.kind, "labels": list(task.labels), "metric": task.metric, "pair": task.pair}


def hash_builtin() -> str:
    """A digest of all rows of all built-in tasks: recorded results hold for these and no others."""
    rows = json.dumps({name: generate_builtin_rows(name) for name in BUILTIN}, sort_keys=True)
    return hashlib.sha256(rows.encode()).hexdigest()
