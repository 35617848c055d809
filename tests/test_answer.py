"""What a study took, as its answer and its status tell it."""

from __future__ import annotations

from pathlib import Path

import pytest

from auxtune.orchestrator.answer.cost import PhaseCost, sum_cost
from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Event, Opened, Proposed, Started, Told
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.orchestrator.views.status import describe_status
from auxtune.selectors.protocol import Outcome, Problem, Proposal, TaskInfo
from auxtune.trials.result import Cost

PROBLEM = Problem((TaskInfo("p", "classification", 10),), "p")


def accounts(*costs: Cost) -> Accounts:
    """A session of an hour that nobody closed, with a search trial of each cost."""
    events: list[Event] = [
        Opened(
            session="s",
            time=0.0,
            study="",
            overrides=(),
            study_folder="",
            working_folder="",
            problem=PROBLEM,
            fingerprint={},
            versions={},
        )
    ]
    for number, cost in enumerate(costs):
        events.append(Proposed(id=number, time=0.0, proposal=Proposal(("p",)), phase="search", after=0))
        events.append(Started(id=number, attempt=1, time=0.0, session="s", cpus=2.0, gpus=0.5))
        events.append(Told(id=number, attempt=1, time=3600.0, outcome=Outcome(0.5), cost=cost))
    return Accounts(events)


HOUR_ON_CPU = Cost(wall_seconds=3600, gpu_seconds=0, cpu_seconds=7200)


def test_cost_has_every_phase_and_the_search_is_all_of_it() -> None:
    cost = sum_cost(accounts(HOUR_ON_CPU, HOUR_ON_CPU), Price(None, 0.5), None)
    assert list(cost.phases) == ["measure", "search", "tune", "control", "confirm"]
    assert cost.phases["search"] == PhaseCost(trials=2, attempts=2, gpu_hours=0, cpu_hours=4, usd=2)
    assert cost.phases["measure"] == cost.reused == PhaseCost(0, 0, 0, 0, 0)


def test_without_prices_all_money_is_unknown_also_that_of_nothing() -> None:
    cost = sum_cost(accounts(HOUR_ON_CPU), Price(), None)
    assert [part.usd for part in (cost, cost.reused, *cost.phases.values())] == [None] * 7
    assert cost.reused.trials == cost.reused.cpu_hours == 0


def test_the_hours_of_a_session_go_on_only_while_it_is_alive() -> None:
    died = accounts(HOUR_ON_CPU)
    assert sum_cost(died, Price(), None).wall_hours == pytest.approx(1)
    assert sum_cost(died, Price(), now=7200.0).wall_hours == pytest.approx(2)


@pytest.mark.parametrize(("limit", "left"), [(1.5, 0.5), (0.5, 0.0)])
def test_a_study_whose_driver_died_keeps_the_hours_it_had_left(tmp_path: Path, limit: float, left: float) -> None:
    options = StudyOptions.model_validate(
        {
            "study": "x",
            "primary": "p",
            "tasks": {"p": {"builtin": "p"}},
            "selector": "single_task",
            "budget": {"wall_hours": limit},
        }
    )
    status = describe_status(tmp_path, accounts(HOUR_ON_CPU), options)
    assert (status["state"], status["hours_left"]) == ("interrupted", pytest.approx(left))
    unbounded = options.model_copy(update={"budget": options.budget.model_copy(update={"wall_hours": None})})
    assert describe_status(tmp_path, accounts(HOUR_ON_CPU), unbounded)["hours_left"] is None


def test_an_attempt_knows_what_it_was_given() -> None:
    (attempt,) = accounts(HOUR_ON_CPU).trials[0].attempts
    assert (attempt.cpus, attempt.gpus) == (2.0, 0.5)
