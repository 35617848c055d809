"""What an export makes: one model of a mixture, or one for each group that serves a task."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from auxtune.orchestrator.answer.answer import read_answer
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.standing import is_alive, state_of
from auxtune.orchestrator.typed import typed
from auxtune.selectors.protocol import Proposal


@dataclass(frozen=True)
class Wanted:
    """One model: its executed proposal and the tasks it serves. ``name`` is its folder in the export, "" the whole."""

    name: str
    proposal: Proposal
    serves: tuple[str, ...]


def confirmed_answer(folder: Path, accounts: Accounts) -> Mapping[str, Any]:
    """``selection.json`` of the finished study in ``folder``.

    Raises ``AuxtuneError`` where the study is not finished, or its answer cannot be read.
    """
    state = state_of(accounts, is_alive(folder, accounts))
    if state != "done":
        reached = "no answer yet" if accounts.selected is None else "a selection that is not confirmed yet"
        hint = "wait for it" if state == "running" else f"`auxtune resume {typed(folder)}` goes on to its answer"
        raise AuxtuneError(f"{folder}: expected a finished study, found one that is {state}, with {reached}; {hint}")
    if (content := read_answer(folder)) is None:
        again = f"`auxtune resume {typed(folder)}` writes it again"
        raise AuxtuneError(f"{folder}: expected its selection.json, found none; {again}")
    return content


def wanted_models(
    folder: Path, answer: Mapping[str, Any], accounts: Accounts, confirmation: Confirmation, seed: int,
    group: int | None,
) -> list[Wanted]:
    """The selection as confirm trains it, with ``seed``; of groups, those that serve a task, or the one asked for.

    Groups count from 1 in the order of the answer. Raises ``AuxtuneError`` for one that there is not, and where
    ``answer`` is not of this selection.
    """
    if accounts.selected is None:
        raise AuxtuneError(f"{folder}: its ledger holds no selection; `auxtune resume {typed(folder)}` goes on to one")
    executed = confirmation.arms(accounts.selected.selection)[SELECTION][0]
    proposals = [replace(proposal, seed=seed) for proposal in executed]
    if confirmation.problem.primary is not None:
        if group is not None:
            raise AuxtuneError(f"{folder}: --group is for studies with `objective: groups`; this one has one model")
        [proposal] = proposals
        _check(folder, (dict(proposal.weights) if proposal.weights else None) == answer["weights"])
        return [Wanted("", proposal, confirmation.serves)]
    groups = answer["groups"] or []
    _check(folder, [list(proposal.tasks) for proposal in proposals] == [each["tasks"] for each in groups])
    numbered = [
        Wanted(f"group-{number}", proposal, tuple(each["serves"]))
        for number, (proposal, each) in enumerate(zip(proposals, groups, strict=True), start=1)
    ]
    serving = [wanted for wanted in numbered if wanted.serves]
    if group is None:
        return serving
    asked = [wanted for wanted in serving if wanted.name == f"group-{group}"]
    if not asked:
        known = "; ".join(f"{w.name.removeprefix('group-')} ({' + '.join(w.proposal.tasks)})" for w in serving)
        raise AuxtuneError(f"{folder}: expected a group that serves a task, {known}; found {group}")
    return [replace(asked[0], name="")]


def _check(folder: Path, agrees: bool) -> None:
    if not agrees:
        path = folder / "selection.json"
        again = f"`auxtune resume {typed(folder)}` writes it again"
        raise AuxtuneError(f"{path}: is not of the selection in the ledger; {again}")
