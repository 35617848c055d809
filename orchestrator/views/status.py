"""Where a study stands, read from its ledger alone: also while another process runs it."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from auxtune.orchestrator.answer.answer import cost_of
from auxtune.orchestrator.answer.recommendation import recommendation_of
from auxtune.orchestrator.answer.verdict import verdict
from auxtune.orchestrator.planning.budget import confirm_trials, price_of, spent_of
from auxtune.orchestrator.record.accounts import Accounts, Trial, concurrency_of
from auxtune.orchestrator.record.events import PHASES
from auxtune.orchestrator.record.scores import shown_score
from auxtune.orchestrator.record.standing import counted, is_alive, state_of
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.views.confirmed import answer_in
from auxtune.selectors.protocol import Selection


def status_of(folder: Path, accounts: Accounts, options: StudyOptions) -> dict[str, Any]:
    """The state of the study in ``folder`` as JSON values."""
    trials = list(accounts.trials.values())
    alive = is_alive(folder, accounts)
    selected, best = accounts.selected, accounts.best
    limit = options.budget.wall_hours
    concurrency = concurrency_of(accounts)
    cost = cost_of(accounts, price_of(options), time.time() if alive else None)
    state = state_of(accounts, alive)
    answer = answer_in(folder) if state == "done" else None
    return {
        "study": options.study,
        "state": state,
        "sessions": len(accounts.sessions),
        "proposals": len(trials),
        "attempts": sum(len(trial.attempts) for trial in trials),
        "results": sum(trial.told is not None for trial in trials),
        "trials": counted(accounts),
        "phases": {phase: len(accounts.in_phase(phase)) for phase in PHASES},
        "concurrency": asdict(concurrency) if concurrency else None,
        "best": short(best, accounts) if best else None,
        "running": [short(trial, accounts) for trial in trials if trial.status == "running"],
        **chosen(selected.selection if selected else None),
        "recommended": recommendation_of(answer).arm if answer else None,
        "answer": verdict(answer) if answer else None,
        "confirm_trials": confirm_trials(options),
        "budget": options.budget.model_dump(mode="json"),
        "spent": spent_of(options.budget, cost),
        "hours_left": None if limit is None else max(0.0, limit - cost["wall_hours"]),
        "cost": cost,
    }


def chosen(selection: Selection | None) -> dict[str, Any]:
    """The tasks of the answer, and their groups if it has any; ``None`` before there is one."""
    grouped = selection.groups if selection and selection.kind == "groups" else None
    groups = [list(group["tasks"]) for group in grouped or ()]
    tasks = list(dict.fromkeys(task for group in groups for task in group))
    return {"selected": tasks or (list(selection.tasks) if selection else None), "groups": groups or None}


def short(trial: Trial, accounts: Accounts) -> dict[str, Any]:
    """One trial in a line's worth of JSON values; ``value`` is its score as it was measured."""
    return {
        "trial": trial.id,
        "phase": trial.phase,
        "tasks": list(trial.proposal.tasks),
        "weights": dict(trial.proposal.weights) if trial.proposal.weights else None,
        "score": trial.score,
        "value": shown_score(trial, accounts.search_score),
        "search_score": accounts.search_score,
        "attempts": len(trial.attempts),
    }
