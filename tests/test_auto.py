"""Searches over shares: what the process believes, what one more training is worth, and what `auto` finds with it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from auxtune.selectors.kit.candidates import Candidates, build_candidates
from auxtune.selectors.kit.knowledge_gradient import KnowledgeGradient
from auxtune.selectors.kit.mixture_search import MixtureSearch, MixtureState
from auxtune.selectors.kit.mixtures import count_cycle, share_by_cycle
from auxtune.selectors.kit.process import FOR_SEARCH, Process, fit_process
from auxtune.selectors.methods.auto import Auto
from auxtune.selectors.methods.random_mixture import RandomMixture
from auxtune.selectors.protocol import Done, Outcome, Problem, Proposal, TaskInfo, Wait

Surface = Callable[[np.ndarray], float]


def problem_of(tasks: int, seed: int = 0, scored: str | None = None) -> Problem:
    infos = tuple(TaskInfo(f"t{i:03}", "classification", 1000) for i in range(tasks))
    return Problem(infos, None if scored else "t000", seed, scored=scored)


def search(
    selector: MixtureSearch, problem: Problem, surface: Surface, trials: int, noise: float = 0.0
) -> tuple[MixtureState, list[Proposal]]:
    """The state after up to ``trials`` trainings one after another, and what was proposed."""
    state, asked = selector.start(problem), []
    rng = np.random.default_rng([problem.seed, 1])
    for number in range(trials):
        proposal = selector.propose(state, {})
        if isinstance(proposal, Done):
            break
        assert isinstance(proposal, Proposal)
        state = run(selector, state, number, proposal, lambda w: surface(w) + noise * rng.standard_normal())
        asked.append(proposal)
    return state, asked


def run(
    selector: MixtureSearch, state: MixtureState, number: int, proposal: Proposal, surface: Surface
) -> MixtureState:
    """The state after one training with the shares that a study would execute."""
    state = begin(selector, state, number, proposal)
    return selector.told(state, number, Outcome(surface(np.array(state.mixtures[number]))))


def begin(selector: MixtureSearch, state: MixtureState, number: int, proposal: Proposal) -> MixtureState:
    shares = share_by_cycle(count_cycle(dict(proposal.shares), state.problem.primary))
    return selector.proposed(state, number, replace(proposal, weights=shares))


def answer(selector: MixtureSearch, state: MixtureState) -> np.ndarray:
    weights = selector.select(state, {}).weights or {}
    return np.array([weights.get(name, 0.0) for name in state.problem.names])


def pair(shares: np.ndarray) -> float:
    """Best with the primary and task 1 half and half."""
    best = np.zeros(len(shares))
    best[:2] = 0.5
    return float(-((np.sqrt(shares) - np.sqrt(best)) ** 2).sum())


def harmful(shares: np.ndarray) -> float:
    """Every auxiliary hurts."""
    return float(shares[0])


@pytest.fixture(scope="module")
def process() -> tuple[Process, np.ndarray]:
    tried = Candidates(5, 0, 0.05).draw(np.random.default_rng(0), 15)
    scores = np.array([pair(shares) for shares in tried]) + 0.02 * np.random.default_rng(1).normal(size=15)
    return fit_process(tried, scores, FOR_SEARCH), tried


def test_the_posterior_is_that_of_the_textbook(process: tuple[Process, np.ndarray]) -> None:
    """Rasmussen and Williams 2006, equations 2.25 and 2.26, by a plain inverse."""
    fitted, tried = process
    fresh = Candidates(5, 0, 0.05).draw(np.random.default_rng(2), 7)
    relate = fitted.relate
    inverse = np.linalg.inv(relate(tried, tried) + fitted.noise * np.eye(len(tried)))
    cross = relate(fresh, tried)
    mean = fitted.centre + fitted.scale * cross @ inverse @ fitted.targets
    covariance = fitted.scale**2 * (relate(fresh, fresh) - cross @ inverse @ cross.T)
    assert fitted(fresh) == pytest.approx(mean, rel=1e-6)
    doubts = fitted.predict(fresh)[1]
    assert doubts.share_with(doubts) == pytest.approx(covariance, abs=1e-6 * fitted.scale**2)
    assert doubts.variances == pytest.approx(np.diag(covariance), abs=1e-6 * fitted.scale**2)


def test_what_is_under_way_leaves_means_and_takes_doubt(process: tuple[Process, np.ndarray]) -> None:
    fitted, _ = process
    fresh = Candidates(5, 0, 0.05).draw(np.random.default_rng(3), 4)
    imagined = fitted.imagine(fresh[:1])
    assert imagined(fresh) == pytest.approx(fitted(fresh), abs=1e-6)
    before, after = fitted.predict(fresh)[1].variances, imagined.predict(fresh)[1].variances
    assert (after <= before + 1e-9).all() and after[0] < 0.7 * before[0]


def test_the_gain_is_what_simulated_trainings_gain(process: tuple[Process, np.ndarray]) -> None:
    fitted, tried = process
    candidates = np.concatenate([Candidates(5, 0, 0.05).draw(np.random.default_rng(4), 3), tried[:2]])
    gains = KnowledgeGradient(fitted, tried).estimate_gains(candidates)
    rng = np.random.default_rng(5)
    for candidate, gain in zip(candidates, gains, strict=True):
        points = np.concatenate([tried, candidate[None]])
        means, doubts = fitted.predict(points)
        covariance = doubts.share_with(doubts)[:, -1]
        deviation = np.sqrt(covariance[-1] + fitted.noise_deviation**2)
        moved = means[:, None] + (covariance / deviation)[:, None] * rng.standard_normal(200_000)
        simulated = moved.max(axis=0) - means[:-1].max()
        assert gain == pytest.approx(simulated.mean(), abs=4 * simulated.std() / np.sqrt(200_000) + 2e-3 * gain)


@pytest.mark.parametrize(("tasks", "primary"), [(2, 0), (9, 4), (40, 0), (6, None)])
def test_candidates_are_mixtures_sparse_and_above_the_floor(tasks: int, primary: int | None) -> None:
    candidates, rng = Candidates(tasks, primary, 0.1), np.random.default_rng(0)
    drawn = candidates.draw(rng, 400)
    near = candidates.draw_neighbours(drawn[0], rng)
    for shares in (drawn, near, candidates.list_simple(), candidates.draw_far(rng, drawn[:5])[None]):
        assert shares.sum(axis=1) == pytest.approx(np.ones(len(shares)))
        assert (shares >= 0).all()
        if primary is not None:
            assert (shares[:, primary] >= 0.1 - 1e-9).all()
    assert np.median((drawn > 0).sum(axis=1)) <= max(3, tasks / 3)
    if primary is not None:
        assert (drawn[:, primary] > 0.5).mean() > 0.2  # what a small primary needs is among them


def test_it_begins_with_what_people_train_without_a_search() -> None:
    _, asked = search(Auto(), problem_of(4), pair, 3)
    assert asked[0].tasks == ("t000",)
    assert dict(asked[1].shares) == dict.fromkeys(problem_of(4).names, 0.25)


def test_it_finds_a_pair_among_nine_where_random_draws_do_not() -> None:
    missed = {}
    for selector in (Auto(), RandomMixture(trials=None)):
        runs = [search(selector, problem_of(9, seed), pair, 25, noise=0.03) for seed in range(6)]
        missed[type(selector)] = -np.mean([pair(answer(selector, state)) for state, _ in runs])
    assert missed[Auto] < 0.05  # all tasks alike miss by 1.06
    assert missed[Auto] < missed[RandomMixture] / 2


@pytest.mark.parametrize("seed", range(3))
def test_it_says_the_primary_alone_where_every_auxiliary_hurts(seed: int) -> None:
    selector = Auto()
    state, _ = search(selector, problem_of(6, seed), harmful, 20, noise=0.01)
    chosen = selector.select(state, {})
    assert chosen.tasks == ("t000",)
    assert chosen.belief["better_than"]["all tasks"] > 0.99


def test_what_is_not_surely_better_than_the_primary_alone_is_not_answered() -> None:
    """The best posterior mean of thirty mixtures that are all alike is luck."""
    answers = []
    for seed in range(6):
        selector, problem = Auto(stop=None), problem_of(6, seed)
        state, _ = search(selector, problem, lambda shares: 0.0, 30, noise=1.0)
        selection = selector.select(state, {})
        answers.append(selection.tasks)
        if selection.tasks == ("t000",):
            leaders = selection.belief["leaders"]
            is_best = leaders[0]["mean"] >= max(leader["mean"] for leader in leaders)
            assert is_best or selection.belief["why"].startswith("no mixture is better than t000 alone with a prob")
    assert answers.count(("t000",)) >= 5


@pytest.mark.parametrize("seed", range(3))
def test_it_stops_by_itself_where_nothing_matters_and_not_with_stop_null(seed: int) -> None:
    state, asked = search(Auto(), problem_of(5, seed), lambda _: 0.0, 60, noise=1.0)
    assert 25 <= len(asked) < 60
    assert Auto().select(state, {}).belief["gain"] < 0.1 * Auto().select(state, {}).belief["noise"]
    assert len(search(Auto(stop=None), problem_of(5, seed), lambda _: 0.0, 60, noise=1.0)[1]) == 60


def test_noise_is_answered_by_more_trainings_like_the_best() -> None:
    state, asked = search(Auto(stop=None), problem_of(3), pair, 30, noise=0.2)
    assert len({proposal.seed for proposal in asked}) == len(asked)
    late = np.array(list(state.mixtures.values()))[15:]
    assert np.median(np.abs(late - answer(Auto(), state)).sum(axis=1) / 2) < 0.15


def test_trainings_under_way_are_not_proposed_twice() -> None:
    selector, problem = Auto(), problem_of(6)
    state, _ = search(selector, problem, pair, 8)
    for number in range(8, 12):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        state = begin(selector, state, number, proposal)
    assert len(set(list(state.mixtures.values())[8:])) == 4


def test_it_waits_for_what_is_under_way_before_it_is_done() -> None:
    selector = Auto(stop=1e9)  # any gain is too small
    state, _ = search(selector, problem_of(3), pair, 22)
    state = begin(selector, state, 22, Proposal(("t000", "t001"), {"t000": 0.5, "t001": 0.5}))
    state = selector.told(begin(selector, state, 23, Proposal(("t000",), {"t000": 1.0})), 23, Outcome(0.0))
    assert isinstance(selector.propose(state, {}), Wait)
    assert isinstance(selector.propose(selector.told(state, 22, Outcome(0.0)), {}), Done)


def test_failures_are_the_worst_and_never_the_answer() -> None:
    selector = Auto()
    state = selector.start(problem_of(4))
    for number in range(10):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        state = begin(selector, state, number, proposal)
        shares = np.array(state.mixtures[number])
        failed = shares[1] > 0.3
        outcome = Outcome(None, why="NaN") if failed else Outcome(pair(shares))
        state = selector.told(state, number, outcome)
    assert answer(selector, state)[1] <= 0.3
    tried = np.array([state.mixtures[number] for number in range(5, 10)])
    assert (tried[:, 1] > 0.3).sum() <= 1


def test_it_ends_where_everything_fails() -> None:
    selector = Auto()
    state = selector.start(problem_of(4))
    for number in range(50):
        proposal = selector.propose(state, {})
        if isinstance(proposal, Done):
            break
        assert isinstance(proposal, Proposal)
        state = selector.told(begin(selector, state, number, proposal), number, Outcome(None, why="NaN"))
    assert number == 20 and selector.select(state, {}).tasks == problem_of(4).names


@pytest.mark.parametrize("tasks", [1, 2, 30])
@pytest.mark.parametrize("scored", [None, "mean"])
def test_it_answers_at_any_time(tasks: int, scored: str | None) -> None:
    problem = problem_of(tasks, scored=scored)
    for trials in (0, 1, 3, 7):
        state, asked = search(Auto(), problem, lambda shares: float(shares[-1]), trials)
        assert len(asked) == min(trials, 1 if tasks == 1 else trials)
        assert answer(Auto(), state).sum() == pytest.approx(1) or not state.good


def test_without_a_primary_a_single_task_can_be_the_answer() -> None:
    problem = problem_of(6, scored="mean")
    state, _ = search(Auto(), problem, lambda shares: float(np.sqrt(shares[3])), 15)
    assert build_candidates(problem, 0.05).primary is None
    assert answer(Auto(), state)[3] > 0.9


def test_where_mixtures_are_offered_it_chooses_among_them_and_each_once() -> None:
    rng = np.random.default_rng(0)
    offered = tuple(map(tuple, Candidates(8, 0, 0.05).draw(rng, 200).tolist()))
    problem = replace(problem_of(8), offered=offered)
    selector = Auto(stop=None)
    state, scores = selector.start(problem), []
    for number in range(len(offered) + 1):
        proposal = selector.propose(state, {})
        if isinstance(proposal, Done):
            break
        assert isinstance(proposal, Proposal)
        assert tuple(proposal.shares.get(name, 0.0) for name in problem.names) in offered
        state = selector.proposed(state, number, proposal)
        scores.append(pair(np.array(state.mixtures[number])))
        state = selector.told(state, number, Outcome(scores[-1]))
        if number == 40:
            best = max(pair(np.array(mixture)) for mixture in offered)
            assert max(scores) == best  # a fifth of all; at random it would be found by then one time of five
            break
    assert len(set(state.mixtures.values())) == len(state.mixtures)


def test_it_is_done_when_all_that_is_offered_was_trained() -> None:
    problem = replace(problem_of(2), offered=((1.0, 0.0), (0.5, 0.5), (0.2, 0.8)))
    selector = Auto()
    state = selector.start(problem)
    for number in range(3):
        proposal = selector.propose(state, {})
        assert isinstance(proposal, Proposal)
        state = selector.told(selector.proposed(state, number, proposal), number, Outcome(float(number)))
    assert isinstance(selector.propose(state, {}), Done)
    assert selector.select(state, {}).belief["gain"] == 0.0


def test_a_stage_of_its_own_is_offered_the_mixtures_of_its_tasks() -> None:
    problem = replace(problem_of(3), offered=((0.5, 0.5, 0.0), (0.2, 0.3, 0.5), (0.25, 0.0, 0.75)))
    narrowed = problem.keep_tasks({"t000", "t002"})
    assert narrowed.names == ("t000", "t002") and narrowed.offered == ((0.25, 0.75),)
    proposal = Auto().propose(Auto().start(narrowed), {})
    assert isinstance(proposal, Proposal) and proposal.shares == {"t000": 0.25, "t002": 0.75}
    assert problem_of(3).keep_tasks({"t000"}).offered == ()
