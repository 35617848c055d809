"""What the number that a search is told is called where people see it; its sign is turned in ``shown_scores``."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:  # every command line begins with this module, so it loads nothing
    from auxtune.trials.recipe import SearchScore

_LOSSES = {"loss": "loss", "relative_loss": "relative loss"}


def shown_value(value: float, search_score: SearchScore) -> str:
    """A score as it was measured: the metric as it is, or ``loss 0.4312``, of which the lowest is the best."""
    return f"{value:.4f}" if search_score == "metric" else f"{_LOSSES[search_score]} {value:.4f}"


def named_value(value: float, search_score: SearchScore) -> str:
    """As ``shown_value``, with a word before it in either case: ``score 0.8123`` or ``loss 0.4312``."""
    return ("score " if search_score == "metric" else "") + shown_value(value, search_score)


def value_noun(value: float, search_score: SearchScore) -> str:
    """As ``shown_value``, to stand in a sentence: ``score of 0.8123`` or ``loss of 0.4312``."""
    return f"{_LOSSES.get(search_score, 'score')} of {value:.4f}"


def scored_by(metric: str, search_score: SearchScore) -> str:
    """What an axis or a column of such values is called where the main metric is ``metric``."""
    return _LOSSES.get(search_score, metric)
