"""Tells whether an answer still holds: not if all its trials failed, and not if its selector now reads another one.

Where all trials of the search failed, a selector knows only what it knew before, which is no finding; where all
trainings of a selection failed, it was never measured. Either way there is no answer, whatever a selector or an arm
would say. The next session tries all of these trials again, since the cause may have been mended.

Where a selector now reads the same trials differently than when its answer was recorded, its new choice has not been
measured. So the recorded answer stands until `resume` confirms the new one, and pages of the study name both.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import SELECTORS
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import quote_path
from auxtune.selectors.protocol import Proposal, Selection

FailedPart: TypeAlias = Literal["search", "confirm"]


def find_failed_part(accounts: Accounts, confirmation: Confirmation) -> FailedPart | None:
    """The part of the study all of whose trials failed, of confirm those of the selection itself.

    ``None`` while one of them has not ended, and before there is any.
    """
    if _has_all_failed(accounts.in_phase(*SELECTORS)):
        return "search"
    if accounts.selected is None:
        return None
    ours = confirmation.arms(accounts.selected.selection)[SELECTION]
    found = [confirmation.find(accounts, proposal) for trainings in ours for proposal in trainings]
    return "confirm" if None not in found and _has_all_failed(filter(None, found)) else None


def list_failed_trials(accounts: Accounts, part: FailedPart) -> tuple[int, ...]:
    """The ids of the trials that failed with a part and still count; with a failed search, confirm's among them."""
    trials = accounts.in_phase("confirm") if part == "confirm" else accounts.trials.values()
    return tuple(trial.id for trial in trials if trial.status == "failed" and not trial.tried_again)


def _has_all_failed(trials: Iterable[Trial]) -> bool:
    statuses = [trial.status for trial in trials]
    return bool(statuses) and set(statuses) == {"failed"}


@dataclass(frozen=True)
class NewReading:
    """The ``recorded`` answer and what the selector answers ``now``; ``owed`` is what confirm still takes of that."""

    recorded: Selection
    now: Selection
    reading: int
    owed: tuple[Proposal, ...]

    @property
    def is_another(self) -> bool:
        """Whether it is another choice, and not the same one for other reasons."""
        return _strip_beliefs(self.recorded) != _strip_beliefs(self.now)

    def describe(self, folder: StoredPath, trained: int, limit: int | None) -> str:
        """Say what became of the answer. ``limit`` is the budget's in trials, of which some were ``trained``.

        Where the limit is too low for what is owed, the command raises it.
        """
        if not self.is_another:
            return "Read again, the same trials choose the same tasks; what the selector holds true is of that reading."
        needed = trained + len(self.owed)
        more = f" --set budget.trials={needed}" if limit is not None and needed > limit else ""
        owed = "1 more trial" if len(self.owed) == 1 else f"{len(self.owed)} more trials"
        takes = f"in {owed}" if self.owed else "without another trial"
        return (
            f"Read again, the same trials choose {_describe_selection(self.now)}. The recorded answer is "
            f"{_describe_selection(self.recorded)}: lift, test scores and contributions are of that, what the selector "
            "holds true is of the new reading. "
            f"`auxtune resume {quote_path(folder)}{more}` confirms the new choice {takes}, its budget allowing."
        )


def find_new_reading(accounts: Accounts, fold: SelectorFold, confirmation: Confirmation) -> NewReading | None:
    """The new reading of a recorded answer's trials; ``None`` where the selector reads them as it did then.

    ``fold`` is after all events of the ledger. Raises what the selector's answer raises.
    """
    recorded = accounts.selected
    if recorded is None or recorded.reading >= (reading := fold.reading):
        return None
    now = fold.select()
    return NewReading(
        recorded.selection, now, reading, tuple(proposal for _, proposal in confirmation.missing(now, accounts))
    )


def _strip_beliefs(selection: Selection) -> Selection:
    """A selection reduced to what is trained, without the selector's beliefs."""
    return replace(selection, belief={}, ranking=None, stability=None)


def _describe_selection(selection: Selection) -> str:
    if selection.kind == "groups":
        return " | ".join(" + ".join(group["tasks"]) for group in selection.groups or ())
    weights = selection.weights or {}
    return " + ".join(f"{task} {weights[task]:.0%}" if task in weights else task for task in selection.tasks)
