"""The models that an export makes of an arm: one model of a mixture, or one for each group that serves a task."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from auxtune.orchestrator.answer.answer import Answer, Group, read_answer
from auxtune.orchestrator.answer.serving import form_groups
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.confirm import Confirmation
from auxtune.orchestrator.record.accounts import Accounts, find_study_status
from auxtune.orchestrator.record.driver import is_alive
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import quote_path
from auxtune.selectors.protocol import Proposal


@dataclass(frozen=True)
class ModelSpec:
    """One model: its executed proposal and the tasks it serves. ``name`` is its folder in the export, "" the whole."""

    name: str
    proposal: Proposal
    serves: tuple[str, ...]


def read_confirmed_answer(folder: StoredPath, accounts: Accounts) -> Answer:
    """The answer of the finished study in ``folder``.

    Raises ``AuxtuneError`` where the study is not finished, or its answer cannot be read.
    """
    state = find_study_status(accounts, is_alive(folder, accounts))
    if state != "done":
        reached = "no answer yet" if accounts.selected is None else "a selection that is not confirmed yet"
        hint = "wait for it" if state == "running" else f"`auxtune resume {quote_path(folder)}` continues to its answer"
        raise AuxtuneError(f"{folder}: expected a finished study, found one that is {state}, with {reached}; {hint}")
    if (answer := read_answer(folder)) is None:
        again = f"`auxtune resume {quote_path(folder)}` writes it again"
        raise AuxtuneError(f"{folder}: expected its selection.json, found none; {again}")
    return answer


def model_specs(
    folder: StoredPath,
    answer: Answer,
    accounts: Accounts,
    confirmation: Confirmation,
    seed: int,
    group: int | None,
    arm: str = SELECTION,
) -> list[ModelSpec]:
    """An ``arm`` as confirm trains it, with ``seed``; of groups, those that serve a task, or the one asked for.

    Of a control that draws again for each seed it is confirm's first draw. Groups count from 1 in the order of the
    answer. Raises ``AuxtuneError`` for an unknown arm or group, and where ``answer`` is not of this selection.
    """
    if accounts.selected is None:
        raise AuxtuneError(f"{folder}: its ledger holds no selection; `auxtune resume {quote_path(folder)}` makes one")
    arms = confirmation.arms(accounts.selected.selection)
    if arm not in arms:
        known = ", ".join(arms)
        raise AuxtuneError(f"{folder}: expected --arm to be one of what the study confirmed, {known}; found {arm}")
    if not arms[arm][0]:
        raise AuxtuneError(f"{folder}: expected --arm to be an arm that was trained; {arm} came to no mixture")
    _check(folder, answer, arms[SELECTION][0])
    proposals = [replace(proposal, seed=seed) for proposal in arms[arm][0]]
    if confirmation.problem.primary is not None:
        if group is not None:
            raise AuxtuneError(f"{folder}: --group is for studies with `objective: groups`; this one has one model")
        [proposal] = proposals
        return [ModelSpec("", proposal, confirmation.serves)]
    groups = answer.groups or () if arm == SELECTION else form_groups(accounts, arms[arm][:1], answer.main_metrics)
    return _list_serving(folder, proposals, groups, group)


def _list_serving(
    folder: StoredPath, proposals: Sequence[Proposal], groups: Sequence[Group], group: int | None
) -> list[ModelSpec]:
    """The groups that serve a task, or of them number ``group``."""
    numbered = [
        ModelSpec(f"group-{number}", proposal, each.serves)
        for number, (proposal, each) in enumerate(zip(proposals, groups, strict=True), start=1)
    ]
    serving = [spec for spec in numbered if spec.serves]
    if group is None:
        return serving
    asked = [spec for spec in serving if spec.name == f"group-{group}"]
    if not asked:
        known = "; ".join(f"{w.name.removeprefix('group-')} ({' + '.join(w.proposal.tasks)})" for w in serving)
        raise AuxtuneError(f"{folder}: expected a group that serves a task, {known}; found {group}")
    return [replace(asked[0], name="")]


def _check(folder: StoredPath, answer: Answer, executed: Sequence[Proposal]) -> None:
    """Raise ``AuxtuneError`` unless ``answer`` is of the selection that ``executed`` trains."""
    if answer.primary is not None:
        agrees = (dict(executed[0].weights) if executed[0].weights else None) == answer.weights
    else:
        agrees = [proposal.tasks for proposal in executed] == [each.tasks for each in answer.groups or ()]
    if not agrees:
        path = folder / "selection.json"
        again = f"`auxtune resume {quote_path(folder)}` writes it again"
        raise AuxtuneError(f"{path}: is not of the selection in the ledger; {again}")
