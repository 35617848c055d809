"""The answer in words, from the content of ``selection.json``: what the terminal, the page and MLflow begin with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.standing import counted


def verdict(selection: Mapping[str, Any]) -> str:
    """The answer in one sentence, with its doubt; ``selection`` is the content of ``selection.json``."""
    primary = selection["primary"]
    if primary is None:
        return _groups_verdict(selection)
    chosen = [task for task in selection["weights"] or {} if task != primary]
    if not chosen:
        return f"Train {primary} alone: no auxiliary was chosen."
    together = f"Train {primary} with {', '.join(chosen)}"
    lift = selection["lift"].get("single_task")
    if lift is None:
        return f"{together}. Its gain over single task was not measured."
    size = f"{lift['mean']:+.4f} {lift['metric']}"
    if lift["low"] is None:
        return f"{together}: {size} over single task, of unknown certainty (fewer than 4 seeds)."
    found = f"{size}, 95 % interval {lift['low']:+.4f} to {lift['high']:+.4f}"
    if lift["low"] > 0:
        return f"{together}: a gain over single task of {found}."
    if lift["high"] < 0:
        return f"{together} hurts against single task: {found}. Train {primary} alone."
    return f"No measurable gain over single task ({found}). The choice was {primary} with {', '.join(chosen)}."


def unanswered(accounts: Accounts, state: str) -> str:
    """Where a study stands that has no answer; ``state`` is ``running``, ``interrupted`` or ``failed``."""
    trials = counted(accounts)
    told = len(accounts.trials) - trials["waiting"] - trials["running"]
    stage = "being confirmed" if accounts.selected else "still being searched for"
    return f"There is no answer yet: the study is {state} after {told} ended trials, its answer {stage}."


def interval(gain: Mapping[str, Any], name: str = "") -> str:
    """The bounds of a lift or contribution, with a ``name`` before them, or what they would take."""
    return "needs 4 seeds" if gain["low"] is None else f"{name}{gain['low']:+.4f} … {gain['high']:+.4f}"


def _groups_verdict(selection: Mapping[str, Any]) -> str:
    models = [group for group in selection["groups"] if group["serves"]]
    together = f"Serve {_models(len(models))}: {'; '.join(map(_described, models))}"
    lift = selection["lift"].get("single_task")
    if lift is None:
        return f"{together}. Its gain over single task was not measured."
    size = f"{lift['mean']:+.4f} on average over {len(lift['tasks'])} tasks"
    alone = f"single task, which takes {_models(lift['models'])}"
    if lift["low"] is None:
        return f"{together}: {size} over {alone}, of unknown certainty (fewer than 4 seeds)."
    found = f"{size}, 95 % interval {lift['low']:+.4f} to {lift['high']:+.4f}"
    if lift["low"] > 0:
        return f"{together}: a gain of {found}, over {alone}."
    if lift["high"] < 0:
        return f"{together}: a loss of {found}, against {alone}."
    return f"{together}. No measurable gain over {alone} ({found})."


def _models(count: int) -> str:
    return "1 model" if count == 1 else f"{count} models"


def _described(group: Mapping[str, Any]) -> str:
    """A model's tasks, and which of them it serves if it does not serve all."""
    tasks = " + ".join(group["tasks"])
    return tasks if group["serves"] == group["tasks"] else f"{tasks} (for {', '.join(group['serves'])})"
