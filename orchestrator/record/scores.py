"""Scores as people read them: what they are called, and with which sign.

For the search a higher score is always better, so that of an error or a loss is told to it with a minus. People are
shown natural values.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # every command line begins with this module, so it loads nothing
    from auxtune.orchestrator.record.accounts import Accounts, Trial
    from auxtune.selectors.protocol import Outcome
    from auxtune.trials.recipe import SearchScore

_LOSSES = {"loss": "loss", "relative_loss": "relative loss"}


def show_value(value: float, search_score: SearchScore) -> str:
    """A score as it was measured: the metric as it is, or ``loss 0.4312``, of which the lowest is the best."""
    return f"{value:.4f}" if search_score == "metric" else f"{_LOSSES[search_score]} {value:.4f}"


def name_value(value: float, search_score: SearchScore) -> str:
    """As ``show_value``, with a word before it in either case: ``score 0.8123`` or ``loss 0.4312``."""
    return ("score " if search_score == "metric" else "") + show_value(value, search_score)


def describe_value(value: float, search_score: SearchScore) -> str:
    """As ``show_value``, to stand in a sentence: ``score of 0.8123`` or ``loss of 0.4312``."""
    return f"{_LOSSES.get(search_score, 'score')} of {value:.4f}"


def label_values(metric: str, search_score: SearchScore) -> str:
    """The name of an axis or column of such values where the main metric is ``metric``."""
    return _LOSSES.get(search_score, metric)


def sign_of(mains: Iterable[str], search_score: SearchScore = "metric") -> int:
    """The factor from a score by the main metrics ``mains`` to the measured value: −1 if lower is better, else 1.

    Where ``search_score`` is a loss, lower is better whatever the metrics are.
    """
    from auxtune.trials.metrics import find_direction

    if search_score != "metric":
        return -1
    directions = [find_direction(metric) for metric in mains]
    return -1 if directions and max(directions) < 0 else 1


def sign_of_outcome(outcome: Outcome, search_score: SearchScore = "metric") -> int:
    """``sign_of`` the tasks that were scored; the first metric of a task is its main one."""
    return sign_of((next(iter(metrics)) for metrics in outcome.metrics.values() if metrics), search_score)


def sign_in(accounts: Accounts) -> int:
    """``sign_of`` the scores that the study compares; 1 before there is one."""
    if accounts.search_score != "metric":
        return -1
    primary = accounts.sessions[-1].opened.problem.primary if accounts.sessions else None
    told = (trial.told for trial in accounts.trials.values() if trial.told is not None)
    scored = (each.outcome for each in told if each.outcome.ok)
    return next((sign_of_outcome(outcome) for outcome in scored if primary is None or primary in outcome.metrics), 1)


def show_score(trial: Trial, search_score: SearchScore = "metric") -> float | None:
    """The trial's score as it was measured, once told; ``search_score`` is what the study's scores are."""
    if trial.told is None or trial.score is None:
        return None
    return sign_of_outcome(trial.told.outcome, search_score) * trial.score
