"""GradTS: its threshold from twins, its prefixes and where they stop; each from known importances."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

import numpy as np
import pytest

from auxtune.selectors import registry
from auxtune.selectors.methods.gradts_threshold import GradTSThreshold, bound_prediction
from auxtune.selectors.methods.gradts_trial import GradTSTrial
from auxtune.selectors.protocol import Done, Outcome, Problem, Proposal, Selection, Selector, TaskInfo, Wait
from auxtune.selectors.testing.contract import SelectorContract

# Six heads of one layer in the order of their importance; tau with the primary's is known by hand.
PRIMARY = (1, 2, 3, 4, 5, 6)
HEADS = {
    "p": PRIMARY,
    "a": (1, 2, 3, 4, 6, 5),  # 13/15
    "b": (2, 1, 4, 3, 6, 5),  # 0.6
    "c": (3, 2, 1, 4, 6, 5),  # 7/15
    "d": (4, 3, 2, 1, 6, 5),  # 1/15
    "e": (6, 5, 4, 3, 2, 1),  # -1
}
TAU = {"a": 13 / 15, "b": 0.6, "c": 7 / 15, "d": 1 / 15, "e": -1.0}
ORDER = ("a", "b", "c", "d", "e")


def problem_of(names: tuple[str, ...] = ("d", "b", "p", "e", "a", "c"), seed: int = 3) -> Problem:
    return Problem(tuple(TaskInfo(name, "classification", 1000) for name in names), "p", seed)


@dataclass
class Lab:
    """A study by hand: importances are given, a prefix of the ranking scores as given, by its length."""

    selector: Selector
    heads: Mapping[str, tuple[object, ...]] = field(default_factory=lambda: HEADS)
    twins: tuple[tuple[int, ...] | None, ...] = ()
    scores: tuple[float | None, ...] = ()  # by length from 0, the primary alone
    failed: frozenset[str] = frozenset()
    evidence: dict[str, dict[str, np.ndarray]] = field(default_factory=dict)
    shuffles: list[int] = field(default_factory=list)

    def run(self, problem: Problem, slots: int = 1, backwards: bool = False) -> tuple[Selection, list[Proposal]]:
        """The answer and all that was asked for; trials end in order, or those under way from the newest."""
        state, asked, pending = self.selector.start(problem), [], []
        while True:
            reply = self.selector.propose(state, self.evidence) if len(pending) < slots else Wait()
            if isinstance(reply, Proposal):
                asked.append(reply)
                pending.append(len(asked) - 1)
                state = self.selector.proposed(state, pending[-1], reply)
            elif pending:
                number = pending.pop(-1 if backwards else 0)
                state = self.selector.told(state, number, self.outcome(asked[number]))
            else:
                assert isinstance(reply, Done)
                return self.selector.select(state, self.evidence), asked

    def outcome(self, proposal: Proposal) -> Outcome:
        if not proposal.measure:
            score = self.scores[len(proposal.tasks) - 1]
            return Outcome(score, why=None if score is not None else "error")
        heads: tuple[object, ...] | None = self.heads[proposal.tasks[0]]
        if proposal.shuffled is not None:
            self.shuffles.append(proposal.shuffled)
            heads = self.twins[len(self.shuffles) - 1]
        if heads is None or proposal.tasks[0] in self.failed:
            return Outcome(None, why="error")
        key = f"{proposal.tasks} {proposal.shuffled}"
        self.evidence[key] = {"importance": np.atleast_2d(np.array(heads, np.float32))}
        score = self.scores[0] if self.scores else 0.5
        return Outcome(score, evidence={"head_importance": key})


def prefixes(asked: list[Proposal]) -> list[Proposal]:
    return [proposal for proposal in asked if not proposal.measure]


# ---- the threshold


@pytest.mark.parametrize(
    ("threshold", "chosen"),
    [(-1, "dbpeac"), (0.0, "dbpac"), (0.5, "bpa"), (0.6, "bpa"), (0.61, "pa"), (0.9, "p"), (1.5, "p")],
)
def test_every_task_at_least_as_like_as_the_threshold_is_kept(threshold: float, chosen: str) -> None:
    answer, asked = Lab(GradTSThreshold(threshold=threshold)).run(problem_of())
    assert answer.tasks == tuple(chosen)
    assert answer.belief["tau"] == pytest.approx(TAU)
    assert list(answer.belief["tau"]) == list(ORDER)
    assert [proposal.tasks[0] for proposal in asked] == ["p", "d", "b", "e", "a", "c"]
    assert ("why" in answer.belief) == (chosen == "p")


def prime(*taus: str) -> tuple[tuple[int, ...], ...]:
    """Twins whose heads are those of the tasks named."""
    return tuple(HEADS[task] for task in taus)


def test_the_default_threshold_is_measured_on_twins_of_the_auxiliaries() -> None:
    twins = prime(*"dcdccddd")
    answer, asked = Lab(GradTSThreshold(), twins=twins).run(problem_of())
    shuffled = [proposal for proposal in asked if proposal.shuffled is not None]
    assert len(asked) == 14 == GradTSThreshold().fewest(problem_of())
    assert [proposal.tasks[0] for proposal in shuffled] == ["d", "b", "e", "a", "c", "d", "b", "e"], "each in turn"
    assert len({proposal.shuffled for proposal in shuffled}) == 8
    taus = [TAU[task] for task in "dcdccddd"]
    assert answer.belief["twins"] == pytest.approx(taus)
    assert answer.belief["threshold"] == pytest.approx(np.mean(taus) + 2.0094 * np.std(taus, ddof=1), abs=1e-4)
    assert answer.tasks == ("b", "p", "a") if answer.belief["threshold"] <= 0.6 else ("p", "a")
    alone = prime(*"bbcbbbcb")
    answer, _ = Lab(GradTSThreshold(), heads={**HEADS, "a": HEADS["c"]}, twins=alone).run(problem_of())
    assert answer.belief["threshold"] <= 1 and answer.tasks == ("p",)
    assert answer.belief["why"].startswith("no auxiliary reaches the threshold 0.")


def test_a_bound_that_no_tau_can_reach_is_no_test_and_all_tasks_are_trained() -> None:
    for twins in (prime(*"aceaceac"), prime(*"abc")):
        answer, _ = Lab(GradTSThreshold(twins=len(twins)), twins=twins).run(problem_of())
        assert answer.belief["threshold"] > 1
        assert answer.tasks == problem_of().names
        assert answer.belief["why"].startswith(f"the test had no power: {len(twins)} twins put the threshold at 1.")
        assert answer.belief["why"].endswith("all tasks")


def test_unrelated_tasks_pass_the_measured_threshold_one_time_in_twenty() -> None:
    """Twins and auxiliaries of one kind: 48 heads in random orders. 40 studies of 5, with four standard errors."""
    rng, passed = np.random.default_rng(8), 0
    for _ in range(40):
        heads = {name: tuple(rng.permutation(48)) for name in HEADS}
        twins = tuple(tuple(rng.permutation(48)) for _ in range(8))
        answer, _ = Lab(GradTSThreshold(), heads=heads, twins=twins).run(problem_of())
        assert answer.belief["threshold"] < 0.6
        passed += len(answer.tasks) - 1
    assert passed <= 200 * 0.05 + 4 * (200 * 0.05 * 0.95) ** 0.5


def test_twins_of_the_primary_in_the_ledger_of_an_earlier_version_still_make_its_threshold() -> None:
    lab, problem = Lab(GradTSThreshold(), twins=prime("d", "c", "d")), problem_of()
    state = lab.selector.start(problem)
    runs = [*((name, None) for name in problem.names), ("p", 11), ("p", 12), ("p", 13)]
    for number, (task, shuffled) in enumerate(runs):
        asked = replace(lab.selector.propose(state, {}), tasks=(task,), shuffled=shuffled)
        state = lab.selector.told(lab.selector.proposed(state, number, asked), number, lab.outcome(asked))
    belief = lab.selector.select(state, lab.evidence).belief
    assert belief["twins"] == pytest.approx([TAU["d"], TAU["c"], TAU["d"]])
    mean, spread = np.mean(belief["twins"]), np.std(belief["twins"], ddof=1)
    assert belief["threshold"] == pytest.approx(mean + 3.37 * spread, abs=1e-3)
    asked = lab.selector.propose(state, {})
    assert isinstance(asked, Proposal) and asked.tasks == ("d",) and asked.shuffled is not None, "it goes on from here"


def test_the_bound_holds_one_more_draw_in_95_of_100() -> None:
    assert bound_prediction([-1.0, 0.0, 1.0]) == pytest.approx(3.3717, abs=1e-4)
    assert bound_prediction([0.0, 2**0.5]) == pytest.approx(0.5**0.5 + 7.733, abs=1e-3)
    times = 4000
    draws = np.random.default_rng(1).normal(5, 2, size=(times, 4))
    below = np.mean([draw[3] < bound_prediction(draw[:3].tolist()) for draw in draws])
    assert abs(below - 0.95) < 4 * (0.95 * 0.05 / times) ** 0.5


def test_published_thresholds_are_those_of_two_encoders_and_no_other() -> None:
    for backbone, threshold in (("bert-base-cased", 0.60), ("bert-large-cased", 0.62)):
        selector = registry.make("gradts_threshold", {"threshold": "published", "backbone": backbone})
        answer, asked = Lab(selector).run(problem_of())
        assert answer.belief["threshold"] == threshold and len(asked) == 6
        assert answer.tasks == (("b", "p", "a") if threshold == 0.60 else ("p", "a"))
    with pytest.raises(ValueError, match=r"backbone must be one of 'bert-base-cased', 'bert-large-cased' or null"):
        registry.make("gradts_threshold", {"threshold": "published", "backbone": "roberta-base"})
    for alone in ({"threshold": "published"}, {"backbone": "bert-base-cased"}):
        with pytest.raises(ValueError, match="must be given together"):
            registry.make("gradts_threshold", alone)


def test_a_task_whose_run_failed_is_no_candidate() -> None:
    answer, _ = Lab(GradTSThreshold(threshold=0.5), failed=frozenset("b")).run(problem_of())
    assert answer.tasks == ("p", "a") and answer.belief["failed"] == ["b"]
    answer, _ = Lab(GradTSThreshold(threshold=0.5), failed=frozenset("p")).run(problem_of())
    assert answer.tasks == ("p",) and answer.belief["tau"] == {}
    assert "could be compared" in answer.belief["why"]


def test_lost_twins_make_a_wider_threshold_and_one_that_is_left_makes_none() -> None:
    two = (*prime("d", "d"), None, None, None, (3, 4, 2, 1, 6, 5), None, None)
    answer, _ = Lab(GradTSThreshold(), twins=two).run(problem_of())
    taus = answer.belief["twins"]
    assert len(taus) == 3
    assert answer.belief["threshold"] == pytest.approx(np.mean(taus) + 3.37 * np.std(taus, ddof=1), abs=1e-3)
    assert set(answer.tasks) == {name for name in "abc" if TAU[name] >= answer.belief["threshold"]} | {"p"}
    answer, _ = Lab(GradTSThreshold(twins=3), twins=(None, *prime("d"), None)).run(problem_of())
    assert answer.tasks == problem_of().names and answer.belief["threshold"] is None
    assert "fewer than two twins" in answer.belief["why"] and list(answer.belief["tau"]) == list(ORDER)


# ---- prefixes


@pytest.mark.parametrize(
    ("scores", "trained", "chosen"),
    [
        ((0.70, 0.72, 0.72, 0.71, 0.80), 4, 3),  # stops at the first fall; of equal ones the latest
        ((0.70, 0.69, 0.90, 0.90, 0.90), 2, 1),  # one auxiliary is always kept
        ((0.70, 0.71, 0.72, 0.73, 0.74), 5, 5),
        ((0.70, 0.70, 0.70, 0.70, 0.70), 5, 5),  # equality goes on
        ((0.70, None, 0.69, 0.90, 0.90), 3, 1),  # a failed one neither stops nor counts
        ((0.70, None, 0.72, 0.71, 0.90), 4, 3),
        ((None, 0.50, 0.40, 0.90, 0.90), 3, 2),
    ],
)
def test_prefixes_are_read_until_the_score_falls(scores: tuple[float | None, ...], trained: int, chosen: int) -> None:
    answer, asked = Lab(GradTSTrial(ahead=0), scores=(0.5, *scores)).run(problem_of())
    assert set(answer.tasks) == {"p", *ORDER[:chosen]}
    assert [set(proposal.tasks) for proposal in prefixes(asked)] == [
        {"p", *ORDER[:length]} for length in range(1, trained + 1)
    ]
    assert [read["score"] for read in answer.belief["prefixes"]] == [s for s in scores[:trained] if s is not None]


@pytest.mark.parametrize(("patience", "trained", "chosen"), [(0, 2, 1), (1, 3, 1), (2, 5, 5)])
def test_patience_waits_for_the_best_so_far_to_be_reached_again(patience: int, trained: int, chosen: int) -> None:
    scores = (0.5, 0.72, 0.70, 0.71, 0.72, 0.75)  # the third rises above the second, but not above the first
    answer, asked = Lab(GradTSTrial(ahead=0, patience=patience), scores=scores).run(problem_of())
    assert len(prefixes(asked)) == trained
    assert set(answer.tasks) == {"p", *ORDER[:chosen]}


@pytest.mark.parametrize("ahead", [0, 1, 2, 9])
@pytest.mark.parametrize("slots", [1, 3, 6])
@pytest.mark.parametrize("backwards", [False, True])
def test_what_comes_in_from_beyond_the_stop_changes_nothing(ahead: int, slots: int, backwards: bool) -> None:
    """The best score of all waits beyond the stop, and is trained where it is trained ahead."""
    scores = (0.5, 0.70, 0.72, 0.72, 0.71, 0.80)
    answer, asked = Lab(GradTSTrial(ahead=ahead), scores=scores).run(problem_of(), slots, backwards)
    one_by_one, _ = Lab(GradTSTrial(ahead=0), scores=scores).run(problem_of())
    assert answer == one_by_one
    assert len(prefixes(asked)) <= min(5, 4 + min(ahead, slots - 1))
    assert slots == 1 or ahead < 2 or len(prefixes(asked)) == 5
    assert len({proposal.seed for proposal in prefixes(asked)}) == 1


def test_no_more_prefixes_are_under_way_than_ahead_allows() -> None:
    lab, problem = Lab(GradTSTrial(ahead=1), scores=(0.5, 0.6, 0.7, 0.8, 0.9, 1.0)), problem_of()
    selector = lab.selector
    state, runs = selector.start(problem), []
    for number in range(6):
        runs.append(selector.propose(state, {}))
        state = selector.proposed(state, number, runs[-1])
        assert isinstance(selector.propose(state, {}), Wait) == (number == 5), "prefixes wait for every run"
    for number, run in enumerate(runs):
        state = selector.told(state, number, lab.outcome(run))
    for number in (6, 7):
        state = selector.proposed(state, number, selector.propose(state, lab.evidence))
    assert isinstance(selector.propose(state, lab.evidence), Wait)
    state = selector.told(state, 7, Outcome(0.7))
    assert isinstance(selector.propose(state, lab.evidence), Wait), "the first prefix is still undecided"
    asked = selector.propose(selector.told(state, 6, Outcome(0.6)), lab.evidence)
    assert isinstance(asked, Proposal) and len(asked.tasks) == 4


@pytest.mark.parametrize(
    ("scores", "trained", "chosen"),
    [
        ((0.75, 0.70, 0.90, 0.90, 0.90, 0.90), 1, 0),  # the first auxiliary hurts: the primary alone
        ((0.70, 0.70, 0.69, 0.90, 0.90, 0.90), 2, 1),
        ((0.60, 0.70, 0.72, 0.71, 0.90, 0.90), 3, 2),
    ],
)
def test_the_primary_alone_may_be_the_first_prefix(scores: tuple[float, ...], trained: int, chosen: int) -> None:
    answer, asked = Lab(GradTSTrial(ahead=0, compare_alone=True), scores=scores).run(problem_of())
    assert len(prefixes(asked)) == trained, "its score is that of its single-task run"
    assert set(answer.tasks) == {"p", *ORDER[:chosen]}


def test_the_ranking_is_computed_once_and_carried_by_the_first_prefix() -> None:
    lab, problem = Lab(GradTSTrial(ahead=0), scores=(0.5, 0.6, 0.7, 0.8, 0.9, 1.0)), problem_of()
    answer, asked = lab.run(problem)
    carried = [proposal.notes for proposal in prefixes(asked) if "ranking" in proposal.notes]
    assert len(carried) == 1 and [task for task, _ in carried[0]["ranking"]] == list(ORDER)
    turned = [[task, -tau] for task, tau in carried[0]["ranking"]][::-1]
    state = lab.selector.start(problem)
    for number, proposal in enumerate(asked[:7]):
        if "ranking" in proposal.notes:
            proposal = replace(proposal, tasks=("p", "e"), notes={"length": 1, "ranking": turned})
        state = lab.selector.told(lab.selector.proposed(state, number, proposal), number, lab.outcome(proposal))
    asked_next = lab.selector.propose(state, {})  # no evidence is needed any more
    assert isinstance(asked_next, Proposal) and set(asked_next.tasks) == {"p", "e", "d"}
    assert len(answer.tasks) == 6


def test_failed_runs_leave_the_ranking_or_end_it() -> None:
    answer, asked = Lab(GradTSTrial(), scores=(0.5, 0.6, 0.7, 0.8, 0.9), failed=frozenset("a")).run(problem_of())
    assert set(answer.tasks) == {"p", "b", "c", "d", "e"} and answer.belief["failed"] == ["a"]
    assert set(prefixes(asked)[0].tasks) == {"p", "b"}
    answer, asked = Lab(GradTSTrial(), scores=(0.5,), failed=frozenset("p")).run(problem_of())
    assert answer.tasks == ("p",) and prefixes(asked) == [] and "the primary alone" in answer.belief["why"]
    answer, asked = Lab(GradTSTrial(), scores=(0.5, *[None] * 5)).run(problem_of())
    assert answer.tasks == ("p",) and len(prefixes(asked)) == 5 and "the primary alone" in answer.belief["why"]


# ---- both


def test_layers_by_their_sum_can_rank_the_tasks_otherwise() -> None:
    """Two layers whose heads the sum and the L2 norm put in different orders."""
    primary, other = ((0.45, 0.30, 0.25), (0.50, 0.49, 0.01)), ((6, 3, 2), (5, 4, 1))
    taus = []
    for released in (False, True):
        lab = Lab(GradTSThreshold(threshold=0, released=released), heads={"p": primary, "a": other, "b": primary})
        answer, _ = lab.run(problem_of(("p", "a", "b")))
        taus.append(answer.belief["tau"])
    assert taus[0]["b"] == taus[1]["b"] == 1 and taus[0]["a"] != taus[1]["a"]


@pytest.mark.parametrize("name", ["gradts_threshold", "gradts_trial", "gradts_instance"])
def test_the_primary_alone_has_nothing_to_ask(name: str) -> None:
    selector, problem = registry.make(name, {}), problem_of(("p",))
    state = selector.start(problem)
    assert isinstance(selector.propose(state, {}), Done) and selector.fewest(problem) == 0
    assert selector.select(state, {}).tasks == ("p",)
    with pytest.raises(ValueError, match="needs a primary"):
        selector.start(replace(problem, primary=None))


class TestThresholdGiven(SelectorContract):
    selector = GradTSThreshold(threshold=0.3, released=True)


class TestPatientTrial(SelectorContract):
    selector = GradTSTrial(patience=1, ahead=0, compare_alone=True)
