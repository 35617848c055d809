"""An answer that was recorded when its selector still read it in an older way out of the same trials.

Nothing was measured of what it would choose now, so the recorded answer stands until `resume` confirms the new one,
and whoever shows the study says both.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.orchestrator.typed import typed
from auxtune.selectors.protocol import Proposal, Selection


@dataclass(frozen=True)
class ReadAnew:
    """The ``recorded`` answer and what the selector answers ``now``; ``owed`` is what confirm still takes of that."""

    recorded: Selection
    now: Selection
    reading: int
    owed: tuple[Proposal, ...]

    @property
    def is_another(self) -> bool:
        """Whether it is another choice, and not the same one for other reasons."""
        return _choice(self.recorded) != _choice(self.now)

    def describe(self, folder: Path, trained: int, limit: int | None) -> str:
        """What became of the answer, for people. ``limit`` is the budget's in trials, of which some were ``trained``.

        Where the limit is too low for what is owed, the command raises it.
        """
        if not self.is_another:
            return "Read anew, the same trials choose the same tasks; what the selector holds true is of that reading."
        needed = trained + len(self.owed)
        more = f" --set budget.trials={needed}" if limit is not None and needed > limit else ""
        owed = "1 more trial" if len(self.owed) == 1 else f"{len(self.owed)} more trials"
        takes = f"in {owed}" if self.owed else "without another trial"
        return (
            f"Read anew, the same trials choose {_words(self.now)}. The recorded answer is {_words(self.recorded)}: "
            "lift, test scores and contributions are of that, what the selector holds true is of the new reading. "
            f"`auxtune resume {typed(folder)}{more}` confirms the new choice {takes}, its budget allowing."
        )


def read_anew(accounts: Accounts, fold: SelectorFold, confirmation: Confirmation) -> ReadAnew | None:
    """What is read now out of the trials of a recorded answer; ``None`` where that is how it was read then.

    ``fold`` is after all events of the ledger. Raises what the selector's answer raises.
    """
    recorded = accounts.selected
    if recorded is None or recorded.reading >= (reading := fold.reading):
        return None
    now = fold.select()
    return ReadAnew(
        recorded.selection, now, reading, tuple(proposal for _, proposal in confirmation.missing(now, accounts))
    )


def _choice(selection: Selection) -> Selection:
    """What is trained of an answer, without what was thought of it."""
    return replace(selection, belief={}, ranking=None, stability=None)


def _words(selection: Selection) -> str:
    if selection.kind == "groups":
        return " | ".join(" + ".join(group["tasks"]) for group in selection.groups or ())
    weights = selection.weights or {}
    return " + ".join(f"{task} {weights[task]:.0%}" if task in weights else task for task in selection.tasks)
