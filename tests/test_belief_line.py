"""What a view says that a selector believes: each in a line, also one from elsewhere that cannot tell."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from simulated_study import GROUPS, STUDY, simulated
from watched_study import RANDOM, begun, snapshot_of

from auxtune.orchestrator.record.events import Opened
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.views.monitor import RateLimiter, StudyMonitor
from auxtune.selectors.beliefs import Belief, Expectation, Ranking
from auxtune.selectors.methods.controls import RandomState, RandomSubset
from auxtune.selectors.protocol import JSON, Evidence, Selection
from auxtune.selectors.registry import SELECTORS

RATES = (
    r"\w+ 0\.\d\d \(0\.\d\d to [01]\.\d\d\), .*; "
    r"better than all others' rounds with probability: \w+ [01]\.\d\d, .*"
)
BELIEFS = [
    ("single_task", STUDY, 1, r"leans to p; it holds no belief"),
    ("all_tasks", STUDY, 1, r"leans to p \+ helps \+ idle \+ hurts \+ aids; it holds no belief"),
    ("size_proportional", STUDY, 1, r".*it holds no belief"),
    ("size_sqrt", STUDY, 1, r".*it holds no belief"),
    (RANDOM, STUDY, 0, r"leans to p; no belief: nothing scored yet"),
    (RANDOM, STUDY, 4, r"leans to p .*; no belief: the best that it drew, 0\.\d{4}"),
    ("{name: thompson, rounds: 12}", STUDY, 1, rf"leans to p \+ .*does not hurt with probability: {RATES}"),
    ("{name: thompson, mode: trials, rounds: 12}", STUDY, 6, rf"leans to p .*probability: {RATES}"),
    ("{name: thompson, rounds: 12, released: true}", STUDY, 1, r"leans to p \+ .*probability: \w+ 0\.\d\d, [^()]*"),
    ("auto", STUDY, 0, r"leans to p \+ helps.*; no mixture gave a score: equal shares"),
    ("auto", STUDY, 2, r"leans to p .*; it holds no belief"),
    (
        "auto",
        STUDY,
        8,
        r"leans to p.*; expects 0\.\d{4} of it, seen 0\.\d{4}; (better than p alone with probability [01]\.\d\d; )?"
        r"(better than all tasks with probability [01]\.\d\d; )?one more run is expected to gain .*",
    ),
    ("auto", GROUPS, 0, r"leans to p .*; no groups with scores serve every task: one model for all tasks"),
    ("auto", GROUPS, 8, r"leans to .*; one more run is expected to gain .*; of 20 affinities the largest is .*"),
    ("random_mixture", STUDY, 8, r"leans to p.*; expects 0\.\d{4} of it, seen 0\.\d{4}.*"),
    ("gp_mixing", STUDY, 0, r"leans to p \+ helps.*; no mixture gave a score: equal shares"),
    ("gp_mixing", STUDY, 8, r"leans to p.*; expects 0\.\d{4} of it, seen 0\.\d{4}(; better than .* probability .*)?"),
    ("{name: autosem, rounds: 12, samples: 4}", STUDY, 1, r"thompson: leans to p .*probability: .*"),
    ("{name: autosem, rounds: 12, samples: 4}", STUDY, 5, r"gp_mixing: leans to p .*; expects 0\.\d{4} of it.*"),
    ("gradts_threshold", STUDY, 9, r"leans to p.*; heads alike by τ: \w+ -?\d\.\d\d, .*"),
    ("gradts_trial", STUDY, 7, r".*heads alike by τ: .*; \d prefixes tried, the best 0\.\d{4}"),
    ("gradts_instance", STUDY, 15, r"instances: leans to p .* with \d+ of \d+ rows of .*; \d cuts? of the rows tr.*"),
    ("covariance_similarity", STUDY, 5, r"leans to p .*alike by covariance: .*"),
    ("svd_reweighting", STUDY, 5, r"leans to p ×\d\.\d\d \+ .*weight of the labels: .*"),
    ("linear_surrogate", STUDY, 9, r"leans to p .*; worth in the linear fit: helps .*"),
    ("mixture_regression", STUDY, 3, r"leans to .*; .*"),
    ("mixture_regression", STUDY, 24, r"leans to .*; expects 0\.\d{4} of it, seen 0\.\d{4}"),
    ("transfer_prior", STUDY, 3, r"leans to p .*; first of its ranking: \w+ .*"),
    ("tag", GROUPS, 0, r"leans to p .*; nothing measured yet"),
    ("tag", STUDY, 1, r"leans to p \+ helps \+ aids; does for the primary: \w+ 0\.0\d+, .*; of 20 affinities the .*"),
    ("tag", GROUPS, 1, r"leans to p [^|]+\| [^|]+; of 20 affinities the largest is \w+ → \w+, \+\d\.\d+"),
    ("grad_tag", GROUPS, 1, r"leans to p [^|]+\| [^|]+; of 20 affinities the largest is .*"),
    ("representation_gradient", GROUPS, 6, r"leans to [^|]+\| [^|]+; of 20 affinities the largest is .*"),
    ("exhaustive", GROUPS, 6, r"leans to .*; 6 of 31 groups trained"),
    ("hoa", GROUPS, 6, r"leans to .*"),
    ("random_groups", GROUPS, 2, r"leans to [^|]+\| [^|]+; no belief: the best that it drew, 0\.\d{4}"),
]


@pytest.mark.parametrize(("selector", "text", "ended", "expected"), BELIEFS, ids=lambda value: str(value)[:20])
def test_every_selector_tells_its_belief_in_a_line(
    selector: str, text: str, ended: int, expected: str, tmp_path: Path
) -> None:
    study = simulated(tmp_path, selector, text)
    begun(study, ended)
    assert re.fullmatch(expected, snapshot_of(study).belief), snapshot_of(study).belief


def test_no_shipped_selector_is_without_a_line() -> None:
    tried = {re.findall(r"\w+", each[0].removeprefix("{name:"))[0] for each in BELIEFS}
    assert tried == set(SELECTORS.shipped)


def test_of_several_searches_the_best_speaks(tmp_path: Path) -> None:
    study = simulated(tmp_path, "{name: random_subset, trials: 3}", STUDY + "search_seeds: 2\n")
    accounts = begun(study, 6).accounts
    assert accounts.best is not None
    place = accounts.best.proposal.stage.split(".")[0]
    assert snapshot_of(study).belief.startswith(f"{place}: leans to ")
    assert snapshot_of(study).belief.endswith(f"the best that it drew, {accounts.best.score:.4f}")


class Confused(RandomSubset):
    """A selector from elsewhere, whose belief lacks what such a belief has here, or that cannot say what it chose."""

    def select(self, state: RandomState, evidence: Evidence) -> Selection:
        if not state.scores:
            raise ZeroDivisionError("no scores")
        return replace(super().select(state, evidence), belief={"tried": [{"score": 0.5}]})

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        yield Expectation(belief["tried"][0]["mean"], None)


class Outsider(RandomSubset):
    """A selector from elsewhere that says what it believes in the words of all."""

    def select(self, state: RandomState, evidence: Evidence) -> Selection:
        return replace(super().select(state, evidence), belief={"liking": {"p": 0.9, "helps": 0.7}})

    def beliefs(self, belief: Mapping[str, JSON]) -> Iterator[Belief]:
        yield Ranking("liking", "liking, in [0, 1]", "liked", belief["liking"])


def test_a_selector_from_elsewhere_has_its_line(tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM)
    begun(study, 3)
    watched = StudyMonitor(study.study, study.folder)
    watched.observe(read_events(study.folder / "ledger"))
    watched._selector = Outsider()
    snapshot = watched.snapshot("running", time.time())
    assert snapshot is not None and snapshot.belief.endswith("; liked: helps 0.70")


@pytest.mark.parametrize(("ended", "why"), [(0, "ZeroDivisionError: no scores"), (3, "KeyError: 'mean'")])
def test_a_belief_that_cannot_be_told_is_said_so(ended: int, why: str, tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM)
    begun(study, ended)
    watched = StudyMonitor(study.study, study.folder)
    watched.observe(read_events(study.folder / "ledger"))
    watched._selector = Confused()
    snapshot = watched.snapshot("running", time.time())
    assert snapshot is not None and snapshot.belief == f"cannot be told: {why}"


def test_only_the_last_session_s_question_is_asked(tmp_path: Path) -> None:
    study = simulated(tmp_path, RANDOM)
    for ended in (1, 2):
        study.close(begun(study, ended), "interrupted")
    events = read_events(study.folder / "ledger")
    first, *_, last = (place for place, event in enumerate(events) if isinstance(event, Opened))
    # Today's selector cannot be asked what the first session asked.
    opened = events[first]
    assert isinstance(opened, Opened) and last > first
    events[first] = replace(opened, problem=replace(opened.problem, primary=None))
    watched = StudyMonitor(study.study, study.folder)
    watched.observe(events)
    snapshot = watched.snapshot("interrupted", time.time())
    assert snapshot is not None and snapshot.belief == snapshot_of(study).belief


def test_a_slow_belief_is_asked_for_less_often() -> None:
    sparing = RateLimiter()
    assert sparing.seconds == 0
    with sparing.at_work():
        time.sleep(0.05)
    assert 0.9 < sparing.seconds <= 20 * 5  # twenty times what it took, at least 50 ms
