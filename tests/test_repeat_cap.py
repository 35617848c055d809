"""A cap on repeats that `auto` keeps to in all it proposes and answers, and the warning of rows repeated often."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_auto import answer, run

from auxtune.orchestrator.views.inspection import list_repeated
from auxtune.selectors.kit.mixtures import build_repeat_cap, count_cycle, share_by_cycle
from auxtune.selectors.methods.auto import Auto
from auxtune.selectors.protocol import Outcome, Problem, Proposal, TaskInfo, Transfer

ROWS = (150, 400, 900, 2000, 5400, 9)


def problem_of(rows: tuple[int, ...] = ROWS, primary: str | None = "t000", seed: int = 0, **lengths: int) -> Problem:
    infos = tuple(TaskInfo(f"t{i:03}", "classification", count) for i, count in enumerate(rows))
    return Problem(infos, primary, seed, **lengths)


def passes_of(problem: Problem, shares: np.ndarray) -> np.ndarray:
    """How often a training with ``shares`` passes over the rows of each task; the primary's may be any number."""
    seen = shares * (problem.examples or (problem.primary_examples or 0) / shares[0])
    passes: np.ndarray = seen / np.array([task.train_rows for task in problem.tasks])
    if problem.examples is None or shares[0] <= 0.1 + 1e-9:  # as matched, or its least share
        passes[0] = 0.0
    return passes


@pytest.mark.parametrize("lengths", [{"examples": 9600}, {"primary_examples": 600}])
@pytest.mark.parametrize("evidence", ["auto", "tag"])
def test_nothing_that_auto_trains_or_answers_repeats_rows_more_often_than_is_asked(
    lengths: dict[str, int], evidence: str
) -> None:
    earlier = tuple(Transfer(f"t{i:03}", "other", float(i == 5)) for i in range(1, 6))
    problem = replace(problem_of(**lengths), earlier=earlier)
    selector = Auto(max_epochs=4, min_primary=0.1, stop=None, evidence=evidence)
    state = selector.start(problem)
    before = answer(selector, state)
    for number in range(14):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        state = run(selector, state, number, proposal, lambda shares: float(shares[[1, 5]].sum()))
        asked = np.array([proposal.shares.get(name, 0.0) for name in problem.names])
        assert state.mixtures[number] == pytest.approx(asked)  # as it was asked for, so it is executed
    mixtures = [np.array(mixture) for mixture in state.mixtures.values()]
    assert any(mixture[1] > 0.1 for mixture in mixtures)  # what scores is tried
    for shares in (before, answer(selector, state), *mixtures):
        assert shares.sum() == pytest.approx(1)
        assert passes_of(problem, shares).max() <= 4 + 1e-9


def test_a_cap_that_nothing_exceeds_proposes_as_none_does() -> None:
    asked = []
    for max_epochs in (None, 1000.0):
        selector, problem = Auto(max_epochs=max_epochs, stop=None), problem_of(examples=960)
        state, proposals = selector.start(problem), []
        for number in range(8):
            proposal = selector.propose(state, {})
            assert isinstance(proposal, Proposal)
            state = run(selector, state, number, proposal, lambda shares: float(np.sqrt(shares[1]) - shares[3]))
            proposals.append((proposal.stage, proposal.seed, state.mixtures[number]))
        asked.append(proposals)
    assert asked[0] == asked[1]


@pytest.mark.parametrize("lengths", [{"examples": 9600}, {"primary_examples": 600}])
def test_a_mixture_is_capped_also_after_the_cycle_has_rounded_it(lengths: dict[str, int]) -> None:
    rng = np.random.default_rng(0)
    for tasks in (2, 6, 13):
        problem = problem_of(tuple(map(int, rng.integers(600, 6000, tasks))), **lengths)
        cap = build_repeat_cap(problem, 4, 0.1)
        for asked in rng.dirichlet(np.full(tasks, 0.5), 40):
            rounded = cap.round_to_cycle(asked)
            weights = dict(zip(problem.names, rounded.tolist(), strict=True))
            counts = count_cycle(weights, "t000", max(20, 2 * tasks))
            assert list(share_by_cycle(counts).values()) == pytest.approx(rounded.tolist())
            assert (rounded[1:] <= (cap.limits * (rounded[0] if cap.is_relative else 1))[1:] + 1e-9).all()
            if (asked <= cap.limits - 0.05).all() and not cap.is_relative:  # room enough: as without a cap
                usual = count_cycle(dict(zip(problem.names, asked.tolist(), strict=True)), "t000", max(20, 2 * tasks))
                assert rounded.tolist() == pytest.approx(list(share_by_cycle(usual).values()))


def test_a_cap_under_every_cycle_leaves_shares_as_they_are() -> None:
    problem = problem_of((1000,) * 3, examples=2000)  # a third of a training each, and a cycle of three would fit
    assert build_repeat_cap(problem, 2 / 3, 0.0).round_to_cycle(np.eye(3)[0]) == pytest.approx(np.full(3, 1 / 3))
    tight = build_repeat_cap(problem_of((1000, 1000, 1003), examples=3003), 1.0, 0.0)
    assert tight.round_to_cycle(np.eye(3)[0]) == pytest.approx(tight.limits)


def test_a_cap_that_cannot_be_kept_is_refused_at_the_start() -> None:
    selector = Auto(max_epochs=2)
    with pytest.raises(ValueError, match="max_epochs needs to know how long trainings are"):
        selector.start(problem_of())
    with pytest.raises(ValueError, match=r"all 8,859 training rows fill only 20% with max_epochs 2"):
        selector.start(problem_of(examples=100_000))
    with pytest.raises(ValueError, match="all 100 training rows fill only 20%"):
        selector.start(problem_of((100,), examples=1000))
    with pytest.raises(ValueError, match="max_epochs limits shares, and the tasks of a group are trained alike"):
        selector.start(problem_of(primary=None, examples=1000))


def test_failures_alone_are_answered_with_equal_shares_under_the_cap() -> None:
    selector, problem = Auto(max_epochs=4, min_primary=0.1), problem_of(examples=9600)
    state = selector.start(problem)
    for number in range(3):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        state = selector.told(selector.proposed(state, number, proposal), number, Outcome(None, why="error"))
    chosen = selector.select(state, {})
    assert chosen.belief["why"].endswith("as far as `max_epochs` allows") and chosen.weights
    assert chosen.weights["t004"] > chosen.weights["t001"] and "t005" not in chosen.weights


def test_an_auxiliary_that_is_passed_over_often_is_warned_of_with_its_rows_and_a_remedy() -> None:
    problem = problem_of(examples=9600)  # 1,600 for each of six tasks
    [warning] = list_repeated(problem, [None])
    assert warning.startswith("t005: a training of all tasks in equal shares passes 178 times over its 9 training rows")
    assert "fewer steps, give the selector `max_epochs` or the task more rows" in warning
    [without] = list_repeated(problem, [])
    assert "max_epochs" not in without and "fewer steps or the task more rows" in without
    assert list(list_repeated(problem, [4.0])) == []
    assert list(list_repeated(problem_of(primary=None, examples=9600), [None])) == []
    assert [line[:4] for line in list_repeated(problem_of(primary_examples=6000), [])] == ["t001", "t005"]


def test_the_number_of_passes_decides_and_not_the_task() -> None:
    """Ten passes are no warning and eleven are, and a primary is never one."""
    said = [list(list_repeated(problem_of((1, 100), examples=examples), [])) for examples in (2000, 2200)]
    assert [len(lines) for lines in said] == [0, 1]
