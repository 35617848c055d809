"""Spans of words under BIO tags: which tags are BIO tags, and how many spans of each row were found.

A span is right only if it is found whole, with its name: the exact match of the CoNLL shared tasks, which nervaluate
calls "strict". Tags are read as spans in one of two ways. nervaluate reads them as the CoNLL script does (and seqeval
by default): an I- that continues nothing begins a span. The strict reading is that of the tags' definition (seqeval:
mode "strict", scheme IOB2): only a B- begins a span, and an I- that does not continue one of its name is in none.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from nervaluate import collect_named_entities

BIO = re.compile(r"O|[BI](-.+)?")
_OUTSIDE = "O"


def find_non_bio_tags(tags: Sequence[str]) -> tuple[str, ...]:
    """The tags that are not BIO tags; all of them if none begins a span."""
    wrong = tuple(tag for tag in tags if not BIO.fullmatch(tag))
    return wrong if wrong or any(tag.startswith("B") for tag in tags) else tuple(tags)


def count_spans(
    labels: np.ndarray, predictions: np.ndarray, rows: np.ndarray, names: Sequence[str], strict: bool = False
) -> np.ndarray:
    """How many spans of each row are right, true and predicted: (highest row + 1, 3) int64.

    ``labels`` and ``predictions`` are tag ids, in the order of the words within each of ``rows``, all (tokens,);
    ``names`` are the tags in the order of their ids. A prediction below 0, for a word that the model did not see, is
    outside all spans.
    """
    counts = np.zeros((int(rows.max()) + 1, 3), np.int64)
    order = np.argsort(rows, kind="stable")
    begins = np.flatnonzero(np.diff(rows[order], prepend=-1))
    for places in np.split(order, begins[1:]):
        true, predicted = (
            _find_spans([names[tag] if tag >= 0 else _OUTSIDE for tag in tags[places].tolist()], strict)
            for tags in (labels, predictions)
        )
        counts[rows[places[0]]] = len(true & predicted), len(true), len(predicted)
    return counts


def _find_spans(tags: list[str], strict: bool) -> set[tuple[str, int, int]]:
    """Name, first and last word of each span."""
    read = _is_continued(tags) if strict else tags
    return {(span["label"], span["start"], span["end"]) for span in collect_named_entities(read)}


def _is_continued(tags: list[str]) -> list[str]:
    """``tags`` without the I- that continue no span of their name."""
    kept: list[str] = []
    for tag in tags:
        continues = bool(kept) and kept[-1] != _OUTSIDE and kept[-1][1:] == tag[1:]
        kept.append(_OUTSIDE if tag.startswith("I") and not continues else tag)
    return kept
