"""Built-in tasks with a known answer: a low-resource primary and six candidates in one synthetic language.

``mood`` is the task to win. Of the candidates, ``tint``, ``stars`` and ``rival`` are about the same words and help;
``river`` and ``pace`` are about something else; ``slang`` uses the words otherwise and hurts. That this is so was
measured, not assumed: ``examples/tables/builtin`` holds every subset's results, ``docs/builtin-tasks.md`` says how.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from itertools import islice
from typing import Any

import numpy as np

from auxtune.trials.language import COMMON_SHARE, LONGEST, SHORTEST, Language, Sentence, make_language, speak

Row = dict[str, Any]
_STRENGTH = 4  # light words more than dark ones, at which a mood is full
_NOISE = 0.1  # share of slang's tags that are wrong


@dataclass(frozen=True)
class _Task:
    """How a task makes a row of the next sentences; ``None`` where they do not give one."""

    kind: str
    labels: tuple[str, ...]
    row: Callable[[Language, np.random.Generator, Callable[[], Sentence]], Row | None]
    metric: str = "accuracy"
    pair: bool = False
    common_share: float = COMMON_SHARE
    shortest: int = SHORTEST
    longest: int = LONGEST
    sizes: tuple[int, int, int] = (6000, 400, 400)


def _balance(language: Language, sentence: Sentence) -> int:
    """Light minus dark words, turned round by a denial at the start."""
    total = int(sentence.values(language.light).sum())
    return -total if sentence.denied else total


def _single(sentence: Sentence, label: Any) -> Row:
    return {"sentence1": " ".join(sentence.words), "sentence2": None, "label": label}


def _mood(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row | None:
    balance = _balance(language, sentence := say())
    return _single(sentence, "light" if balance > 0 else "dark") if balance else None


def _stars(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row:
    balance = _balance(language, sentence := say())
    return _single(sentence, max(-1.0, min(1.0, balance / _STRENGTH)))


def _rival(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row | None:
    first, second = say(), say()
    lead = _balance(language, first) - _balance(language, second)
    label = "first" if lead > 0 else "second"
    return _single(first, label) | {"sentence2": " ".join(second.words)} if lead else None


def _tint(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row:
    sentence = say()
    values = sentence.values(language.light)
    return _tagged(sentence, -values if sentence.denied else values)


def _slang(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row:
    sentence = say()
    values = sentence.values(language.slang)
    return _tagged(sentence, np.where(rng.random(len(values)) < _NOISE, -values, values))


def _tagged(sentence: Sentence, values: np.ndarray) -> Row:
    return {"tokens": list(sentence.words), "tags": [_TINTS[value + 1] for value in values.tolist()]}


def _river(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row | None:
    total = int((sentence := say()).values(language.wet).sum())
    return _single(sentence, "river" if total > 0 else "hill") if total else None


def _pace(language: Language, rng: np.random.Generator, say: Callable[[], Sentence]) -> Row:
    sentence = say()
    return _single(sentence, "slow" if (sentence.content >= 0).sum() * 2 > SHORTEST + LONGEST else "quick")


_TINTS = ("dark", "plain", "light")
_TASKS: Mapping[str, _Task] = {
    "mood": _Task("classification", ("dark", "light"), _mood, sizes=(2400, 1000, 2000)),
    "tint": _Task("token", _TINTS, _tint),
    "stars": _Task("regression", (), _stars, metric="pearson"),
    "rival": _Task("classification", ("first", "second"), _rival, pair=True),
    "river": _Task("classification", ("hill", "river"), _river),
    "pace": _Task("classification", ("quick", "slow"), _pace),
    "slang": _Task("token", _TINTS, _slang, common_share=0.6, shortest=8, longest=14),
}
BUILTIN: tuple[str, ...] = tuple(_TASKS)


@cache
def make_builtin_rows(name: str) -> Mapping[str, list[Row]]:
    """The rows of a built-in task: ``train``, ``validation`` and ``test``, always the same. ``KeyError`` if unknown."""
    task, language = _TASKS[name], make_language()
    rng = np.random.default_rng([BUILTIN.index(name), 2026])
    sentences = speak(language, rng, task.common_share, task.shortest, task.longest)
    say = sentences.__next__
    rows = (row for row in iter(lambda: task.row(language, rng, say), object()) if row is not None)
    parts = zip(("train", "validation", "test"), task.sizes, strict=True)
    return {part: list(islice(rows, size)) for part, size in parts}


def describe_builtin(name: str) -> dict[str, Any]:
    """What a task folder's meta.json would say: kind, labels, metric, pair."""
    task = _TASKS[name]
    return {"kind": task.kind, "labels": list(task.labels), "metric": task.metric, "pair": task.pair}


def hash_builtin() -> str:
    """Identifies all rows of all built-in tasks: recorded results are true of these and no others."""
    rows = json.dumps({name: make_builtin_rows(name) for name in BUILTIN}, sort_keys=True)
    return hashlib.sha256(rows.encode()).hexdigest()
