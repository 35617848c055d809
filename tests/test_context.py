"""A study is understood alike from its data and from its ledger."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from synthetic_tasks import BASE
from test_agenda import NAMES, World

from auxtune.orchestrator.planning.context import StudyContext


@dataclass(frozen=True)
class Rows:
    """A task of which only the sizes are known."""

    name: str
    kind: str = "classification"
    inputs: str = "inputs"
    digest: str = "digest"
    metrics: tuple[str, ...] = ("accuracy",)
    splits: Mapping[str, range] = field(
        default_factory=lambda: {
            "train": range(100),
            "probe": range(10),
            "validation": range(20),
            "test": range(30),
        }
    )


TASKS = {name: Rows(name) for name in NAMES}


def test_data_says_sizes_and_what_must_not_change(tmp_path: Path) -> None:
    study = World(tmp_path).study
    context = StudyContext.from_data(study, TASKS, BASE)
    assert [(task.name, task.train_rows, task.validation_rows) for task in context.problem.tasks] == [
        (name, 100, 20) for name in NAMES
    ]
    assert context.rows["a"] == {"train": 100, "probe": 10, "validation": 20, "test": 30}
    assert context.drift == () and not context.is_searched, "before the first session there is nothing to differ from"


def test_other_rows_than_the_last_sessions_are_drift(tmp_path: Path) -> None:
    world = World(tmp_path)
    context = StudyContext.from_data(world.study, TASKS, BASE)
    session = world.session()
    opened = replace(session.accounts.sessions[-1].opened, fingerprint=context.fingerprint)
    accounts = StudyContext.from_events(world.study, [opened]).accounts
    other = {**TASKS, "b": replace(TASKS["b"], digest="other")}
    assert StudyContext.from_data(world.study, TASKS, BASE, accounts).drift == ()
    assert StudyContext.from_data(world.study, other, BASE, accounts).drift == ("tasks.b",)


def test_a_ledger_alone_gives_the_question_the_arms_and_the_selectors_state(tmp_path: Path) -> None:
    world = World(tmp_path)
    agenda = world.session()
    world.run(agenda)
    events, selected = agenda._ledger.events, agenda.accounts.selected
    assert selected is not None
    context = StudyContext.from_events(world.study, events, world.folder)
    assert (context.problem, context.rows) == (world.problem, {}), "its data may be absent"
    assert context.is_searched and context.accounts.selected == selected
    arms = context.confirmation.arms(selected.selection)
    assert {name: list(arm) for name, arm in arms.items()} == {
        name: list(arm) for name, arm in agenda._confirmation.arms(selected.selection).items()
    }
    assert context.fold(events).select() == selected.selection
    assert list(context.differences(events)) == []


def test_without_a_session_there_is_no_question(tmp_path: Path) -> None:
    with pytest.raises(IndexError):
        StudyContext.from_events(World(tmp_path).study, [])
