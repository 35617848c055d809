"""Spans of words under BIO tags: which tags are such, and how many spans of each row were found.

A span is right only if it is found whole, with its name: the exact match of the CoNLL shared tasks. nervaluate reads
spans off tags as their script does: an I- that continues nothing begins a span.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
from nervaluate import collect_named_entities

BIO = re.compile(r"O|[BI](-.+)?")


def not_bio(tags: Sequence[str]) -> tuple[str, ...]:
    """The tags that are not BIO tags; all of them where none begins a span."""
    wrong = tuple(tag for tag in tags if not BIO.fullmatch(tag))
    return wrong if wrong or any(tag.startswith("B") for tag in tags) else tuple(tags)


def span_counts(labels: np.ndarray, predictions: np.ndarray, rows: np.ndarray, names: Sequence[str]) -> np.ndarray:
    """How many spans of each row are right, true and predicted: (highest row + 1, 3) int64.

    ``labels`` and ``predictions`` are tag ids, in the order of the words within each of ``rows``, all (tokens,);
    ``names`` are the tags in the order of their ids.
    """
    counts = np.zeros((int(rows.max()) + 1, 3), np.int64)
    order = np.argsort(rows, kind="stable")
    begins = np.flatnonzero(np.diff(rows[order], prepend=-1))
    for places in np.split(order, begins[1:]):
        true, predicted = (_spans([names[tag] for tag in tags[places].tolist()]) for tags in (labels, predictions))
        counts[rows[places[0]]] = len(true & predicted), len(true), len(predicted)
    return counts


def _spans(tags: list[str]) -> set[tuple[str, int, int]]:
    """Name, first and last word of each span."""
    return {(span["label"], span["start"], span["end"]) for span in collect_named_entities(tags)}
