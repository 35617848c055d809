"""Every registered selector keeps the contract, and the contract suite catches each kind of selector that does not."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import field, replace
from typing import ClassVar

import numpy as np
import pytest

from auxtune.selectors import registry
from auxtune.selectors.kit.options import options
from auxtune.selectors.kit.pipeline import Pipeline
from auxtune.selectors.kit.searches import Searches
from auxtune.selectors.methods.auto import Auto
from auxtune.selectors.methods.autosem import AutoSeM
from auxtune.selectors.methods.controls import RandomSubset
from auxtune.selectors.methods.gp_mixing import GPMixing
from auxtune.selectors.methods.tag import Tag
from auxtune.selectors.methods.thompson import Thompson
from auxtune.selectors.protocol import Done, Proposal, Selection, Wait
from auxtune.selectors.testing.contract import InnerContract, SelectorContract

# A question takes tenths of a second; mixture_regression has its class beside its other tests.
SLOW = ("auto", "gp_mixing", "autosem", "mixture_regression")


class TestRegistered(SelectorContract):
    @pytest.fixture(autouse=True, params=[name for name in registry.names() if name not in SLOW])
    def _selector(self, request):
        self.selector = registry.make(request.param, {})


class TestAuto(SelectorContract):
    selector = Auto()
    questions = 20

    def list_problems(self, *cases):
        return [problem for problem in super().list_problems(*cases) if problem.primary or problem.scored]


class TestAutoOfGroups(SelectorContract):
    selector = Auto()
    trials = 36
    questions = 5
    primary = None

    def list_problems(self, *cases):  # a question takes a second with forty tasks: twelve are many enough
        problems = super().list_problems(*(case[-12:] for case in cases))
        return [problem for problem in problems if not problem.primary and not problem.scored]


class TestAutoWithTag(SelectorContract):
    selector = Auto(evidence="tag")
    questions = 5


class TestMixing(SelectorContract):
    selector = GPMixing(samples=6)
    questions = 5


class TestAutoSeM(SelectorContract):
    selector = AutoSeM(rounds=20, samples=6)
    questions = 5


class TestPulls(SelectorContract):
    selector = Thompson(mode="trials", rounds=12)
    order_matters = True


class TestPipeline(SelectorContract):
    selector = Pipeline(
        (
            ("wide", RandomSubset(trials=3)),
            ("pulls", Thompson(mode="trials", rounds=6)),
            ("last", RandomSubset(size=1)),
        )
    )
    order_matters = True


class TestSearches(SelectorContract):
    selector = Searches(RandomSubset(trials=4), times=3)


class TestSearchesOfPipelines(SelectorContract):
    selector = Searches(Pipeline((("pulls", Thompson(mode="trials", rounds=4)), ("all", RandomSubset(trials=2)))), 2)
    order_matters = True


class TestRegisteredInner(InnerContract):
    @pytest.fixture(autouse=True, params=registry.INNER.names())
    def _selector(self, request):
        self.selector = registry.make_inner(request.param, {})


class TestMoreRunsThanSlots(SelectorContract):
    selector = Thompson(seeds=5, rounds=20)


TELL = """
from auxtune.selectors.registry import make, names
from auxtune.selectors.testing.contract import FORTY, build_problem, build_benchmark
from auxtune.selectors.testing.study import simulate_study
for name in names():
    problem = build_problem(FORTY)
    story = simulate_study(make(name, {}), problem, build_benchmark(problem), trials=8)
    print(name, story.proposals, story.steps[-1].selection)
"""


def test_another_process_with_another_hash_seed_tells_the_same_story():
    stories = {
        subprocess.run(
            [sys.executable, "-c", TELL],
            env={**os.environ, "PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(stories) == 1
    assert next(iter(stories)).count("\n") == len(registry.names())


FAULTS: list[tuple[type, str]] = []


def caught_by(test):
    """Expect that ``test`` of the suite fails for the class."""

    def note(cls):
        made = options(cls)
        FAULTS.append((made, test.__name__))
        return made

    return note


class Correct(RandomSubset):
    """What the faulty selectors below break in one place."""

    def propose(self, state, evidence):
        asked = super().propose(state, evidence)
        return self.spoil(asked) if isinstance(asked, Proposal) else asked

    def spoil(self, proposal):
        return proposal


@caught_by(SelectorContract.test_facts_are_declared_and_options_have_defaults)
class WithoutDefault(Correct):
    depth: int = field(kw_only=True)


@caught_by(SelectorContract.test_what_it_wants_is_what_it_asks_for)
class SteersUnsaid(Thompson):
    def wants(self):
        return replace(super().wants(), inside=frozenset())


@caught_by(SelectorContract.test_proposals_are_legal)
class TaskFromNowhere(Correct):
    def spoil(self, proposal):
        return replace(proposal, tasks=(*proposal.tasks, "nowhere"))


@caught_by(SelectorContract.test_proposals_are_legal)
class WithoutPrimary(Correct):
    def spoil(self, proposal):
        return replace(proposal, tasks=tuple(task for task in proposal.tasks if task != "target"))


@caught_by(SelectorContract.test_proposals_are_legal)
class SharesBeyondOne(Correct):
    def spoil(self, proposal):
        return replace(proposal, weights=dict.fromkeys(proposal.tasks, 0.9))


@caught_by(SelectorContract.test_words_are_plain)
class NumpySeed(Correct):
    def spoil(self, proposal):
        return replace(proposal, seed=np.int64(proposal.seed))


@caught_by(SelectorContract.test_words_are_plain)
class NumpyShares(Correct):
    def spoil(self, proposal):
        return replace(proposal, weights=dict.fromkeys(proposal.tasks, np.float64(1 / len(proposal.tasks))))


@caught_by(SelectorContract.test_words_are_plain)
class NotesThatJSONTurnsIntoOthers(Correct):
    def spoil(self, proposal):
        return replace(proposal, notes={**proposal.notes, "sizes": {1: "one"}})


@caught_by(SelectorContract.test_words_are_plain)
class BeliefThatIsNotANumber(Correct):
    def select(self, state, evidence):
        return replace(super().select(state, evidence), belief={"mean": float("nan")})


@caught_by(SelectorContract.test_asking_changes_nothing)
class HiddenGenerator(Correct):
    rng: ClassVar = np.random.default_rng(0)

    def spoil(self, proposal):
        return replace(proposal, seed=int(self.rng.integers(2**31)))


@caught_by(SelectorContract.test_asking_changes_nothing)
class LosesPatience(Thompson):
    mode: str = "trials"
    rounds: int = 6
    waits: ClassVar[list[int]] = []

    def propose(self, state, evidence):
        asked = super().propose(state, evidence)
        if isinstance(asked, Wait):
            self.waits.append(1)
        return Done() if len(self.waits) > 500 else asked


@caught_by(SelectorContract.test_a_continuation_starts_from_weights_in_use)
class LetsGoOfTheIncumbent(Thompson):
    mode: str = "trials"
    rounds: int = 6

    def checkpoints_in_use(self, state):
        return frozenset()


@caught_by(SelectorContract.test_folds_leave_their_inputs_alone)
class ChangesTheOldState(Correct):
    def proposed(self, state, number, proposal):
        state.trained[number] = proposal.tasks
        return state


@caught_by(SelectorContract.test_folds_leave_their_inputs_alone)
class ChangesTheOutcome(Correct):
    def told(self, state, number, outcome):
        outcome.metrics.setdefault("seen", len(outcome.metrics))
        outcome.metrics["seen"] += 1
        return super().told(state, number, outcome)


@caught_by(SelectorContract.test_folds_agree_at_any_cut)
class RemembersOutsideTheState(Correct):
    outcomes: ClassVar[list[int]] = []

    def told(self, state, number, outcome):
        self.outcomes.append(number)
        return super().told(state, number, outcome)

    def select(self, state, evidence):
        return replace(super().select(state, evidence), belief={"outcomes": len(self.outcomes)})


@caught_by(SelectorContract.test_arrival_order_alone_changes_nothing)
class BelievesTheLastOne(Correct):
    def told(self, state, number, outcome):
        return replace(state, scores={number: outcome.score} if outcome.ok else {})


@caught_by(SelectorContract.test_names_are_only_names)
class SortsByName(Correct):
    def spoil(self, proposal):
        return replace(proposal, tasks=tuple(sorted(proposal.tasks)))


@caught_by(SelectorContract.test_an_answer_is_legal_at_any_time)
class NoAnswerAtFirst(Correct):
    def select(self, state, evidence):
        return super().select(state, evidence) if state.scores else Selection("mixture")


@caught_by(SelectorContract.test_an_answer_is_legal_at_any_time)
class AnswersWithoutPrimary(Correct):
    def select(self, state, evidence):
        return Selection("mixture", state.problem.auxiliaries or state.problem.names)


@caught_by(SelectorContract.test_an_answer_is_legal_at_any_time)
class AnswersGroupsWithAMixture(Tag):
    def select(self, state, evidence):
        return Selection("mixture", state.problem.names)


@caught_by(SelectorContract.test_an_answer_is_legal_at_any_time)
class ServesTwice(Tag):
    def select(self, state, evidence):
        asked = super().select(state, evidence)
        return replace(asked, groups=tuple({**group, "serves": group["tasks"]} for group in asked.groups or ()) * 2)


@caught_by(SelectorContract.test_an_answer_is_legal_at_any_time)
class ServesOneOnly(Tag):
    def select(self, state, evidence):
        asked = super().select(state, evidence)
        return replace(asked, groups=tuple({**group, "serves": group["serves"][:1]} for group in asked.groups or ()))


@caught_by(SelectorContract.test_an_answer_is_legal_at_any_time)
class MoreModelsThanMayBeServed(Tag):
    def select(self, state, evidence):
        alone = tuple({"tasks": [task], "serves": [task]} for task in state.problem.names)
        return Selection("groups", groups=alone)


@caught_by(SelectorContract.test_failures_and_ties_are_borne)
class TakesFailureForSuccess(Correct):
    def told(self, state, number, outcome):
        return replace(state, scores={**state.scores, number: outcome.score or 0.0})

    def select(self, state, evidence):
        if 0.0 in state.scores.values():
            return Selection("mixture")
        return super().select(state, evidence)


@caught_by(SelectorContract.test_it_waits_only_for_its_own)
class WaitsForNobody(Correct):
    def propose(self, state, evidence):
        asked = super().propose(state, evidence)
        return Wait() if isinstance(asked, Done) else asked


@caught_by(SelectorContract.test_it_is_done_in_the_end)
class NeverDone(Correct):
    def propose(self, state, evidence):
        return Proposal(("target",), notes={"drawn": []})


@caught_by(SelectorContract.test_it_is_done_in_the_end)
class DoneTooEarly(Correct):
    def propose(self, state, evidence):
        if len(state.trained) == 2 and not state.scores:
            return Done()
        return super().propose(state, evidence)


@caught_by(SelectorContract.test_the_fewest_trials_are_no_more_than_it_asks_for)
class NeedsMoreThanItAsksFor(Correct):
    def fewest(self, problem):
        return 1000


@pytest.mark.parametrize(("fault", "test"), FAULTS, ids=[cls.__name__ for cls, _ in FAULTS])
def test_the_suite_catches(fault, test):
    suite = SelectorContract()
    suite.selector = fault(depth=1) if fault is WithoutDefault else fault()
    with pytest.raises(AssertionError):
        getattr(suite, test)()


def test_the_suite_passes_what_the_faults_are_made_from():
    suite = SelectorContract()
    suite.selector = options(Correct)()
    for test in properties():
        getattr(suite, test)()


def test_every_property_has_a_fault_that_it_catches():
    assert {test for _, test in FAULTS} == set(properties())
    assert len(properties()) == 15


def properties():
    return [name for name in dir(SelectorContract) if name.startswith("test_")]
