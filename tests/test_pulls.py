"""``thompson`` with a trial for each pull: rewards, incumbents and what is held, by hand."""

from __future__ import annotations

from typing import Any

import pytest

from auxtune.selectors.methods.thompson import Thompson
from auxtune.selectors.protocol import Continuation, Done, Outcome, Problem, Proposal, TaskInfo, Wait

SELECTOR = Thompson(mode="trials", rounds=8, gamma=0.0)


def problem_of() -> Problem:
    return Problem(tuple(TaskInfo(name, "classification", 1000) for name in "apb"), "p", seed=1)


def ask(state: Any) -> Proposal:
    asked = SELECTOR.propose(state, {})
    assert isinstance(asked, Proposal)
    return asked


def pulled(state: Any, number: int, task: str) -> Any:
    """``number`` under way as a pull of ``task`` from the present incumbent."""
    tasks = tuple(name for name in "apb" if name in ("p", task))
    leg = Continuation(100, state.incumbent)
    return SELECTOR.proposed(state, number, Proposal(tasks, continuation=leg, notes={"task": task}))


def begun(score: float = 0.5) -> Any:
    """The state once the primary alone has set the reference."""
    state = pulled(SELECTOR.start(problem_of()), 0, "p")
    return SELECTOR.told(state, 0, Outcome(score))


def posterior(state: Any) -> dict[str, tuple[float, float]]:
    return dict(zip("apb", zip(state.bandit.alpha, state.bandit.beta, strict=True), strict=True))


def test_the_primary_goes_first_alone_and_is_waited_for() -> None:
    state = SELECTOR.start(problem_of())
    first = ask(state)
    assert (first.tasks, first.continuation, first.notes) == (("p",), Continuation(100, None), {"task": "p"})
    assert first.weights == {"p": 1.0}
    state = SELECTOR.proposed(state, 0, first)
    assert isinstance(SELECTOR.propose(state, {}), Wait)
    again = ask(SELECTOR.told(state, 0, Outcome(None, why="error")))
    assert (again.tasks, again.continuation) == (("p",), Continuation(100, None))
    assert again.seed != first.seed


def test_the_first_pull_sets_the_reference_and_rewards_nothing() -> None:
    state = begun()
    assert set(posterior(state).values()) == {(1.0, 1.0)}
    assert state.incumbent == 0
    assert SELECTOR.select(state, {}).tasks == ("p",)


def test_pulls_run_side_by_side_from_the_present_incumbent() -> None:
    state, asked = begun(), []
    for number in range(1, 5):
        asked.append(ask(state))
        state = SELECTOR.proposed(state, number, asked[-1])
    assert {pull.continuation for pull in asked} == {Continuation(100, 0)}
    assert all(set(pull.tasks) == {"p", pull.notes["task"]} for pull in asked)
    # In equal shares, whatever the study's sampling rule: a task without a step would earn the primary's rewards.
    assert all(set((pull.weights or {}).values()) == {1 / len(pull.tasks)} for pull in asked)
    assert len({pull.seed for pull in asked}) == 4


@pytest.mark.parametrize(("score", "reward"), [(0.51, 1), (0.5, 1), (0.49, 0)])
def test_a_pull_is_rewarded_if_it_is_not_below_the_incumbent_it_started_from(score: float, reward: int) -> None:
    state = SELECTOR.told(pulled(begun(), 1, "a"), 1, Outcome(score))
    assert posterior(state)["a"] == (1 + reward, 2 - reward)
    assert state.incumbent == 1  # better or worse: no best-of


def test_a_pull_from_a_former_incumbent_only_rewards() -> None:
    state = pulled(pulled(begun(0.5), 1, "a"), 2, "b")
    state = SELECTOR.told(state, 2, Outcome(0.9))
    assert (state.incumbent, posterior(state)["b"]) == (2, (2, 1))
    assert SELECTOR.checkpoints_in_use(state) == {0, 2}  # 1 is still under way from 0
    state = SELECTOR.told(state, 1, Outcome(0.6))
    assert state.incumbent == 2
    assert posterior(state)["a"] == (2, 1)  # against 0.5, where it started, not against 0.9
    assert SELECTOR.checkpoints_in_use(state) == {2}


def test_a_failed_pull_is_not_rewarded_and_never_the_incumbent() -> None:
    state = SELECTOR.told(pulled(begun(), 1, "a"), 1, Outcome(None, why="oom"))
    assert posterior(state)["a"] == (1, 2)
    assert state.incumbent == 0


def test_it_ends_after_its_rounds() -> None:
    state = begun()
    for number in range(1, 8):
        state = SELECTOR.proposed(state, number, ask(state))
    assert isinstance(SELECTOR.propose(state, {}), Done)


def test_the_steps_of_a_pull_can_be_chosen() -> None:
    selector = Thompson(mode="trials", round_steps=30)
    asked = selector.propose(selector.start(problem_of()), {})
    assert isinstance(asked, Proposal) and asked.continuation == Continuation(30, None)
