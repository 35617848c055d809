"""The contract that every selector keeps, as tests that the author of a plug-in inherits.

    from auxtune.selectors.testing.contract import SelectorContract

    class TestMarkov(SelectorContract):
        selector = Markov()

pytest collects and runs the methods; it is in the ``dev`` extra and is not imported here. No test takes an argument,
so each can be called by hand too. A broken promise is an ``AssertionError`` that names it. A selector of groups is
tried without a primary too, and one of mixtures with a score that belongs to no task. ``InnerContract`` is the same for
inner selectors. Set ``trials`` for a selector that may ask for more trials of a problem with three auxiliaries; lower
``questions`` if ``propose`` takes long; set ``order_matters`` if trials continue each other, so that the order of
their ends is part of what happened.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, get_args

from pydantic.fields import FieldInfo

from auxtune.selectors.beliefs import BELIEFS
from auxtune.selectors.extensions import list_checkpoints_in_use, read_beliefs, sum_versions
from auxtune.selectors.protocol import (
    Answer,
    Done,
    Inside,
    Objective,
    Outcome,
    Problem,
    Proposal,
    Selector,
    TaskInfo,
    Wait,
)
from auxtune.selectors.testing.benchmark import SyntheticBenchmark
from auxtune.selectors.testing.checks import (
    check_json,
    check_plain,
    check_selection,
    check_tasks,
    check_weights,
    list_needs,
)
from auxtune.selectors.testing.study import Event, SimulatedStudy, execute_proposal, fold, simulate_study

SMALL = ("helpful", "target", "useless", "harmful")  # the primary is not the first, neither here nor by name
FORTY = (*(f"task{i}" for i in range(39)), "target")
ALONE = ("target",)


def build_problem(names: Sequence[str], primary: str | None = "target", seed: int = 5) -> Problem:
    """A problem of classification tasks of different sizes; without a primary, for two models."""
    tasks = [TaskInfo(name, "classification", train_rows=1000 * (i + 1)) for i, name in enumerate(names)]
    return Problem(tuple(tasks), primary, seed, models=2 if primary is None else None)


def build_benchmark(problem: Problem, failing: float = 0.0) -> SyntheticBenchmark:
    """A slightly noisy benchmark in which auxiliaries by turns help, do nothing and harm."""
    effects = dict(zip(problem.auxiliaries, itertools.cycle((0.02, 0.0, -0.02)), strict=False))
    return SyntheticBenchmark(effects, noise=0.01, failing=failing)


class Contract:
    """The promises of every selector, whether it steers a study or a run."""

    selector: Selector
    trials: int = 50  # after which a simulated study is stopped
    questions: int = 1000  # how often the same proposal is asked for
    primary: str | None = "target"  # of the problem of a test that takes only one
    order_matters: bool = False

    def test_facts_are_declared_and_options_have_defaults(self) -> None:
        """The class declares its facts, is a frozen dataclass and can be made without options."""
        cls = type(self.selector)
        for fact in ("paper", "wants"):
            assert hasattr(cls, fact), f"{cls.__name__} must declare {fact}"
        assert sum_versions(self.selector) >= 1, f"{cls.__name__}.version must be a whole number from 1 on"
        assert dataclasses.is_dataclass(cls), f"{cls.__name__} must be a dataclass"
        assert cls.__dataclass_params__.frozen, f"{cls.__name__} must be frozen"
        try:
            made = cls()
        except (TypeError, ValueError) as error:
            raise AssertionError(f"options must have defaults: {error}") from error
        undecorated = [name for name, value in vars(made).items() if isinstance(value, FieldInfo)]
        assert not undecorated, f"{cls.__name__} must be decorated with @options, as its base is"

    def test_what_it_wants_is_what_it_asks_for(self) -> None:
        """``wants`` never changes, no proposal asks for more, and ``start`` refuses what it leaves out."""
        wants = self.selector.wants()
        assert wants == self.selector.wants(), "wants must say the same at every call"
        assert wants.objectives <= set(get_args(Objective)), f"unknown objectives, got {wants.objectives}"
        assert wants.inside <= set(get_args(Inside)), f"unknown needs inside a run, got {wants.inside}"
        assert wants.answers in get_args(Answer), f"unknown answers, got {wants.answers}"
        for problem in self.list_problems(SMALL):
            for proposal in self.simulate(problem).proposals:
                more = list_needs(proposal) - wants.inside
                assert not more, f"wants().inside must name all that a proposal needs, got one that needs {more}"
        if "groups" not in wants.objectives:
            try:
                self.selector.start(build_problem(SMALL, None))
            except ValueError:
                return
            raise AssertionError("without groups among its objectives it must refuse a problem without a primary")

    def test_proposals_are_legal(self) -> None:
        """Tasks of the problem, each once; shares of them that sum to 1."""
        for problem in self.list_problems(SMALL, FORTY, ALONE):
            for proposal in self.simulate(problem).proposals:
                self.check_proposal(problem, proposal)

    def test_an_answer_is_legal_at_any_time(self) -> None:
        """Before the first outcome, in the middle and at the end; with one task, four or forty."""
        for problem in self.list_problems(SMALL, FORTY, ALONE):
            for step in self.simulate(problem).steps:
                check_selection(problem, step.selection)

    def test_words_are_plain(self) -> None:
        """Native Python types throughout; free JSON survives JSON unchanged."""
        for step in (step for problem in self.list_problems(SMALL) for step in self.simulate(problem).steps):
            check_plain("propose", step.reply)
            check_plain("select", step.selection)
            check_json("belief", step.selection.belief)
            for _, each in read_beliefs(self.selector, step.selection.belief):
                assert isinstance(each, BELIEFS), f"beliefs must be those of selectors.beliefs, got {each}"
            if isinstance(step.reply, Proposal):
                check_json("notes", step.reply.notes)
                check_json("inner", step.reply.inner.options if step.reply.inner else {})

    def test_asking_changes_nothing(self) -> None:
        """A thousand questions, or Waits, get the same reply, and the study then continues as if no one had asked."""
        study = self.simulate(build_problem(SMALL, self.primary))
        evidence = study.evidence
        for step in {type(step.reply): step for step in study.steps}.values():
            for _ in range(self.questions if isinstance(step.reply, Proposal) else 1000):
                reply = self.selector.propose(step.state, evidence)
                assert reply == step.reply, "propose must depend on nothing but the state"
        self.check_retold(study)

    def test_folds_leave_their_inputs_alone(self) -> None:
        """Problem, proposals and outcomes are unchanged, and an old state still gives its old reply."""
        problem = build_problem(SMALL, self.primary)
        before = repr(problem)
        study = self.simulate(problem)
        events = repr(study.events)
        fold(self.selector, self.selector.start(problem), study.events)
        assert repr(problem) == before, "the problem was changed"
        assert repr(study.events) == events, "a fold changed the proposal or outcome it was given"
        for step in study.steps:
            assert self.selector.propose(step.state, study.evidence) == step.reply, "a fold changed an old state"
            assert self.selector.select(step.state, study.evidence) == step.selection, "a fold changed an old state"

    def test_folds_agree_at_any_cut(self) -> None:
        """Cut the events anywhere and fold them again: the reply and the answer are the same."""
        for problem, failing in itertools.product(self.list_problems(SMALL), (0.0, 0.5)):
            self.check_retold(self.simulate(problem, build_benchmark(problem, failing)))

    def test_a_continuation_starts_from_weights_in_use(self) -> None:
        """From a proposal of its own that has a score and whose checkpoint the selector has in use at that step."""
        for slots in (1, 3):
            study = self.simulate(build_problem(SMALL, self.primary), slots=slots)
            for step in study.steps:
                continued = step.reply.continuation if isinstance(step.reply, Proposal) else None
                if continued is not None and continued.start is not None:
                    told = {n for n, what in study.events[: step.folded] if isinstance(what, Outcome) and what.ok}
                    assert continued.start in told, (
                        f"a continuation must start from a trial with a score, got {continued.start}"
                    )
                    in_use = list_checkpoints_in_use(self.selector, step.state)
                    assert continued.start in in_use, (
                        f"a continuation must start from a checkpoint that is in use, got {continued.start}"
                    )

    def test_arrival_order_alone_changes_nothing(self) -> None:
        """Trials that ran side by side, told forwards and backwards, lead to the same reply and answer."""
        if self.order_matters:
            return
        problem = build_problem(SMALL, self.primary)
        benchmark, state = build_benchmark(problem), self.selector.start(problem)
        told: list[Event] = []
        evidence: dict[str, Any] = {}
        while len(told) < 4 and isinstance(reply := self.selector.propose(state, evidence), Proposal):
            proposal = execute_proposal(problem, reply)
            state = self.selector.proposed(state, len(told), proposal)
            told.append((len(told), benchmark.train(problem, len(told), proposal)))
            evidence.update(benchmark.evidence(problem, proposal))
        ends = [fold(self.selector, state, order) for order in (told, told[::-1])]
        replies = [self.selector.propose(end, evidence) for end in ends]
        answers = [self.selector.select(end, evidence) for end in ends]
        assert replies[0] == replies[1], "the order in which outcomes arrive must not change what comes next"
        assert answers[0] == answers[1], "the order in which outcomes arrive must not change the answer"

    def test_names_are_only_names(self) -> None:
        """The same tasks in the same order under other names: the same proposals."""
        other = {name: f"{9 - i} {name[::-1]}" for i, name in enumerate(SMALL)}
        problem = build_problem(SMALL, self.primary)
        renamed = build_problem(tuple(other.values()), self.primary and other[self.primary])
        expected = [tuple(other[task] for task in proposal.tasks) for proposal in self.simulate(problem).proposals]
        found = [proposal.tasks for proposal in self.simulate(renamed).proposals]
        assert found == expected, "what is proposed must not depend on what a task is called"

    def test_failures_and_ties_are_borne(self) -> None:
        """Half of the trials fail, all fail, all score the same: every answer stays legal."""
        for problem in self.list_problems(SMALL):
            for benchmark in (
                build_benchmark(problem, failing=0.5),
                build_benchmark(problem, failing=1.0),
                SyntheticBenchmark({}),
            ):
                for step in self.simulate(problem, benchmark).steps:
                    check_selection(problem, step.selection)

    def list_problems(self, *cases: Sequence[str]) -> list[Problem]:
        """A problem of the tasks of each case, without a primary too where the selector groups or mixes."""
        objectives = self.selector.wants().objectives
        primaries = ("target", None) if "groups" in objectives else ("target",)
        found = [build_problem(names, primary) for names in cases for primary in primaries]
        if "scored" in objectives:
            found += [dataclasses.replace(build_problem(names, None), models=None, scored="loss") for names in cases]
        return found

    def simulate(self, problem: Problem, benchmark: SyntheticBenchmark | None = None, slots: int = 3) -> SimulatedStudy:
        """The selector driven through ``benchmark``; without one, through that of ``build_benchmark``."""
        return simulate_study(self.selector, problem, benchmark or build_benchmark(problem), self.trials, slots)

    def check_proposal(self, problem: Problem, proposal: Proposal) -> None:
        """Raise ``AssertionError`` unless ``proposal`` is legal."""
        check_tasks(problem, proposal.tasks)
        check_weights(proposal.tasks, proposal.weights)

    def check_retold(self, study: SimulatedStudy) -> None:
        """Raise ``AssertionError`` unless a fresh selector replies as in ``study`` at every cut of its events."""
        options: Any = self.selector
        fresh: Selector = dataclasses.replace(options)
        for step in study.steps:
            state = fold(fresh, fresh.start(study.problem), study.events[: step.folded])
            differ = f"{step.folded} events folded again differ"
            assert fresh.propose(state, study.evidence) == step.reply, differ
            assert fresh.select(state, study.evidence) == step.selection, differ


class SelectorContract(Contract):
    """The further promises of a study's selector: it serves the primary, and it comes to an end."""

    def test_it_waits_only_for_its_own(self) -> None:
        """With nothing pending it proposes or is done, whatever failed; with one slot that is every time."""
        for problem, failing in itertools.product(self.list_problems(SMALL, ALONE), (0.0, 0.5, 1.0)):
            for step in self.simulate(problem, build_benchmark(problem, failing), slots=1).steps:
                assert not isinstance(step.reply, Wait), "Wait is legal only while own proposals are pending"

    def test_it_is_done_in_the_end(self) -> None:
        """A small problem ends after finitely many trials, even if all fail, and done stays done."""
        for problem, failing in itertools.product(self.list_problems(SMALL, ALONE), (0.0, 1.0)):
            replies = [step.reply for step in self.simulate(problem, build_benchmark(problem, failing)).steps]
            assert isinstance(replies[-1], Done), f"not done after {self.trials} trials of {len(problem.names)} tasks"
            first = next(i for i, reply in enumerate(replies) if isinstance(reply, Done))
            assert all(isinstance(reply, Done) for reply in replies[first:]), "done must stay done"

    def test_the_fewest_trials_are_no_more_than_it_asks_for(self) -> None:
        """``fewest`` is at most the number of trials that the selector makes."""
        for problem in self.list_problems(SMALL, FORTY, ALONE):
            fewest, made = self.selector.fewest(problem), len(self.simulate(problem).proposals)
            assert 0 <= fewest <= made, f"fewest must lie between 0 and the {made} trials made, got {fewest}"

    def check_proposal(self, problem: Problem, proposal: Proposal) -> None:
        """As for every selector, and the primary is trained, unless the run only measures."""
        super().check_proposal(problem, proposal)
        trained = problem.primary is None or proposal.measure or problem.primary in proposal.tasks
        assert trained, f"a proposal must train the primary, got {proposal.tasks}"


class InnerContract(Contract):
    """The further promise of an inner selector: one task in each round."""

    def check_proposal(self, problem: Problem, proposal: Proposal) -> None:
        """As for every selector; only the task of a round is recorded, so the proposal may hold nothing else."""
        super().check_proposal(problem, proposal)
        assert len(proposal.tasks) == 1, f"a round must train one task, got {proposal.tasks}"
        assert proposal == Proposal(proposal.tasks), f"a round must be a task and nothing else, got {proposal}"
