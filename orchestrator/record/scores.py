"""How scores read. Selectors and the ledger have them so that higher is better; people see what was measured."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:                                      # every command line begins with this module, so it loads nothing
    from auxtune.trials.recipe import SearchScore


_LOSSES = {"loss": "loss", "relative_loss": "relative loss"}


def shown_score(score: float, search_score: SearchScore) -> str:
    """A search score in words: the metric as it is, or ``loss 0.4312``, of which the lowest is the best."""
    return f"{score:.4f}" if search_score == "metric" else f"{_LOSSES[search_score]} {-score:.4f}"


def score_noun(score: float, search_score: SearchScore) -> str:
    """As ``shown_score``, to stand in a sentence: ``score of 0.8123`` or ``loss of 0.4312``."""
    return f"score of {score:.4f}" if search_score == "metric" else f"{_LOSSES[search_score]} of {-score:.4f}"


def named_score(score: float, search_score: SearchScore) -> str:
    """As ``shown_score``, with a word before it in either case: ``score 0.8123`` or ``loss 0.4312``."""
    return ("score " if search_score == "metric" else "") + shown_score(score, search_score)


def scored_by(metric: str, search_score: SearchScore) -> str:
    """What an axis or a column of search scores is called where the main metric is ``metric``."""
    return metric if search_score == "metric" else f"minus {_LOSSES[search_score]}"
