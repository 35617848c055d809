"""Single promises of a selector as checks: each raises ``AssertionError`` and says what is broken."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from auxtune.selectors import border
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
    with _as_assertion():
        border.check_tasks(problem, tasks)


def check_weights(tasks: Collection[str], weights: Mapping[str, float] | None) -> None:
    """Raise ``AssertionError`` unless ``weights`` are ``None`` or a share of each task, together 1."""
    with _as_assertion():
        border.check_weights(tasks, weights)


def check_selection(problem: Problem, selection: Selection) -> None:
    """Raise ``AssertionError`` unless ``selection`` is a legal answer of its kind."""
    with _as_assertion():
        border.check_answer("select", problem, selection)


@contextmanager
def _as_assertion() -> Iterator[None]:
    try:
        yield
    except border.IllegalAnswerError as error:
        raise AssertionError(str(error)) from error


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
