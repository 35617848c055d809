"""Random groups: every task in one, near-equal sizes, no grouping twice, the best mean over tasks."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from test_groups import problem

from auxtune.selectors.methods.random_groups import RandomGroups
from auxtune.selectors.protocol import Done, Network, Outcome, Proposal
from auxtune.selectors.testing.benchmark import SyntheticBenchmark
from auxtune.selectors.testing.checks import check_selection
from auxtune.selectors.testing.study import simulate_study


def test_random_groups_cover_every_task_near_equally_until_there_are_no_others() -> None:
    selector, asked = RandomGroups(groupings=100), problem(models=2)
    story = simulate_study(selector, asked, SyntheticBenchmark({}, noise=0.1), trials=50)
    assert isinstance(story.steps[-1].reply, Done) and len(story.proposals) == 2 * 3  # two and two of four
    pairs = [frozenset(proposal.tasks) for proposal in story.proposals]
    assert len(set(pairs)) == 6 and all(not a & b for a, b in zip(pairs[::2], pairs[1::2], strict=True))
    for moment in story.steps:
        check_selection(asked, moment.selection)
    odd = RandomGroups().select(RandomGroups().start(problem(models=3)), {})
    assert sorted(len(group["tasks"]) for group in odd.groups or ()) == [1, 1, 2]


def test_the_best_grouping_is_the_one_whose_tasks_do_best_on_average_and_failures_do_not_count() -> None:
    selector = RandomGroups(groupings=3)
    state = selector.start(replace(problem(models=2), tasks=problem().tasks[:3]))
    drawn = []
    for number, score in enumerate([0.5, 0.9, 0.9, 0.3, 0.99, None]):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        drawn.append(proposal.tasks)
        # Pairs get the first score of a grouping, single tasks the second.
        state = selector.proposed(state, number, proposal)
        state = selector.told(state, number, Outcome(score, why=None if score else "error"))
    means = [(len(a) * x + len(b) * y) / 3 for a, b, x, y in ((*drawn[0:2], 0.5, 0.9), (*drawn[2:4], 0.9, 0.3))]
    best = int(np.argmax(means))
    chosen = selector.select(state, {})
    assert [tuple(group["tasks"]) for group in chosen.groups or ()] == drawn[2 * best : 2 * best + 2]
    assert chosen.belief == {"best_score": pytest.approx(max(means))}


def test_with_a_primary_its_own_group_is_trained_and_answers() -> None:
    asked = replace(problem(), primary="a", models=None)
    story = simulate_study(RandomGroups(groupings=100), asked, SyntheticBenchmark({"d": 0.1}), trials=50)
    assert all("a" in proposal.tasks for proposal in story.proposals)
    assert sorted(map(len, (p.tasks for p in story.proposals))) == [1, 2, 2, 2]  # three groups of four tasks
    assert story.steps[-1].selection.tasks == ("d", "a")


def test_where_no_near_equal_grouping_is_on_offer_the_networks_that_are_cover_the_tasks() -> None:
    offers = (Network(("a", "b", "c")), Network(("d",)), Network(("b", "c")), Network(("a",)))
    asked = replace(problem(models=2), networks=offers)
    story = simulate_study(RandomGroups(groupings=1), asked, SyntheticBenchmark({}, noise=0.1), trials=10)
    assert [proposal.tasks for proposal in story.proposals] in ([("a", "b", "c"), ("d",)], [("d",), ("a", "b", "c")])
    check_selection(asked, story.steps[-1].selection)


def test_where_the_networks_on_offer_cover_not_every_task_the_largest_is_trained() -> None:
    asked = replace(problem(models=2), networks=(Network(("a", "b", "c")), Network(("b", "c")), Network(("a",))))
    selector = RandomGroups(groupings=1)
    proposal = selector.propose(selector.start(asked), {})
    assert isinstance(proposal, Proposal) and proposal.tasks == ("a", "b", "c")
