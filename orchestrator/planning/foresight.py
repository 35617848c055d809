"""What a study would train from here on, as far as that can be known before it is trained."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from auxtune.orchestrator.planning.arms import Trainings
from auxtune.orchestrator.planning.confirm import Confirmation, is_among
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import SELECTORS, Proposed, as_recorded
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.selectors.protocol import Done, Proposal

AHEAD = 50  # questions to a selector: enough to see its kinds of trials


@dataclass(frozen=True)
class Foreseen:
    """The search trials that the selector asks for before it is told anything more.

    The first ``waiting`` were proposed before and have not ended. ``last`` means that it asks for no others, whatever
    comes of these; ``alike`` that those after them, if any, are of the same kind as far as was asked.
    """

    proposals: tuple[Proposal, ...]
    waiting: int
    last: bool
    alike: bool


def foresee(fold: SelectorFold, accounts: Accounts, execute: Callable[[Proposal], Proposal]) -> Foreseen:
    """Ask ``fold`` until it waits, is done, or was asked ``AHEAD`` times.

    It is after all events that ``accounts`` are of, and after what it is asked for when this returns.
    """
    waiting = [trial.proposal for trial in accounts.unfinished if trial.phase in SELECTORS]
    asked: list[Proposal] = []
    while len(asked) < AHEAD:
        answer = fold.propose()
        if not isinstance(answer, Proposal):
            done = isinstance(answer, Done)
            return Foreseen((*waiting, *asked), len(waiting), last=done, alike=done)
        asked.append(as_recorded(execute(answer)))
        number = len(accounts.trials) + len(asked)  # no trial of the ledger has it
        fold.add(Proposed(id=number, time=0.0, proposal=asked[-1], phase="search", after=fold.after))
    return Foreseen((*waiting, *asked), len(waiting), last=False, alike=True)


@dataclass(frozen=True)
class Arm:
    """One side of the final comparison, with ``seeds`` seeds, of whose trainings ``missing`` are still to be done.

    ``expected`` is what is trained with one seed, a proposal per model, or, where ``known`` is false, what stands for
    it until the selection is there.
    """

    name: str
    seeds: int
    missing: tuple[Proposal, ...]
    expected: Trainings
    known: bool


def arms_of(confirmation: Confirmation, accounts: Accounts, searched: bool) -> list[Arm]:
    """All arms of confirm. ``searched``: the ledger's selection is the answer that would be confirmed.

    Of arms that ask for the same training, the first has it.
    """
    known = searched and accounts.selected is not None
    arms: Mapping[str, Sequence[Trainings]] = (
        confirmation.arms(accounts.selected.selection)
        if searched and accounts.selected is not None
        else confirmation.expected(accounts)
    )
    asked: list[Proposal] = []
    found = []
    for name, per_seed in arms.items():
        certain = known or not confirmation.depends(name)
        missing = [
            proposal
            for trainings in per_seed
            for proposal in trainings
            if not certain or (not is_among(proposal, asked) and not _ended(confirmation.find(accounts, proposal)))
        ]
        if certain:
            asked += missing
        found.append(Arm(name, len(per_seed), tuple(missing), per_seed[0], certain))
    return found


def _ended(trial: Trial | None) -> bool:
    return trial is not None and trial.told is not None
