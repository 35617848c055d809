"""What `--set` changes, and how its mistakes are said."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from study_text import BASE, mistakes, study


@pytest.mark.parametrize(
    ("override", "read"),
    [
        ("training.steps=200", lambda options: options.training.steps == 200),
        ("tasks.cr.rows=100", lambda options: options.tasks["cr"].rows == 100),
        ("tasks.new={path: x}", lambda options: list(options.tasks) == ["cr", "sst2", "new"]),
        ("budget={wall_hours: 2}", lambda options: options.budget.trials is None),
        ("selector=thompson", lambda options: options.selector.name == "thompson"),
        ("training.clip=", lambda options: options.training.clip is None),
        ("tracking.uri=http://host:5000/?a=b", lambda options: str(options.tracking.uri).endswith("?a=b")),
    ],
)
def test_an_override_changes_its_key(override: str, read: Callable[[Any], bool]) -> None:
    changed = study(BASE, override)
    assert read(changed.options) and not read(study().options) and changed.overrides == (override,)


def test_an_option_makes_a_mapping_of_a_bare_selector() -> None:
    chosen = study(BASE, "selector=thompson", "selector.rounds=50").options.selector
    assert (chosen.name, chosen.options) == ("thompson", {"rounds": 50})


def test_a_task_with_dots_in_its_name_can_be_overridden() -> None:
    text = BASE.replace("  cr:", "  v1.cr:").replace("primary: cr", "primary: v1.cr")
    assert study(text, "tasks.v1.cr.rows=9").options.tasks["v1.cr"].rows == 9


@pytest.mark.parametrize(
    ("override", "key"),
    [
        ("training.steps=none", "training.steps"),
        ("training.stps=1", "training.stps"),
        ("study.x=1", "study.x"),
        ("steps", ""),
        ("training..steps=1", ""),
        ("seed=[", "seed"),
        ("seed=${NO_SUCH_VARIABLE}", "seed"),
    ],
)
def test_a_wrong_override_is_named(override: str, key: str) -> None:
    [mistake] = mistakes(BASE, override)
    assert (mistake.place, mistake.key) == (override, key)


def test_an_override_replaces_what_was_wrong_in_the_file() -> None:
    text = BASE.replace("{path: cr}", "{path: '${NO_SUCH_VARIABLE}/cr'}")
    assert study(text, "tasks.cr.path=/data/cr").options.tasks["cr"].path == "/data/cr"


def test_mistakes_of_overrides_come_after_those_of_the_file() -> None:
    places = [mistake.place for mistake in mistakes(BASE + "sed: 1\n", "training.steps=0", "seed=-1")]
    assert places[0] == 8 and set(places[1:]) == {"training.steps=0", "seed=-1"}
