"""When the budget says that confirm needs the rest."""

from __future__ import annotations

from dataclasses import replace

import pytest
from click.testing import CliRunner, Result
from small_study import StudyRun

from auxtune.orchestrator import cli
from auxtune.orchestrator.errors import BudgetTooSmall
from auxtune.orchestrator.planning.budget import (
    Budget,
    Price,
    check_limits,
    check_prices,
    explain_unreachable_limits,
    list_spending,
)
from auxtune.orchestrator.planning.slots import Slots
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Event, Opened, Proposed, Started, Told
from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.selectors.protocol import Outcome, Problem, Proposal, TaskInfo
from auxtune.trials.result import Cost

PROBLEM = Problem((TaskInfo("p", "classification", 10),), "p")
ARMS = [Proposal(("p",))] * 4  # what confirm will take, of 100 steps each


def budget(**limits: float) -> Budget:
    options = StudyOptions.model_validate(
        {
            "study": "x",
            "primary": "p",
            "tasks": {"p": {"builtin": "p"}},
            "selector": "single_task",
            "training": {"steps": 100},
            "prices": {"gpu_hour": 3.6, "cpu_hour": 0.36},
            "budget": limits,
        }
    )
    return Budget(options, lambda proposal: 100, Slots(cpus=2, gpus=1, concurrent=2))


def spent(trials: int, pending: int = 0, seconds: float = 100.0) -> Accounts:
    """``trials`` that took ``seconds`` each, and ``pending`` that are still running; a session since time 0."""
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
    for number in range(trials + pending):
        events.append(Proposed(id=number, time=0.0, proposal=Proposal(("p",)), phase="search", after=0))
        events.append(Started(id=number, attempt=1, time=0.0, session="s"))
    cost = Cost(wall_seconds=seconds, gpu_seconds=seconds, cpu_seconds=2 * seconds)
    events += [Told(id=n, attempt=1, time=0.0, outcome=Outcome(0.5), cost=cost) for n in range(trials)]
    return Accounts(events)


def test_a_price_is_allocated_time_and_unknown_without_prices() -> None:
    cost = Cost(wall_seconds=1800, gpu_seconds=1800, cpu_seconds=3600)
    assert Price(2.0, 0.5).usd(cost) == pytest.approx(1.5)
    assert Price(2.0, None).usd(cost) == pytest.approx(1.0)
    assert Price(None, 0.5).usd(cost) is None  # GPU time was used and its price is not known
    assert Price(2.0, None).usd(Cost(wall_seconds=9, gpu_seconds=0, cpu_seconds=9)) is None
    assert Price().usd(cost) is None


def test_a_total_is_known_where_each_part_is() -> None:
    on_gpu, on_cpu = Cost(3600, 3600, 3600), Cost(1800, 0, 1800)
    assert Price(2.0, 0.5).total([on_gpu, on_cpu]) == pytest.approx(2.75)
    assert Price(2.0, None).total([on_gpu, on_cpu]) is None
    assert Price(2.0, None).total([]) == 0
    assert Price().total([]) is None


@pytest.mark.parametrize(
    ("limits", "fits", "too_many"),
    [
        # A trial takes 100 s, 100 GPU seconds and 0.1 + 0.02 USD; four are held for confirm, and one is to be started.
        ({"gpu_hours": 1000 / 3600}, 4, 5),
        ({"usd": 1.2}, 4, 5),
        ({"trials": 10}, 5, 6),
    ],
)
def test_what_confirm_will_take_is_held_back(limits: dict[str, float], fits: int, too_many: int) -> None:
    (key,) = limits
    assert budget(**limits).exhausted(spent(fits), ARMS, now=0.0) is None
    assert budget(**limits).exhausted(spent(too_many), ARMS, now=0.0) == key


def test_trials_in_flight_count_as_spent() -> None:
    limit = budget(gpu_hours=1000 / 3600)
    assert limit.exhausted(spent(4), ARMS, now=0.0) is None
    assert limit.exhausted(spent(4, pending=1), ARMS, now=0.0) == "gpu_hours"


def test_wall_time_runs_on_and_confirm_shares_the_slots() -> None:
    limit = budget(wall_hours=1000 / 3600)
    accounts = spent(3)  # the next one, 100 s; then confirm's four, 200 s over two slots
    assert limit.exhausted(accounts, ARMS, now=699.0) is None
    assert limit.exhausted(accounts, ARMS, now=700.0) == "wall_hours"


def test_wall_time_passes_also_where_slots_stay_empty() -> None:
    limit = replace(budget(wall_hours=1000 / 3600), slots=Slots(cpus=2, gpus=1, concurrent=100))
    assert limit.exhausted(spent(3), ARMS, now=799.0) is None  # one turn to search, one to confirm
    assert limit.exhausted(spent(3), ARMS, now=800.0) == "wall_hours"


def test_each_arm_is_held_back_with_its_own_steps() -> None:
    limit = replace(budget(gpu_hours=1000 / 3600), steps=lambda proposal: 600 if "a" in proposal.tasks else 100)
    assert limit.exhausted(spent(2), [Proposal(("p", "a"))], now=0.0) is None
    assert limit.exhausted(spent(3), [Proposal(("p", "a"))], now=0.0) == "gpu_hours"


def test_where_spent_money_is_unknown_no_more_may_be_spent() -> None:
    limit = budget(usd=1000.0)
    prices = limit.options.prices.model_copy(update={"gpu_hour": None})
    limit = replace(limit, options=limit.options.model_copy(update={"prices": prices}), slots=Slots(2, 0, 2))
    assert limit.exhausted(spent(0), ARMS, now=0.0) is None
    assert limit.exhausted(spent(1), ARMS, now=0.0) == "usd"  # a former session had a GPU


def test_before_the_first_result_nothing_is_known_and_the_search_may_begin() -> None:
    limit = budget(gpu_hours=0.001, usd=0.01, wall_hours=0.001)
    assert limit.exhausted(spent(0), [Proposal(("p",))] * 50, now=0.0) is None


def test_a_limit_in_money_is_refused_where_a_price_is_missing() -> None:
    options = budget(usd=1.0).options
    check_prices(options, Slots(1, 1, 1))
    unpriced = options.model_copy(update={"prices": options.prices.model_copy(update={"cpu_hour": None})})
    check_prices(unpriced, Slots(1, 1, 1))  # CPUs come with the GPU
    with pytest.raises(BudgetTooSmall, match=r"prices\.cpu_hour is not given"):
        check_prices(unpriced, Slots(1, 0, 1))


def test_what_was_spent_of_a_limit_and_beyond_it_is_said() -> None:
    limits = budget(trials=3, usd=1.0, gpu_hours=2.0).options.budget
    assert list_spending(limits, {"trials": 4, "usd": None, "gpu_hours": 1.5}) == [
        "trials 4 of 3, overrun by 1",
        "gpu_hours 1.5 of 2",
        "usd unknown of 1",
    ]


@pytest.mark.parametrize(
    ("limits", "prices", "gpus", "vain"),
    [
        ({"gpu_hours": 1e-6}, {}, 0, {"gpu_hours"}),
        ({"gpu_hours": 1e-6}, {}, 1, set()),
        ({"usd": 1.0}, {"cpu_hour": 0.0}, 0, {"usd"}),
        ({"usd": 1.0}, {"cpu_hour": 0.0, "gpu_hour": 0.0}, 1, {"usd"}),
        ({"usd": 1.0}, {"cpu_hour": 0.0, "gpu_hour": 2.0}, 1, set()),
        ({"usd": 1.0, "gpu_hours": 3.0}, {"cpu_hour": 0.0, "gpu_hour": 2.0}, 0, {"usd", "gpu_hours"}),
        ({"trials": 9, "gpu_hours": 3.0}, {}, 0, {"gpu_hours"}),
        ({"wall_hours": 1.0, "usd": 3.0}, {"cpu_hour": 0.0}, 0, {"usd"}),
    ],
)
def test_a_limit_that_nothing_comes_nearer_to_is_refused_as_the_only_one(
    limits: dict[str, float], prices: dict[str, float], gpus: float, vain: set[str]
) -> None:
    options = replace_prices(budget(**limits).options, prices)
    slots = Slots(cpus=2, gpus=gpus, concurrent=2)
    found = explain_unreachable_limits(options, slots)
    assert found.keys() == vain
    assert all(f"budget.{key} is never reached" in said for key, said in found.items())
    if vain and vain == limits.keys():
        with pytest.raises(BudgetTooSmall, match=r"never reached.*give budget\.trials or budget\.wall_hours too"):
            check_limits(options, slots)
    else:
        check_limits(options, slots)


def test_a_limit_of_gpus_counts_where_only_measuring_trials_take_them() -> None:
    slots = Slots(cpus=1, gpus=0, concurrent=1, probes=Slots(cpus=1, gpus=0.5, concurrent=1))
    assert explain_unreachable_limits(budget(gpu_hours=1.0).options, slots) == {}


def replace_prices(options: StudyOptions, prices: dict[str, float]) -> StudyOptions:
    return options.model_copy(update={"prices": type(options.prices).model_validate(prices)})


def test_validate_warns_of_such_a_limit_and_run_refuses_it(small: StudyRun) -> None:
    def asked(command: str, limits: str) -> Result:
        return CliRunner().invoke(
            cli.main,
            [
                command,
                f"{small.home}/study.yaml",
                "--set",
                f"budget={limits}",
                "--set",
                f"storage={small.home}/studies",
            ],
        )

    alone, beside = asked("validate", "{gpu_hours: 0.1}"), asked("validate", "{gpu_hours: 0.1, trials: 8}")
    assert (alone.exit_code, beside.exit_code) == (0, 0), alone.output
    assert all("warning: budget.gpu_hours is never reached" in said.output for said in (alone, beside))
    assert "`auxtune run` refuses it" in alone.output and "refuses" not in beside.output
    run = asked("run", "{gpu_hours: 0.1}")
    assert run.exit_code == 2 and "budget.gpu_hours is never reached" in run.output
    assert not (small.folder / "ledger").exists()
