"""Whether what an answer would rest on failed altogether: then there is none, whatever a selector or an arm would say.

A search of which nothing came leaves a selector what it knew before, which is no finding; and a selection none of whose
trainings ended was never measured. Another session tries all of that again: why it failed may have been mended.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, TypeAlias

from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import SELECTORS

Vain: TypeAlias = Literal["search", "confirm"]


def vain_part(accounts: Accounts, confirmation: Confirmation) -> Vain | None:
    """The part of the study all of whose trials failed, of confirm those of the selection itself.

    ``None`` while one of them has not ended, and before there is any.
    """
    if _all_failed(accounts.in_phase(*SELECTORS)):
        return "search"
    if accounts.selected is None:
        return None
    ours = confirmation.arms(accounts.selected.selection)[SELECTION]
    found = [confirmation.find(accounts, proposal) for trainings in ours for proposal in trainings]
    return "confirm" if None not in found and _all_failed(filter(None, found)) else None


def failed_in(accounts: Accounts, part: Vain) -> tuple[int, ...]:
    """The ids of the trials that failed with a part and still count; what was confirmed of no search goes with it."""
    trials = accounts.in_phase("confirm") if part == "confirm" else accounts.trials.values()
    return tuple(trial.id for trial in trials if trial.status == "failed" and not trial.tried_again)


def _all_failed(trials: Iterable[Trial]) -> bool:
    statuses = [trial.status for trial in trials]
    return bool(statuses) and set(statuses) == {"failed"}
