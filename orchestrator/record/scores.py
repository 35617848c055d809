"""How scores read. Selectors and the ledger have them so that higher is better; people see what was measured."""

from __future__ import annotations

from auxtune.selectors.protocol import Outcome
from auxtune.trials.recipe import SearchScore


def shown_score(score: float, search_score: SearchScore) -> str:
    """A search score in words: the metric as it is, or ``loss 0.4312``, of which the lowest is the best."""
    return f"loss {-score:.4f}" if search_score == "loss" else f"{score:.4f}"


def score_noun(score: float, search_score: SearchScore) -> str:
    """As ``shown_score``, to stand in a sentence: ``score of 0.8123`` or ``loss of 0.4312``."""
    return f"loss of {-score:.4f}" if search_score == "loss" else f"score of {score:.4f}"


def named_score(score: float, search_score: SearchScore) -> str:
    """As ``shown_score``, with a word before it in either case: ``score 0.8123`` or ``loss 0.4312``."""
    return shown_score(score, search_score) if search_score == "loss" else f"score {score:.4f}"


def shown_outcome(outcome: Outcome, search_score: SearchScore) -> str:
    """What a trial came to, with a word on what that is; of several tasks a loss is in parts of a constant's."""
    if outcome.score is None:
        return "no score"
    relative = search_score == "loss" and len(outcome.scores) > 1
    return ("relative " if relative else "") + named_score(outcome.score, search_score)


def scored_by(metric: str, search_score: SearchScore) -> str:
    """What an axis or a column of search scores is called where the main metric is ``metric``."""
    return "minus loss" if search_score == "loss" else metric
