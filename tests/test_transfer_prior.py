"""The transfer prior: what it finds in planted logs, what never changes it, and when it does not trust itself."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from auxtune.selectors.kit.skill import compute_ndcg, compute_regret
from auxtune.selectors.kit.transfer import build_transfer_log, choose_rule, compute_likeness, list_rules, predict_scores
from auxtune.selectors.methods.transfer_prior import TransferPrior
from auxtune.selectors.protocol import Done, Measure, Outcome, Problem, Proposal, TaskInfo, Transfer
from auxtune.selectors.testing.contract import SelectorContract

NAMES = tuple(f"t{i}" for i in range(12))


class Remembers(TransferPrior):
    """With a log of the first few tasks, each on each and alone; of few tasks the target is among them."""

    def start(self, problem):
        names = problem.names[:6]
        scores = np.random.default_rng(problem.seed).normal(size=(len(names),) * 2)
        earlier = [
            Transfer(source if source != target else None, target, float(scores[row, column]))
            for row, target in enumerate(names)
            for column, source in enumerate(names)
        ]
        return super().start(replace(problem, earlier=tuple(earlier)))


class TestRemembers(SelectorContract):
    selector = Remembers(try_top=2)
    questions = 10  # to rank takes some hundredths of a second


class TestRemembersAndMeasures(SelectorContract):
    selector = Remembers(similarity="covariance", try_top=2)
    questions = 10


class RanksWithoutThePrimary(TransferPrior):
    def select(self, state, evidence):
        asked = super().select(state, evidence)
        return replace(asked, tasks=state.problem.auxiliaries or asked.tasks)


def test_the_contract_suite_catches_a_ranking_that_does_not_train_the_primary():
    suite = SelectorContract()
    suite.selector = RanksWithoutThePrimary()
    with pytest.raises(AssertionError, match="must hold the primary"):
        suite.test_an_answer_is_legal_at_any_time()


def problem_of(earlier, primary="t3", names=NAMES, seed=0):
    tasks = tuple(TaskInfo(name, "classification", 1000) for name in names)
    return Problem(tasks, primary, seed, earlier=tuple(earlier))


def planted(seed, worth, seeds=1, noise=0.3, names=NAMES):
    """Rows of every source on every target, each target in units of its own, and alone; ``worth[target, source]``."""
    rng = np.random.default_rng(seed)
    rows = []
    for target, row in zip(names, worth, strict=True):
        level, unit = rng.uniform(40, 90), rng.uniform(0.1, 10)
        for source, value in [*zip(names, row, strict=True), (None, 0.0)]:
            if source != target:
                rows += [
                    Transfer(source, target, level + unit * (value + noise * float(rng.normal())), s)
                    for s in range(seeds)
                ]
    return rows


def popular(seed):
    """Some sources help whatever the target is."""
    rng = np.random.default_rng([seed, 1])
    return np.tile(rng.normal(size=len(NAMES)), (len(NAMES), 1)) + 0.3 * rng.normal(size=(len(NAMES),) * 2)


def families(seed):
    """Sources help the targets of their own family, some more than others, and harm those of the other as much."""
    rng = np.random.default_rng([seed, 2])
    family = rng.permutation(len(NAMES)) % 2
    return np.where(family[:, None] == family, 1.0, -1.0) * rng.uniform(0.5, 1.5, len(NAMES))


def answer(rows, selector=None, **problem):
    selector = selector or TransferPrior()
    return selector.select(selector.start(problem_of(rows, **problem)), {})


def judged(rows, worth, selector, primary):
    """NDCG and regret at 3 of the ranking for ``primary``, by the planted truth."""
    scores = dict(answer(rows, selector, primary=primary).ranking)
    sources = [name for name in NAMES if name != primary]
    true = np.array([worth[NAMES.index(primary), NAMES.index(source)] for source in sources])
    guess = np.array([scores[source] for source in sources])
    return (
        compute_ndcg(guess, true),
        compute_regret(3, guess, true),
        compute_ndcg(np.zeros(11), true),
        compute_regret(3, np.zeros(11), true),
    )


def over_draws(plant, selector):
    """Means over 15 draws of what the selector and what chance comes to, a target each."""
    found = [judged(planted(s, plant(s)), plant(s), selector, NAMES[s % 12]) for s in range(15)]
    return np.mean(found, axis=0)


def test_a_popular_source_is_found_and_random_does_not_find_it():
    quality, regret, by_chance, regret_by_chance = over_draws(popular, TransferPrior())
    assert quality > 85 and by_chance < 60
    assert regret < 5 < 20 < regret_by_chance


def test_families_are_found_by_pivots_where_popularity_knows_nothing():
    quality, regret, by_chance, regret_by_chance = over_draws(families, TransferPrior())
    popularity, *_ = over_draws(families, TransferPrior(similarity="none"))
    # Of a target's own family five of eleven are left, so popularity leans the wrong way.
    assert quality > by_chance + 15 and popularity < by_chance
    assert regret < 20 < regret_by_chance


def test_the_tasks_to_train_are_the_best_few_and_none_that_is_worse_than_nothing():
    worth = families(4)
    selection = answer(planted(4, worth), TransferPrior(keep=12))
    assert selection.kind == "ranking" and selection.belief["skill"]["shown"]
    helpful = {name for name, value in zip(NAMES, worth[3], strict=True) if value > 0}
    assert set(selection.tasks) == helpful | {"t3"}
    best = answer(planted(4, worth), TransferPrior(keep=2))
    assert set(best.tasks) == {"t3", *(source for source, _ in selection.ranking[:2])}
    without_alone = [row for row in planted(4, worth) if row.source is not None]
    assert answer(without_alone, TransferPrior(keep=12)).tasks == NAMES
    assert answer(without_alone).belief["nothing"] is None


def test_noise_shows_no_skill_and_leaves_all_tasks():
    shown = 0
    for seed in range(40):
        rows = planted(seed, np.zeros((12, 12)), noise=1.0)
        selection = answer(rows, seed=seed)
        shown += selection.belief["skill"]["shown"]
        if not selection.belief["skill"]["shown"]:
            assert selection.tasks == NAMES and "no better than by chance" in selection.belief["why"]
            assert selection.belief["rule"] == "popularity" and len(selection.ranking) == 11
    assert shown <= 4  # 2.5 % of 40 is 1; five or more have a chance of 0.3 %


def test_rows_of_the_target_itself_change_nothing():
    rows = planted(2, families(2))
    others = [row for row in rows if row.target != "t3"]
    lies = [Transfer(source, "t3", 1000.0 * place) for place, source in enumerate((*NAMES, None))]
    for selector in (TransferPrior(), TransferPrior(similarity="none")):
        expected = answer(others, selector)
        assert answer(rows, selector) == expected == answer([*lies, *others, *lies], selector)
    assert answer(rows, primary="t4") != answer(others, primary="t4")


def test_in_the_log_too_a_target_left_out_is_ranked_without_its_own_rows():
    transfers = build_transfer_log(problem_of(planted(1, families(1)))).transfers.values
    spoiled = transfers.copy()
    spoiled[5] = -3 * spoiled[5][::-1]
    spoiled[5, 5] = np.nan
    options, nothing = list_rules(None, True), np.full((12, 1), np.nan)
    before, after = (
        predict_scores(options, each, compute_likeness(each), nothing)[:, 5] for each in (transfers, spoiled)
    )
    assert len(options) == 6 and after == pytest.approx(before)


def test_the_units_of_a_target_change_nothing():
    rows = planted(3, families(3), seeds=2)
    rescaled = [replace(row, score=0.01 * row.score - 7) if row.target == "t8" else row for row in rows]
    before, after = answer(rows), answer(rescaled)
    assert [source for source, _ in after.ranking] == [source for source, _ in before.ranking]
    assert dict(after.ranking) == pytest.approx(dict(before.ranking))
    assert after.tasks == before.tasks and after.belief["skill"] == pytest.approx(before.belief["skill"])


def test_names_change_nothing():
    rows = planted(3, families(3))
    other = {name: f"{99 - place} {name}" for place, name in enumerate(NAMES)} | {None: None}
    renamed = [replace(row, source=other[row.source], target=other[row.target]) for row in rows]
    before = answer(rows)
    after = answer(renamed, primary=other["t3"], names=tuple(other[name] for name in NAMES))
    assert after.ranking == tuple((other[source], score) for source, score in before.ranking)
    assert after.tasks == tuple(other[task] for task in before.tasks)


def test_a_log_with_gaps_still_ranks():
    qualities = []
    for seed in range(10):
        worth, rng = families(seed), np.random.default_rng([seed, 3])
        rows = [row for row in planted(seed, worth) if rng.random() < 0.7 or row.source is None]
        quality, _, by_chance, _ = judged(rows, worth, TransferPrior(), "t3")
        qualities.append(quality - by_chance)
    assert np.mean(qualities) > 15 and min(qualities) > -30


def test_a_target_that_is_like_nobody_the_log_knows_is_served_by_popularity():
    rows = [row for row in planted(1, popular(1)) if row.source != "t3"]
    selection = answer(rows)
    assert list(selection.belief["left_out_ndcg"]) == ["popularity"] and selection.belief["skill"]["shown"]
    assert selection == answer(rows, TransferPrior(similarity="none"))


def test_sources_that_the_log_does_not_know_are_named_and_ranked_as_average():
    rows = [row for row in planted(1, popular(1)) if row.source != "t7"]
    selection = answer(rows)
    places = [source for source, _ in selection.ranking]
    assert selection.belief["unknown"] == ["t7"]
    assert 0 < places.index("t7") < 10


def test_tasks_that_only_the_log_knows_are_pivots_but_no_candidates():
    few = ("t3", "t0", "t1", "t2")
    selection = answer(planted(1, popular(1)), names=few)
    assert {source for source, _ in selection.ranking} == {"t0", "t1", "t2"}
    assert selection.belief["targets"] == 11 and set(selection.tasks) <= set(few)


def test_one_other_target_ranks_but_shows_no_skill():
    rows = [row for row in planted(1, popular(1)) if row.target == "t0"]
    selection = answer(rows)
    order = {row.source: row.score for row in rows if row.source not in (None, "t3")}
    known = [source for source, _ in selection.ranking if source != "t0"]
    assert known == sorted(order, key=order.__getitem__, reverse=True)
    assert selection.tasks == NAMES and selection.belief["skill"] is None
    assert "no two other targets" in selection.belief["why"]


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [Transfer("t0", "t3", 0.5), Transfer("t1", "t3", 0.7)],
        [Transfer("t0", "t1", 0.5), Transfer("t2", "t1", 0.5)],
        [Transfer("t1", "t1", 0.5), Transfer("t2", "t1", float("nan"))],
    ],
)
def test_a_log_that_says_nothing_leaves_all_tasks(rows):
    selector = TransferPrior(similarity="covariance", try_top=3)
    problem = problem_of(rows)
    state = selector.start(problem)
    assert selector.propose(state, {}) == Done() and selector.fewest(problem) == 0
    selection = selector.select(state, {})
    assert selection.tasks == NAMES and "no earlier study" in selection.belief["why"]
    assert selection.ranking == tuple((name, 0.0) for name in problem.auxiliaries)


def test_one_scale_by_hand():
    rows = [Transfer("t1", "t0", 2.0), Transfer("t2", "t0", 4.0), Transfer(None, "t0", 5.0), Transfer("t0", "t0", 99.0)]
    log = build_transfer_log(problem_of(rows))
    assert log.transfers.read_row("t0")["t1"] == -1 and log.transfers.read_row("t0")["t2"] == 1
    assert log.nothing[0] == 2 and log.targets == 1 and log.place("t3") == 3
    assert np.isfinite(log.transfers.values).sum() == 2


def test_few_seeds_are_drawn_to_the_mean():
    # One source in four seeds, two in one: the spread over seeds is 0.5 on the scale of the target.
    scores = {"t1": [1.0, 2.0, 1.0, 2.0], "t2": [4.5], "t4": [0.0]}
    rows = [Transfer(source, "t0", score, seed) for source, of in scores.items() for seed, score in enumerate(of)]
    found = build_transfer_log(problem_of(rows)).transfers.read_row("t0")
    spread = np.std([1.5, 4.5, 0.0])
    noise = 1 / 3 / spread**2
    signal = 1 - noise * np.mean([1 / 4, 1, 1])
    plain = (np.array([1.5, 4.5, 0.0]) - 2) / spread
    shares = signal / (signal + noise / np.array([4, 1, 1]))
    assert [found[source] for source in scores] == pytest.approx(list(plain * shares))


def test_popularity_by_hand():
    transfers = np.array([[np.nan, 1.0, -1.0, np.nan], [2.0, np.nan, 0.0, -2.0], [np.nan] * 4, [np.nan] * 4])
    popularity = list_rules(None, likeness=False)
    found = predict_scores(popularity, transfers, np.zeros((4, 4)), np.full((4, 1), np.nan))[0, 3]
    # Means with one imagined target of 0 more: 2/2, 1/2, -1/3; then standardised over the three sources.
    means = np.array([1.0, 0.5, -1 / 3])
    assert found[:3] == pytest.approx((means - means.mean()) / means.std())
    assert found[4] == pytest.approx((0 - means.mean()) / means.std())


def test_likeness_is_the_correlation_of_what_two_tasks_do_for_the_targets_of_both():
    rng = np.random.default_rng(0)
    transfers = rng.normal(size=(8, 8))
    transfers[rng.random((8, 8)) < 0.2] = np.nan
    np.fill_diagonal(transfers, np.nan)
    found = compute_likeness(transfers)
    for one in range(8):
        for other in range(8):
            both = np.isfinite(transfers[:, one]) & np.isfinite(transfers[:, other])
            expected = 0.0
            if one != other and both.sum() >= 3:
                expected = np.corrcoef(transfers[both][:, [one, other]].T)[0, 1] * both.sum() / (both.sum() + 3)
            assert found[one, other] == pytest.approx(expected)


def test_a_given_direct_share_is_used():
    assert [(rule.name, rule.direct) for rule in list_rules(0.5, likeness=True)] == [
        ("popularity", 0.0),
        ("popularity, direct 0.5", 0.5),
        ("popularity and pivots, direct 0.5", 0.5),
        ("pivots, direct 0.5", 0.5),
    ]
    assert all(sum((rule.popularity, rule.pivots, rule.direct)) == pytest.approx(1) for rule in list_rules(0.5, True))
    log = build_transfer_log(problem_of(planted(1, families(1)))).transfers.values
    assert set(choose_rule(list_rules(0.5, True), log, compute_likeness, 0).ndcg) == {
        rule.name for rule in list_rules(0.5, True)
    }


def test_the_best_are_tried_and_share_out_their_places_by_what_they_score():
    selector, rows = TransferPrior(try_top=3), planted(4, families(4))
    state = selector.start(problem_of(rows))
    before = selector.select(state, {}).ranking
    asked = []
    while isinstance(proposal := selector.propose(state, {}), Proposal):
        state = selector.proposed(state, len(asked), proposal)
        asked.append(proposal)
    best = [source for source, _ in before]
    assert [set(proposal.tasks) for proposal in asked] == [{"t3", source} for source in best[:3]]
    assert [proposal.stage for proposal in asked] == ["try"] * 3 and len({p.seed for p in asked}) == 1
    for number, score in enumerate((0.5, None, 0.8)):
        state = selector.told(state, number, Outcome(score, why=None if score else "error"))
    selection = selector.select(state, {})
    assert [source for source, _ in selection.ranking] == [best[2], best[1], best[0], *best[3:]]
    assert [score for _, score in selection.ranking] == [score for _, score in before]
    assert selection.belief["tried"] == {best[0]: 0.5, best[2]: 0.8}


def arrays_of(task, worth):
    """Embeddings along one direction for each family, with some of the other in each."""
    own = 1.0 if worth[0, NAMES.index(task)] > 0 else 0.1
    return {"covariance": np.diag([own, 1.1 - own, 0.2 + 0.01 * NAMES.index(task)]), "mean": np.zeros(3)}


def test_covariances_tell_families_apart_where_the_target_was_never_a_source():
    worth = families(6)
    rows = [row for row in planted(6, worth) if row.source != "t3"]
    selector, problem = TransferPrior(similarity="covariance"), problem_of(rows)
    state, asked, evidence = selector.start(problem), [], {}
    while isinstance(proposal := selector.propose(state, evidence), Proposal):
        state = selector.proposed(state, len(asked), proposal)
        asked.append(proposal)
    assert [proposal.tasks[0] for proposal in asked] == ["t3", *problem.auxiliaries]
    assert all(p.measure == (Measure("covariance", {"at": "embeddings"}),) and not p.trains for p in asked)
    assert selector.fewest(problem) == 12
    for number, proposal in enumerate(asked):
        evidence[f"key {number}"] = arrays_of(proposal.tasks[0], worth)
        state = selector.told(state, number, Outcome(0.0, evidence={"covariance": f"key {number}"}))
    selection = selector.select(state, evidence)
    own = {name for name, value in zip(NAMES, worth[3], strict=True) if value > 0} - {"t3"}
    assert selection.belief["skill"]["shown"] and {source for source, _ in selection.ranking[: len(own)]} == own
    blind = selector.select(selector.start(problem), {})
    assert blind.belief["rule"] == "popularity" and list(blind.belief["left_out_ndcg"]) == ["popularity"]


def test_a_problem_of_one_task_has_nothing_to_rank():
    selection = answer([Transfer("t0", "t1", 0.5)], names=("t3",))
    assert selection.tasks == ("t3",) and selection.kind == "mixture"


def test_a_primary_is_needed():
    with pytest.raises(ValueError, match="needs a primary task, got none"):
        TransferPrior().start(problem_of([], primary=None))
