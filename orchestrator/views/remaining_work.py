"""The work that remains in a study, and about how long it will take at the pace of its finished trials."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import fmean

from auxtune.orchestrator.answer.cost import measure_concurrency
from auxtune.orchestrator.planning.arms import EQUAL_COST
from auxtune.orchestrator.planning.budget import count_control_trials, count_search_trials, estimate_passing
from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.study_file.models import BudgetOptions
from auxtune.selectors.protocol import Proposal


def describe_remaining_work(
    accounts: Accounts, confirmation: Confirmation, limits: BudgetOptions, translator: Translator
) -> str:
    """The trials that are still to begin, and, where their number is known, about how long they will take."""
    if (selected := accounts.selected_under(limits)) is None:
        return _describe_search(accounts, confirmation, limits, translator)
    if confirmation.has_open_control(accounts, limits):
        held, left = confirmation.missing_with_control(selected.selection, accounts), count_control_trials(accounts)
        about = f", about {_count_trials(left, 'more ')}" if left else ""
        until = f"{EQUAL_COST} continues until it has cost as much as the search{about}"
        return f"{until}, then {_count_trials(len(held))} to confirm"
    owed = [proposal for _, proposal in confirmation.missing(selected.selection, accounts)]
    if not owed:
        return "the answer" if not accounts.unfinished else "the answer, when the running trials have ended"
    lasting = _describe_lasting("about", owed, [], accounts, translator)
    return f"{_count_trials(len(owed), 'more ')} to confirm, then the answer{lasting}"


def _describe_search(
    accounts: Accounts, confirmation: Confirmation, limits: BudgetOptions, translator: Translator
) -> str:
    held = confirmation.left(accounts)
    controlled = EQUAL_COST in confirmation.controls
    control = f"then {EQUAL_COST} at the same cost, " if controlled else ""
    confirming = f"{control}then {_count_trials(len(held))} to confirm"
    others = [key for key, limit in limits.model_dump().items() if limit is not None and key != "trials"]
    if limits.trials is None:
        return f"the search continues until {' or '.join(others)} would not last for confirm, {confirming}"
    owed = count_control_trials(accounts) if controlled else 0
    left = count_search_trials(limits.trials - accounts.trained - len(held), controlled, owed)
    unless = f", unless {' or '.join(others)} end it before" if others else ""
    searching = (
        f"at most {_count_trials(left, 'more ')} of the search{unless}" if left else "the running search trials end"
    )
    like = [trial.proposal for trial in accounts.of_selector if trial.proposal.trains]
    trials = 2 * left + owed if controlled else left
    lasting = _describe_lasting("at most about" if left else "about", held, like[-1:] * trials, accounts, translator)
    return f"{searching}, {confirming}{lasting}"


def _describe_lasting(
    about: str, held: Sequence[Proposal], search: Sequence[Proposal], accounts: Accounts, translator: Translator
) -> str:
    """How long, if any trial shows the pace; half of each running trial is taken to be left."""
    told = [trial for trial in accounts.trials.values() if trial.shows_throughput and translator.steps(trial.proposal)]
    at_once = measure_concurrency(accounts)
    if not told or at_once is None:
        return ""
    pace = fmean(sum(c.wall_seconds for c in trial.costs) / translator.steps(trial.proposal) for trial in told)
    begun = [translator.steps(trial.proposal) / 2 for trial in accounts.unfinished]
    steps = sum(
        estimate_passing(each, at_once.peak)
        for each in ([*begun, *map(translator.steps, search)], [translator.steps(each) for each in held])
        if each
    )
    return f"; {about} {format_duration(steps * pace)} at the pace so far"


def format_duration(seconds: float) -> str:
    """Seconds as people say them: ``42 s``, ``7 min``, ``3 h 05 min``."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 90 else f"{minutes // 60} h {minutes % 60:02d} min"


def _count_trials(count: int, more: str = "") -> str:
    return f"1 {more}trial" if count == 1 else f"{count} {more}trials"
