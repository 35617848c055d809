"""Spans of words: exact match by hand, rows kept apart, and tags that are not BIO refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import load_tasks
from auxtune.trials.errors import DataError
from auxtune.trials.metrics import score
from auxtune.trials.spans import count_spans, find_non_bio_tags

NAMES = ("O", "B-per", "I-per", "B-loc", "I-loc")


def ids(tags: str) -> np.ndarray:
    """Tags written as their letters: `.`, and capitals at the first word of a span of P(er) or L(oc)."""
    return np.array([".PpLl".index(tag) for tag in tags])


@pytest.mark.parametrize(
    ("true", "predicted", "counts"),
    [
        ("Pp.L", "Pp.L", (2, 2, 2)),
        ("Pp.L", "P..L", (1, 2, 2)),  # too short
        ("Pp.L", "Pppl", (1, 2, 2)),  # too long; and `l` continues no place, so it begins one
        ("Pp.L", "Ll.L", (1, 2, 2)),  # the right words, the wrong name
        ("PpPp", "Pppp", (0, 2, 1)),  # two of a kind side by side
        (".pp.", ".Pp.", (1, 1, 1)),  # I- without B- begins a span
        ("....", "...P", (0, 0, 1)),
        ("Pp..", "....", (0, 1, 0)),
    ],
)
def test_a_span_is_right_if_it_is_found_whole(true: str, predicted: str, counts: tuple[int, int, int]) -> None:
    rows = np.zeros(4, int)
    assert count_spans(ids(true), ids(predicted), rows, NAMES).tolist() == [list(counts)]
    right, *spans = counts
    assert score("span_f1", ids(true), ids(predicted), rows, NAMES) == pytest.approx(2 * right / sum(spans))


def test_rows_are_counted_apart_and_no_span_crosses_them() -> None:
    rows = np.array([0, 0, 2, 2, 2])
    # As one row, the true span would have three words, and the one found would be the same.
    true, predicted = ids("Ppp.L"), ids("Pp..L")
    assert count_spans(true, predicted, rows, NAMES).tolist() == [[1, 1, 1], [0, 0, 0], [1, 2, 1]]
    assert score("span_f1", true, predicted, rows, NAMES) == pytest.approx(2 * 2 / (3 + 2))
    assert score("span_f1", true, predicted, rows * 0, NAMES) == pytest.approx(2 * 1 / (2 + 2))


def test_without_any_span_the_score_is_zero_and_without_rows_or_names_there_is_none() -> None:
    nothing = ids("....")
    assert score("span_f1", nothing, nothing, np.zeros(4, int), NAMES) == 0.0
    with pytest.raises(ValueError, match="expected the row of each token and the names of the tags"):
        score("span_f1", nothing, nothing)
    with pytest.raises(ValueError, match="expected the row of each token and the names of the tags"):
        score("span_f1", nothing, nothing, np.zeros(4, int))


@pytest.mark.parametrize(
    ("tags", "wrong"),
    [
        (NAMES, ()),
        (("B", "I", "O"), ()),
        (("B-a", "I-a"), ()),
        (("O", "B-a", "E-a", "S-a"), ("E-a", "S-a")),
        (("O", "B_a"), ("B_a",)),
        (("O", "B-"), ("B-",)),
        (("O", "BAD", "I-a", "B-a"), ("BAD",)),
        (("O", "I-a"), ("O", "I-a")),  # nothing begins a span
        (("NOUN", "VERB"), ("NOUN", "VERB")),
    ],
)
def test_tags_are_known_as_bio_or_not(tags: tuple[str, ...], wrong: tuple[str, ...]) -> None:
    assert find_non_bio_tags(tags) == wrong


def tagged(path: Path, tags: list[str]) -> TaskSource:
    rows: list[dict[str, Any]] = [{"tokens": [f"w{i}", "x"], "tags": tags} for i in range(60)]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return TaskSource("names", path=path, metrics=("span_f1", "accuracy"))


def test_span_f1_is_asked_of_bio_tags_alone(tmp_path: Path) -> None:
    task = load_tasks([tagged(tmp_path / "bio.jsonl", ["B-per", "O"])])["names"]
    assert task.metrics == ("span_f1", "accuracy")
    with pytest.raises(DataError) as error:
        load_tasks([tagged(tmp_path / "pos.jsonl", ["NOUN", "O"])])
    [message] = error.value.messages
    assert message.startswith("task names: metric: `span_f1` needs BIO tags (O, B-NAME at the first word")
    assert message.endswith("found NOUN; ask for accuracy, f1, or change the tags")


@pytest.mark.parametrize(
    ("true", "predicted", "counts"),
    [
        ("Pp.L", "Pp.L", (2, 2, 2)),
        ("Pp.L", "pp.L", (1, 2, 1)),  # nothing begins with I-, so the first is not found
        ("Pp.L", "Lp.L", (1, 2, 2)),  # I- of another name continues nothing: the place is one word
        (".pp.", ".Pp.", (0, 0, 1)),  # there was no span, strictly read
        ("PpPp", "Pppp", (0, 2, 1)),
        ("Pp..", "Ppl.", (1, 1, 1)),  # what follows it belongs to no span
        ("P.p.", "P.p.", (1, 1, 1)),  # not even the second time
    ],
)
def test_read_strictly_a_span_begins_with_b_and_goes_on_by_its_own_name(
    true: str, predicted: str, counts: tuple[int, int, int]
) -> None:
    rows = np.zeros(4, int)
    assert count_spans(ids(true), ids(predicted), rows, NAMES, strict=True).tolist() == [list(counts)]
    right, *spans = counts
    assert score("span_f1_strict", ids(true), ids(predicted), rows, NAMES) == pytest.approx(2 * right / sum(spans))


def test_a_word_that_was_missed_is_in_no_span() -> None:
    missed = ids("Pp.L")
    missed[1] = missed[3] = -1
    assert count_spans(ids("Pp.L"), missed, np.zeros(4, int), NAMES).tolist() == [[0, 2, 1]]
