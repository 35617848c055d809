"""Single promises of a selector as checks: each raises ``AssertionError`` and says what is broken."""

from __future__ import annotations

import dataclasses
import json
import math
from collections import Counter
from collections.abc import Collection, Mapping
from typing import Any

from auxtune.selectors.protocol import Inside, Problem, Proposal, Selection


def list_needs(proposal: Proposal) -> set[Inside]:
    """The needs of ``proposal`` besides training, in the words of ``Wants``."""
    needs: dict[Inside, bool] = {
        "measure": bool(proposal.measure),
        "steer": proposal.inner is not None,
        "continue": proposal.continuation is not None,
        "rows": bool(proposal.rows),
        "loss_weights": proposal.weighting == "loss",
    }
    return {name for name, needed in needs.items() if needed}


def check_tasks(problem: Problem, tasks: Collection[str]) -> None:
    """Raise ``AssertionError`` unless ``tasks`` are some of the problem's, each once."""
    assert tasks, "there must be a task"
    assert set(tasks) <= set(problem.names), f"tasks must be of the problem, got {tasks}"
    assert len(set(tasks)) == len(tasks), f"tasks must differ, got {tasks}"


def check_weights(tasks: Collection[str], weights: Mapping[str, float] | None) -> None:
    """Raise ``AssertionError`` unless ``weights`` are ``None`` or a share of each task, together 1."""
    if weights is not None:
        assert set(weights) == set(tasks), f"weights must be given for the tasks, got {dict(weights)}"
        assert all(0 <= share <= 1 for share in weights.values()), f"shares must lie in [0, 1], got {weights}"
        assert math.isclose(sum(weights.values()), 1), f"weights must sum to 1, got {sum(weights.values())}"


def check_selection(problem: Problem, selection: Selection) -> None:
    """Raise ``AssertionError`` unless ``selection`` is a legal answer of its kind."""
    if problem.scored is not None:
        assert selection.kind == "mixture", f"of what is scored the answer must be a mixture, got {selection.kind}"
    elif problem.primary is None:
        assert selection.kind == "groups", f"without a primary the answer must be groups, got a {selection.kind}"
    if selection.kind == "mixture":
        check_tasks(problem, selection.tasks)
        check_weights(selection.tasks, selection.weights)
        assert problem.primary in (None, *selection.tasks), "a mixture must hold the primary"
    elif selection.kind == "ranking":
        assert selection.ranking is not None, "a ranking must be given"
        check_tasks(problem, [task for task, _ in selection.ranking])
        assert not selection.tasks or problem.primary in selection.tasks, "the tasks to train must hold the primary"
    else:
        assert selection.groups, "groups must be given"
        for group in selection.groups:
            check_tasks(problem, group["tasks"])
            check_tasks(problem, group["serves"])
            assert set(group["serves"]) <= set(group["tasks"]), f"a group must train what it serves, got {group}"
        served = Counter(task for group in selection.groups for task in group["serves"])
        assert served == Counter(problem.names), f"each task must be served by one group, got {selection.groups}"
        models = problem.models or len(problem.names)
        assert len(selection.groups) <= models, f"at most {models} groups may be served, got {len(selection.groups)}"


def check_plain(where: str, value: object) -> None:
    """Raise ``AssertionError`` unless ``value`` is native Python throughout: no NumPy scalar, no array."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            check_plain(f"{where}.{field.name}", getattr(value, field.name))
    elif isinstance(value, Mapping):
        for key, item in value.items():
            check_plain(f"{where} key", key)
            check_plain(f"{where}[{key!r}]", item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            check_plain(f"{where}[]", item)
    else:
        native = (str, int, float, bool, type(None))
        assert type(value) in native, f"{where} must be a native type, got {type(value).__module__} {value!r}"


def check_json(where: str, value: Mapping[str, Any]) -> None:
    """Raise ``AssertionError`` unless ``value`` survives JSON unchanged."""
    try:
        back = json.loads(json.dumps(dict(value), allow_nan=False))
    except (TypeError, ValueError) as error:
        raise AssertionError(f"{where} must be JSON: {error}") from error
    assert back == value, f"{where} must survive JSON unchanged: {value} became {back}"
