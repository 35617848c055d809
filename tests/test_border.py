"""What a selector may answer: one check at the border, and a selector that breaks it is named and ends as an error."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

import numpy as np
import pytest

from auxtune.orchestrator.errors import SelectorError
from auxtune.orchestrator.planning import context
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.selectors.border import IllegalAnswerError, check_answer
from auxtune.selectors.methods.controls import AllTasks
from auxtune.selectors.protocol import Done, Inner, Kept, Network, Problem, Proposal, Selection, TaskInfo, Wants

TASKS = ("moods", "echoes", "noises")
PROBLEM = Problem(tuple(TaskInfo(name, "classification", 100) for name in TASKS), "moods")
GROUPS = replace(PROBLEM, primary=None, models=2)
GOOD = Selection("mixture", ("moods", "echoes"), {"moods": 0.75, "echoes": 0.25})
ITSELF: dict[str, Any] = {}
ITSELF["again"] = ITSELF

ILLEGAL_SELECTIONS = {
    "an unknown task": (replace(GOOD, tasks=("moods", "strangers")), "tasks must be of the problem"),
    "a task twice": (Selection("mixture", ("moods", "moods")), "tasks must differ"),
    "no task": (Selection("mixture"), "there must be a task"),
    "no weights": (replace(GOOD, weights={}), "weights must be given for the tasks, got {}"),
    "a weight that is none": (replace(GOOD, weights={"moods": float("nan"), "echoes": 0.5}), "echoes|moods|recorded"),
    "an infinite weight": (replace(GOOD, weights={"moods": float("inf"), "echoes": 0.5}), "moods"),
    "weights that miss 1": (replace(GOOD, weights={"moods": 0.5, "echoes": 0.25}), "must sum to 1, got 0.75"),
    "no primary": (Selection("mixture", ("echoes",)), "a mixture must hold the primary"),
    "a ranking without the primary": (
        Selection("ranking", ("echoes",), ranking=(("echoes", 1.0),)),
        "a ranking must hold the primary",
    ),
    "groups for a primary": (Selection("groups", groups=({"tasks": TASKS, "serves": TASKS},)), "got groups"),
    "a NumPy number": (replace(GOOD, belief={"share": np.float32(0.5)}), "belief must be JSON: .*float32"),
    "an array": (replace(GOOD, belief={"shares": np.arange(3)}), "belief must be JSON: .*ndarray"),
    "an object": (replace(GOOD, belief={"it": object()}), "belief must be JSON"),
    "infinity": (replace(GOOD, belief={"score": float("inf")}), "belief must be JSON"),
    "what holds itself": (replace(GOOD, belief=ITSELF), "belief must be JSON"),
    "a list for a belief": (replace(GOOD, belief=["it"]), "belief must be a mapping"),  # type: ignore[arg-type]
    "text for weights": (replace(GOOD, weights={"moods": "most", "echoes": 0.5}), "cannot be recorded"),  # type: ignore[dict-item]
    "rows by no rule": (replace(GOOD, instances={"echoes": "half"}), "cannot be recorded"),  # type: ignore[dict-item]
    "another kind": (replace(GOOD, kind="oracle"), "cannot be recorded: kind"),  # type: ignore[arg-type]
    "text": ("all of them", "expected Selection, got str 'all of them'"),
    "nothing": (None, "expected Selection, got NoneType None"),
}
ILLEGAL_REPLIES = {
    "nothing": (None, "expected Proposal or Wait or Done, got NoneType"),
    "the class": (Done, "expected Proposal or Wait or Done, got type"),
    "an unknown task": (Proposal(("moods", "strangers")), "tasks must be of the problem"),
    "no primary": (Proposal(("echoes",)), "must train the primary"),
    "NumPy in the notes": (Proposal(TASKS, notes={"rank": np.arange(3)}), "notes must be JSON"),
    "NumPy for a name": (Proposal(TASKS, stage=np.arange(3)), "cannot be recorded"),  # type: ignore[arg-type]
    "text for a seed": (Proposal(TASKS, seed="3"), "cannot be recorded: seed"),  # type: ignore[arg-type]
    "an object inside": (Proposal(TASKS, inner=Inner("x", {"a": object()}, 0, 1, 1)), "inner selector must be JSON"),
    "no steps": (Proposal(TASKS, portion=0.0), "portion"),
    "rows of no number": (Proposal(TASKS, rows={"moods": Kept({}, 1, "one", "")}), "cannot be recorded"),  # type: ignore[arg-type]
}


@pytest.mark.parametrize(("answer", "reason"), ILLEGAL_SELECTIONS.values(), ids=ILLEGAL_SELECTIONS)
def test_an_illegal_selection_is_refused_with_what_was_found(answer: Any, reason: str) -> None:
    with pytest.raises(IllegalAnswerError, match=reason):
        check_answer("select", PROBLEM, answer)


@pytest.mark.parametrize(("answer", "reason"), ILLEGAL_REPLIES.values(), ids=ILLEGAL_REPLIES)
def test_an_illegal_reply_is_refused_with_what_was_found(answer: Any, reason: str) -> None:
    with pytest.raises(IllegalAnswerError, match=reason):
        check_answer("propose", PROBLEM, answer)


@pytest.mark.parametrize("groups", [(), ({"tasks": TASKS},), ({"tasks": ("moods",), "serves": TASKS},), ("all",)])
def test_groups_must_serve_every_task_once(groups: Any) -> None:
    with pytest.raises(IllegalAnswerError):
        check_answer("select", GROUPS, Selection("groups", groups=groups))


def test_of_networks_with_a_cost_as_many_may_serve_as_the_caller_can_pay() -> None:
    alone = Selection("groups", groups=tuple({"tasks": (task,), "serves": (task,)} for task in TASKS))
    with pytest.raises(IllegalAnswerError, match="at most 2 groups may be served, got 3"):
        check_answer("select", GROUPS, alone)
    check_answer("select", replace(GROUPS, networks=(Network(("moods",), 0.5),)), alone)


@pytest.mark.parametrize("count", ["many", None, 1.5, float("nan"), True, -1, 10**30, np.int64(3)])
def test_the_fewest_trials_are_a_whole_number(count: Any) -> None:
    with pytest.raises(IllegalAnswerError, match="expected a whole number"):
        check_answer("fewest", PROBLEM, count)


def test_what_is_legal_passes() -> None:
    check_answer("select", PROBLEM, GOOD)
    check_answer("select", PROBLEM, Selection("ranking", ranking=(("echoes", 1.0), ("noises", -2.0))))
    check_answer("select", GROUPS, Selection("groups", groups=({"tasks": TASKS, "serves": list(TASKS)},)))
    check_answer("propose", PROBLEM, Proposal(TASKS, seed=3, notes={"rank": [1, 2]}))
    check_answer("propose", PROBLEM, Done())
    check_answer("fewest", PROBLEM, 0)
    check_answer("wants", None, Wants(frozenset({"primary"}), "subset"))


@dataclass(frozen=True)
class Evil(AllTasks):
    """Raises or exits wherever it is asked."""

    paper: ClassVar[str | None] = None
    error: BaseException = field(default_factory=SystemExit)

    def raise_it(self, *asked: Any) -> Any:
        """Do it."""
        raise self.error

    propose = select = fewest = told = proposed = raise_it


@pytest.mark.parametrize("error", [SystemExit(7), RuntimeError("no idea"), ValueError("no"), AssertionError()])
def test_whatever_a_selector_raises_names_it_and_ends_no_command(error: BaseException) -> None:
    fold = SelectorFold(Evil(error=error), PROBLEM, {}, title="evil")
    for ask in (fold.propose, fold.select):
        with pytest.raises(SelectorError, match=r"^the selector evil broke when it was asked for .*resume the study"):
            ask()


def test_an_interrupt_is_no_defect_of_a_selector() -> None:
    with pytest.raises(KeyboardInterrupt):
        SelectorFold(Evil(error=KeyboardInterrupt()), PROBLEM, {}).propose()


@pytest.mark.parametrize("fewest", [lambda problem: "many", lambda problem: sys.exit(9), lambda problem: 1 / 0])
def test_a_study_whose_fewest_trials_are_unknown_is_refused(fewest: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(AllTasks, "fewest", staticmethod(fewest))
    tasks = {name: {"builtin": "copy"} for name in TASKS}
    options = StudyOptions.model_validate(
        {"study": "s", "primary": "moods", "tasks": tasks, "selector": "all_tasks", "budget": {"trials": 9}}
    )
    with pytest.raises(SelectorError, match="the selector all_tasks broke when it was asked for its fewest trials"):
        context.count_fewest_trials(options, PROBLEM)
