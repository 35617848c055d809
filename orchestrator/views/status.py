"""Where a study stands, read from its ledger alone: also while another process runs it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

from auxtune.orchestrator.answer.cost import StudyCost, measure_concurrency, sum_cost
from auxtune.orchestrator.answer.verdict import write_verdict
from auxtune.orchestrator.planning.budget import confirm_trials, divide_trials, has_equal_cost, list_spending, price_of
from auxtune.orchestrator.record.accounts import Accounts, Trial, count_trials, find_study_status
from auxtune.orchestrator.record.driver import is_alive, read_study_time
from auxtune.orchestrator.record.events import PHASES
from auxtune.orchestrator.record.scores import show_score, show_value
from auxtune.orchestrator.report.blocks import Paragraph
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.views.confirmed import find_answer
from auxtune.orchestrator.views.summary import list_node_lines
from auxtune.selectors.protocol import Selection


def describe_status(folder: StoredPath, accounts: Accounts, options: StudyOptions) -> dict[str, Any]:
    """The state of the study in ``folder`` as JSON values."""
    trials = list(accounts.trials.values())
    alive = is_alive(folder, accounts)
    selected, best = accounts.selected, accounts.best
    limit = options.budget.wall_hours
    concurrency = measure_concurrency(accounts)
    cost = asdict(sum_cost(accounts, price_of(options), read_study_time(folder) if alive else None))
    state = find_study_status(accounts, alive)
    answer = find_answer(folder) if state == "done" else None
    return {
        "study": options.study,
        "state": state,
        "sessions": len(accounts.sessions),
        "proposals": len(trials),
        "attempts": sum(len(trial.all_attempts) for trial in trials),
        "results": sum(trial.told is not None for trial in trials),
        "trials": count_trials(accounts),
        "phases": {phase: len(accounts.in_phase(phase)) for phase in PHASES},
        **({"negative_figures": accounts.negative_figures} if accounts.negative_figures else {}),
        "concurrency": asdict(concurrency) if concurrency else None,
        "best": shorten_trial(best, accounts) if best else None,
        "running": [shorten_trial(trial, accounts) for trial in trials if trial.status == "running"],
        **describe_chosen(selected.selection if selected else None),
        "recommended": answer.recommendation.arm if answer else None,
        "answer": write_verdict(answer) if answer else None,
        "confirm_trials": confirm_trials(options),
        **_count_control_trials(options),
        "budget": options.budget.model_dump(mode="json"),
        "spent": list_spending(options.budget, cost),
        "hours_left": None if limit is None else max(0.0, limit - cost["wall_hours"]),
        "cost": cost,
    }


def list_status_blocks(status: Mapping[str, Any]) -> Iterator[Paragraph]:
    """The values of ``describe_status``, with ``differences`` where proposals were verified, as lines."""
    return map(Paragraph, _list_status_lines(status))


def describe_chosen(selection: Selection | None) -> dict[str, Any]:
    """The tasks of the answer, and their groups if it has any; ``None`` before there is one."""
    grouped = selection.groups if selection and selection.kind == "groups" else None
    groups = [list(group["tasks"]) for group in grouped or ()]
    tasks = list(dict.fromkeys(task for group in groups for task in group))
    return {"selected": tasks or (list(selection.tasks) if selection else None), "groups": groups or None}


def shorten_trial(trial: Trial, accounts: Accounts) -> dict[str, Any]:
    """One trial in a line's worth of JSON values; ``value`` is its score as it was measured."""
    return {
        "trial": trial.id,
        "phase": trial.phase,
        "tasks": list(trial.proposal.tasks),
        "weights": dict(trial.proposal.weights) if trial.proposal.weights else None,
        "score": trial.score,
        "value": show_score(trial, accounts.search_score),
        "search_score": accounts.search_score,
        "attempts": len(trial.attempts),
    }


def _list_status_lines(status: Mapping[str, Any]) -> Iterator[str]:
    trials, cost, best = status["trials"], status["cost"], status["best"]
    yield f"{status['study']}: {status['state']}, {status['sessions']} sessions"
    yield (
        f"{status['proposals']} proposals, {status['attempts']} attempts, {status['results']} results: "
        + ", ".join(f"{count} {state}" for state, count in trials.items())
    )
    phases = [f"{phase} {count}" for phase, count in status["phases"].items() if count]
    yield f"phases: {', '.join(phases) or 'none yet'}"
    if status["concurrency"]:
        yield "at once: {mean:.2f} trials on average, {peak} at the most".format(**status["concurrency"])
    for trial in status["running"]:
        yield f"running: {trial['phase']} {trial['trial']:04d} {' + '.join(trial['tasks'])}"
    if best:
        shown = show_value(best["value"], best["search_score"])
        yield f"best so far: {shown} by trial {best['trial']:04d} {' + '.join(best['tasks'])}"
    if status["selected"]:
        yield f"selected: {' | '.join(map(' + '.join, status['groups'] or [status['selected']]))}"
    if status["answer"]:
        yield f"answer: {status['answer']}"
    money = "unknown" if cost["usd"] is None else f"{cost['usd']:.2f} USD"
    yield (
        f"cost: {cost['wall_hours'] * 60:.1f} minutes, {cost['cpu_hours']:.3f} CPU hours, "
        f"{cost['gpu_hours']:.3f} GPU hours, money {money}; budget: {', '.join(_list_budget(status))}"
    )
    for line in list_node_lines(StudyCost.from_json(cost)):
        yield line[0].lower() + line[1:]
    if negative := status.get("negative_figures"):
        yield f"warning: {negative} costs and durations in the ledger are below 0, and count as 0"
    if status["hours_left"] is not None:
        yield f"time left: {status['hours_left'] * 60:.1f} minutes"
    if "differences" in status:
        verified = "verified: every recorded proposal follows from the events before it"
        yield from status["differences"] or [verified]
        if status["not_asked_again"] is not None:
            yield status["not_asked_again"]
        gone = f"; of {status['gone']} more the result is gone" if status["gone"] else ""
        yield f"compared with their own results: the scores and costs of {status['compared']} attempts{gone}"


def _count_control_trials(options: StudyOptions) -> dict[str, int]:
    """The trials for a control that searches by itself, of a limited budget; nothing where there is none."""
    if options.budget.trials is None or not has_equal_cost(options):
        return {}
    return {"control_trials": divide_trials(options, options.budget.trials).control}


def _list_budget(status: Mapping[str, Any]) -> list[str]:
    """The amount spent of each limit; of trials also their purposes, as in ``(20 confirm, 4 search)``."""
    limit, control = status["budget"]["trials"] or 0, status.get("control_trials")
    confirm = min(limit, status["confirm_trials"])
    controlled = "" if control is None else f", {control} control"
    parts = f" ({confirm} confirm, {limit - confirm - (control or 0)} search{controlled})"
    return [f"{said}{parts}" if said.startswith("trials ") else said for said in status["spent"]]
