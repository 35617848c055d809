"""Curves stay short and costs stay true, whatever the recipe and whatever was lost."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.record.accounts import Attempt, Trial
from auxtune.orchestrator.record.events import Told
from auxtune.orchestrator.tracking.run_content import POINTS, list_trained_shares, read_curve, sum_cost_metrics
from auxtune.selectors.protocol import Inner, Outcome, Proposal
from auxtune.trials.result import Cost


def write_curve(path: Path, steps: int, every: int) -> list[int]:
    """The steps of a run's evaluations, as a worker writes them."""
    evaluated = sorted({*range(every, steps + 1, every), steps})
    path.write_text("".join(json.dumps({"step": step}) + "\n" for step in evaluated))
    return evaluated


@pytest.mark.parametrize(
    ("steps", "every"),
    [(1, 1), (5, 100), (199, 1), (200, 1), (201, 1), (398, 1), (399, 1), (20_000, 100), (1999, 10), (6007, 30)],
)
def test_a_curve_and_its_final_score_have_at_most_200_points(tmp_path: Path, steps: int, every: int) -> None:
    path = tmp_path / "metrics.jsonl"
    evaluated = write_curve(path, steps, every)
    shown = [line["step"] for line in read_curve(path, steps)]
    assert len(shown) + 1 <= POINTS == 200
    assert len(shown) >= min(len(evaluated), 100)
    assert set(shown) <= set(evaluated)


def test_a_curve_that_grows_never_takes_a_point_back(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    write_curve(path, 1000, 1)
    whole, text = read_curve(path, 1000), path.read_text()
    for length in range(0, len(text), 97):
        path.write_text(text[:length])
        part = read_curve(path, 1000)
        assert part == whole[: len(part)]


def test_what_trains_nothing_has_its_one_point(tmp_path: Path) -> None:
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 0}\n')
    assert read_curve(path, 0) == read_curve(path, 400) == [{"step": 0}]


def test_no_file_is_no_curve(tmp_path: Path) -> None:
    assert read_curve(tmp_path / "metrics.jsonl", 100) == []


def test_a_run_that_only_measures_has_one_point(tmp_path: Path) -> None:
    """Whether nothing was to be trained, or the weights were there already."""
    (tmp_path / "metrics.jsonl").write_text('{"step": 0, "score": 0.5}\n')
    assert read_curve(tmp_path / "metrics.jsonl", 100) == [{"step": 0, "score": 0.5}]
    assert len(read_curve(tmp_path / "metrics.jsonl", 0)) == 1


def trial(*costs: Cost) -> Trial:
    attempts = [Attempt(number, "s", 0.0, cost=cost) for number, cost in enumerate(costs, start=1)]
    return Trial(0, "search", Proposal(("p",)), 0.0, attempts)


LOST = Cost(wall_seconds=2.0, gpu_seconds=0.0, cpu_seconds=4.0)
WHOLE = Cost(wall_seconds=3.0, gpu_seconds=0.0, cpu_seconds=6.0, examples=10, tokens=70, peak_gpu_bytes=5)


def test_a_lost_attempt_is_charged_its_time_and_adds_nothing_it_did_not_report() -> None:
    assert sum_cost_metrics([trial(LOST, WHOLE), trial(WHOLE)], Price(None, 3600.0)) == {
        "cost/wall_seconds": 8.0,
        "cost/gpu_seconds": 0.0,
        "cost/cpu_seconds": 16.0,
        "cost/examples": 20,
        "cost/tokens": 140,
        "cost/usd": 16.0,
        "cost/peak_gpu_bytes": 5.0,
    }


def test_what_is_unknown_is_left_out() -> None:
    assert set(sum_cost_metrics([trial(LOST)], Price())) == {
        "cost/wall_seconds",
        "cost/gpu_seconds",
        "cost/cpu_seconds",
    }
    assert sum_cost_metrics([trial()], Price()) == {}
    on_gpu = Cost(wall_seconds=1.0, gpu_seconds=1.0, cpu_seconds=1.0)
    assert "cost/usd" not in sum_cost_metrics([trial(WHOLE), trial(on_gpu)], Price(None, 1.0))


def shares_of(proposal: Proposal, *rounds: str) -> dict[str, float]:
    outcome = Outcome(0.5, rounds=tuple((task, 0.1) for task in rounds))
    told = Told(id=0, attempt=1, time=0.0, outcome=outcome, cost=LOST)
    return list_trained_shares(Trial(0, "search", proposal, 0.0, told=told if rounds else None), ("p", "a", "b"))


def test_what_a_trial_does_not_train_has_the_share_0() -> None:
    pair = Proposal(("p", "a"), {"p": 0.75, "a": 0.25})
    assert shares_of(pair) == {"weight/p": 0.75, "weight/a": 0.25, "weight/b": 0}
    assert shares_of(Proposal(("a",), trains=False)) == {"weight/p": 0, "weight/a": 0, "weight/b": 0}


def test_what_a_steered_trial_trains_is_not_known_before_it_was_told() -> None:
    steered = Proposal(("p", "a"), inner=Inner("bandit", {}, 0, rounds=4, round_steps=5))
    assert shares_of(steered) == {"weight/b": 0}
    assert shares_of(steered, "p", "a", "p", "p") == {"weight/p": 0.75, "weight/a": 0.25, "weight/b": 0}
