"""The results of confirm, in lines: of the selection so far by the seeds that are in, or as the answer has them."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import fmean

from auxtune.orchestrator.answer.answer import Answer, read_answer
from auxtune.orchestrator.answer.verdict import SAME, format_interval, write_verdict
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.arms import SELECTION, Trainings, is_same_arm
from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.trials.metrics import find_direction


def find_answer(folder: StoredPath) -> Answer | None:
    """The answer in ``selection.json``; ``None`` before there is one that can be read."""
    try:
        return read_answer(folder)
    except AuxtuneError:  # the report on the study says what is wrong with it
        return None


def describe_confirmed(answer: Answer) -> Iterator[str]:
    """The verdict, then the lifts that it does not tell."""
    yield write_verdict(answer)
    for control, lift in answer.lift.items():
        if lift is not None and lift.same_training:
            yield f"{control} is {SAME}"
        elif lift is not None and control != "single_task":
            yield f"{lift.mean:+.4f} over {control} ({format_interval(lift, '95 % interval ')})"


def describe_confirmed_so_far(accounts: Accounts, confirmation: Confirmation) -> Iterator[str]:
    """The selection's mean lift over each control, by the seeds that both have; nothing before there is one.

    Without an interval, because seeds are missing. Without a primary nothing: it is not known yet who serves a task.
    """
    primary, selected = confirmation.problem.primary, accounts.selected
    # Where the session has not begun to confirm, an earlier one's answer still stands.
    if primary is None or selected is None or not _has_begun_to_confirm(accounts):
        return
    trained = confirmation.arms(selected.selection)
    arms = {
        name: [_find_test_score(accounts, trainings, primary) for trainings in per_seed]
        for name, per_seed in trained.items()
        if name == SELECTION or not is_same_arm(trained[SELECTION], per_seed)
    }
    ours, first = arms.pop(SELECTION), True
    for name, theirs in arms.items():
        gains = [a - b for a, b in zip(ours, theirs, strict=True) if a is not None and b is not None]
        if gains:
            if first:
                yield "on the test split so far, no interval while seeds are missing:"
            first = False
            yield f"{fmean(gains):+.4f} over {name} (seeds: {len(gains)} of {len(ours)})"


def _has_begun_to_confirm(accounts: Accounts) -> bool:
    session = accounts.sessions[-1].opened.session
    confirm = accounts.in_phase("confirm")
    return any(attempt.session == session for trial in confirm for attempt in trial.attempts)


def _find_test_score(accounts: Accounts, trainings: Trainings, primary: str) -> float | None:
    """The primary's score on the test split, by its main metric, of a training that has it."""
    found = [Confirmation.find(accounts, proposal) for proposal in trainings]
    scores = [trial.told.test.get(primary, {}) for trial in found if trial is not None and trial.told]
    return next((find_direction(metric) * value for each in scores for metric, value in each.items()), None)
