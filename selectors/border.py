"""The border between a selector and its callers: every answer of any selector is checked here, by ``check_answer``.

A selector may come from anywhere, and whatever it says is trained, recorded for ever and shown. So callers that run
one (``orchestrator.record.fold``) hand each answer to ``check_answer`` before they use it, also those of the selectors
shipped here. The contract suite holds selectors to the same rules, and to stricter ones on types.
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal, TypeAlias, get_args

from pydantic import TypeAdapter

from auxtune.selectors.protocol import Answer, Done, Inside, Objective, Problem, Proposal, Selection, Wait, Wants

Question: TypeAlias = Literal[
    "wants", "propose", "round", "select", "fewest", "reading", "predict", "checkpoints_in_use"
]

_ROUNDING = 1e-6  # by which shares may miss 1: they are rounded to whole steps later
_MOST_TRIALS = 1 << 31
_SHOWN = 200  # characters of an answer in a message
_proposal, _selection = TypeAdapter(Proposal), TypeAdapter(Selection)


class IllegalAnswerError(ValueError):
    """A selector's answer is not one that its protocol allows: what was expected, and what it said."""


def check_answer(question: Question, problem: Problem | None, answer: Any) -> None:
    """Raise ``IllegalAnswerError`` unless ``answer`` is a legal one to the ``question``, the name of a function.

    A ``round`` is what an inner selector proposes. ``problem`` is the one asked about; of ``wants`` there is none.
    """
    _CHECKS[question](problem, answer)


def check_tasks(problem: Problem, tasks: Collection[str]) -> None:
    """Raise ``IllegalAnswerError`` unless ``tasks`` are some of the problem's, each once."""
    _require(bool(tasks), "there must be a task")
    _require(set(tasks) <= set(problem.names), f"tasks must be of the problem, got {_show(tasks)}")
    _require(len(set(tasks)) == len(tasks), f"tasks must differ, got {_show(tasks)}")


def check_weights(tasks: Collection[str], weights: Mapping[str, float] | None) -> None:
    """Raise ``IllegalAnswerError`` unless ``weights`` are ``None`` or a share of each task, together 1."""
    if weights is not None:
        _require(set(weights) == set(tasks), f"weights must be given for the tasks, got {_show(dict(weights))}")
        _require(all(0 <= share <= 1 for share in weights.values()), f"shares must lie in [0, 1], got {_show(weights)}")
        total = sum(weights.values())
        _require(math.isclose(total, 1, rel_tol=_ROUNDING), f"weights must sum to 1, got {total}")


def check_selection(problem: Problem, selection: Selection) -> None:
    """Raise ``IllegalAnswerError`` unless ``selection`` is a legal answer of its kind."""
    kind = selection.kind
    if problem.scored is not None:
        _require(kind == "mixture", f"of what is scored the answer must be a mixture, got {kind}")
    elif problem.primary is None:
        _require(kind == "groups", f"without a primary the answer must be groups, got a {kind}")
    else:
        _require(kind != "groups", "with a primary the answer must be what to train for it, got groups")
    if kind == "groups":
        _check_groups(problem, selection.groups or ())
        return
    if kind == "ranking":
        _require(selection.ranking is not None, "a ranking must be given")
        check_tasks(problem, [task for task, _ in selection.ranking or ()])
    if kind == "mixture" or selection.tasks:
        check_tasks(problem, selection.tasks)
        check_weights(selection.tasks, selection.weights)
        _require(problem.primary in (None, *selection.tasks), f"a {kind} must hold the primary, got {selection.tasks}")


def _check_groups(problem: Problem, groups: Sequence[Mapping[str, Any]]) -> None:
    """Groups of the problem's tasks that serve each task once, no more of them than may be served."""
    _require(bool(groups), "groups must be given")
    for group in groups:
        tasks, serves = group.get("tasks", ()), group.get("serves", ())
        check_tasks(problem, tasks)
        check_tasks(problem, serves)
        _require(set(serves) <= set(tasks), f"a group must train what it serves, got {_show(group)}")
    served = Counter(task for group in groups for task in group["serves"])
    wrong = [f"{name} in {served[name] or 'none'}" for name in problem.names if served[name] != 1]
    _require(not wrong, f"each task must be served by one group, got {', '.join(wrong)}")
    if problem.networks:  # what may be served is then a matter of their costs, which the caller judges
        return
    models = problem.models or len(problem.names)
    _require(len(groups) <= models, f"at most {models} groups may be served, got {len(groups)}")


def _check_wants(problem: Problem | None, answer: Any) -> None:
    _require_type(answer, Wants)
    _require(answer.objectives <= set(get_args(Objective)), f"unknown objectives, got {_show(answer.objectives)}")
    _require(answer.inside <= set(get_args(Inside)), f"unknown needs inside a run, got {_show(answer.inside)}")
    _require(answer.answers in get_args(Answer), f"unknown answers, got {_show(answer.answers)}")


def _check_reply(problem: Problem, answer: Any) -> None:
    """To ``propose``: a proposal of the problem's tasks, which trains the primary unless it only measures."""
    _require_type(answer, Proposal, Wait, Done)
    if not isinstance(answer, Proposal):
        return
    _require_json("notes", answer.notes)
    _require_json("options of an inner selector", answer.inner.options if answer.inner is not None else {})
    _require_shape(_proposal, answer)
    check_tasks(problem, answer.tasks)
    check_weights(answer.tasks, answer.weights)
    is_for_primary = problem.primary is None or bool(answer.measure) or problem.primary in answer.tasks
    _require(is_for_primary, f"a proposal must train the primary, got {_show(answer.tasks)}")
    _require(0 < answer.portion <= 1, f"a portion must lie in (0, 1], got {answer.portion}")


def _check_round(problem: Problem, answer: Any) -> None:
    _require_type(answer, Proposal)
    check_tasks(problem, answer.tasks)
    _require(len(answer.tasks) == 1, f"a round must train one task, got {_show(answer.tasks)}")


def _check_selected(problem: Problem, answer: Any) -> None:
    """To ``select``: an answer of its kind, in words that can be recorded."""
    _require_type(answer, Selection)
    _require_json("belief", answer.belief)
    _require_shape(_selection, answer)
    check_selection(problem, answer)


def _check_count(problem: Problem, answer: Any) -> None:
    is_count = type(answer) is int and 0 <= answer < _MOST_TRIALS
    _require(is_count, f"expected a whole number from 0 on, got {_show(answer)}")


def _check_checkpoints(problem: Problem, answer: Any) -> None:
    _require_type(answer, frozenset, set)
    _require(all(type(number) is int for number in answer), f"expected numbers of proposals, got {_show(answer)}")


def _check_predictions(problem: Problem, answer: Any) -> None:
    _require_type(answer, list, tuple)
    for scores in answer:
        _require_type(scores, Mapping)
        finite = all(isinstance(score, float | int) and math.isfinite(score) for score in scores.values())
        _require(set(scores) <= {*problem.names, problem.scored} and finite, f"expected scores, got {_show(scores)}")


_CHECKS: dict[Question, Callable[..., None]] = {
    "wants": _check_wants,
    "propose": _check_reply,
    "round": _check_round,
    "select": _check_selected,
    "fewest": _check_count,
    "reading": _check_count,
    "predict": _check_predictions,
    "checkpoints_in_use": _check_checkpoints,
}


def _require(is_legal: bool, otherwise: str) -> None:
    if not is_legal:
        raise IllegalAnswerError(otherwise)


def _require_type(answer: Any, *types: type[Any]) -> None:
    names = " or ".join(kind.__name__ for kind in types)
    _require(isinstance(answer, types), f"expected {names}, got {type(answer).__name__} {_show(answer)}")


def _require_json(where: str, value: Any) -> None:
    """Refuse what JSON has no word for: arrays, objects, infinity, a thing that holds itself."""
    _require(isinstance(value, Mapping), f"{where} must be a mapping, got {_show(value)}")
    try:
        json.dumps(dict(value), allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise IllegalAnswerError(f"{where} must be JSON: {error}") from error


def _require_shape(adapter: TypeAdapter[Any], answer: Any) -> None:
    """Refuse an answer that cannot be written down and read back as what its fields say."""
    try:
        adapter.validate_json(adapter.dump_json(answer, warnings="none"), strict=True)
    except ValueError as error:  # of pydantic, in writing and in reading
        raise IllegalAnswerError(f"cannot be recorded: {_describe_first(error)}") from error


def _describe_first(error: ValueError) -> str:
    found = getattr(error, "errors", None)
    if found is None:
        return str(error)
    first = found()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}, got {_show(first['input'])}"


def _show(value: Any) -> str:
    """A value as a message shows it; it may be one whose ``repr`` is broken too."""
    try:
        text = repr(value)
    except Exception as error:
        return f"something that cannot be shown ({type(error).__name__})"
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}…"
