"""The control that searches by itself: random mixtures at the price of measure and search, and what is said of it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from simulated_study import STUDY as SIMULATED
from small_study import STUDY as SMALL
from small_study import StudyRun, kill, small_study
from test_agenda import World, differences
from test_budget import spent

from auxtune.orchestrator import cli
from auxtune.orchestrator.errors import BudgetTooSmall, StudyFileError
from auxtune.orchestrator.planning.agenda import Agenda
from auxtune.orchestrator.planning.arms import EQUAL_COST, SELECTION
from auxtune.orchestrator.planning.budget import Budget, check_budget, check_confirm
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.planning.slots import Slots
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import ControlSelected, Event, Opened, Proposed, Selected, Told
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.study_file.models import CONTROLS, StudyOptions
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.selectors.protocol import Outcome, Proposal
from auxtune.trials.result import Cost

CONTROLLED = "confirm.controls=[single_task, equal_cost_random]"
SEVEN = (CONTROLLED, "budget.trials=30")  # random_subset ends by itself after all 7 subsets


def phases(accounts: Accounts) -> Counter[str]:
    return Counter(trial.phase for trial in accounts.trials.values())


def events_of(world: World) -> list[Event]:
    return read_events(world.folder / "ledger")


def work(world: World, agenda: Agenda, **by_phase: Cost) -> None:
    """Run a session one trial at a time, with trials of some phases at another cost."""
    while (trial := agenda.next()) is not None:
        world.report(trial, **({"cost": by_phase[trial.phase]} if trial.phase in by_phase else {}))
        agenda.end_attempt(trial.id, len(trial.attempts))


# What is trained


def test_it_is_never_on_by_default() -> None:
    assert EQUAL_COST not in CONTROLS


@pytest.mark.parametrize("slots", [1, 3])
def test_random_mixtures_are_trained_until_they_cost_what_the_search_did(tmp_path: Path, slots: int) -> None:
    world = World(tmp_path, overrides=SEVEN)
    agenda = world.session()
    world.run(agenda, slots)
    assert agenda.finished and agenda.exhausted is None
    assert phases(agenda.accounts) == {"search": 7, "control": 7, "confirm": 6}
    proposed = [event for event in events_of(world) if isinstance(event, Proposed)]
    assert {event.arm for event in proposed if event.phase == "control"} == {EQUAL_COST}
    draws = [event.proposal for event in proposed if event.phase == "control"]
    assert draws[0].tasks == ("p",) and len({tuple(draw.shares.items()) for draw in draws}) > 4
    ended = agenda.accounts.control_selected[EQUAL_COST]
    assert ended.selection is not None and ended.exhausted is None
    assert dict(ended.selection.weights or {}) in [dict(draw.weights or {}) for draw in draws]
    assert differences(world.study, events_of(world)) == []


def test_the_studys_own_selector_is_told_nothing_of_it(tmp_path: Path) -> None:
    (tmp_path / "with").mkdir(), (tmp_path / "without").mkdir()
    controlled = World(tmp_path / "with", overrides=(*SEVEN, "selector={name: random_mixture, trials: 6}"))
    plain = World(tmp_path / "without", overrides=("selector={name: random_mixture, trials: 6}",))
    found = []
    for world in (controlled, plain):
        world.run(world.session())
        selected = [event.selection for event in events_of(world) if isinstance(event, Selected)]
        found.append(([one for one in world.events() if one[-1] == "search"], selected))  # type: ignore[index]
    assert found[0] == found[1]
    draws = {
        phase: [e.proposal for e in events_of(controlled) if isinstance(e, Proposed) and e.phase == phase]
        for phase in ("search", "control")
    }
    assert draws["search"][3:] != draws["control"][3:], "the control draws for itself"


def test_its_own_answer_is_an_arm_with_the_seeds_of_the_others(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=SEVEN)
    agenda = world.session()
    world.run(agenda)
    selected, found = agenda.accounts.selected, agenda.accounts.control_selected[EQUAL_COST].selection
    assert selected is not None and found is not None
    arms = agenda._confirmation.arms(selected.selection)
    assert [each.weights for (each,) in arms[EQUAL_COST]] == [found.weights] * 2
    assert [each.seed for (each,) in arms[EQUAL_COST]] == [each.seed for (each,) in arms[SELECTION]]
    assert len(agenda.accounts.in_phase("confirm")) == 6


def test_a_search_that_is_twice_as_dear_pays_for_twice_as_many(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=(CONTROLLED, "budget.trials=40"))
    agenda = world.session()
    work(world, agenda, search=Cost(20.0, 0.0, 20.0))
    assert phases(agenda.accounts) == {"search": 7, "control": 14, "confirm": 6}


def test_cost_is_that_of_gpus_where_any_were_used(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=(CONTROLLED, "budget.trials=40"))
    agenda = world.session()
    agenda.resize(Slots(cpus=1, gpus=1, concurrent=1))
    work(world, agenda, search=Cost(20.0, 20.0, 500.0), control=Cost(10.0, 10.0, 10.0))
    assert phases(agenda.accounts)["control"] == 14


def test_money_that_is_nothing_and_gpus_that_are_not_given_count_nothing(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=(CONTROLLED, "budget.trials=40", "prices={cpu_hour: 0, gpu_hour: 0}"))
    agenda = world.session()
    work(world, agenda, search=Cost(10.0, 10.0, 20.0))  # on GPUs that were there then; trials now get none
    assert phases(agenda.accounts)["control"] == 14


def test_what_was_reused_counts_with_its_original_cost() -> None:
    told_from_cache = [
        Proposed(id=2, time=0.0, proposal=Proposal(("p",)), phase="measure", after=0),
        Told(
            id=2, attempt=0, time=0.0, outcome=Outcome(0.5), cost=Cost(0.0, 0.0, 0.0), reused={"k": Cost(7.0, 7.0, 7.0)}
        ),
    ]
    accounts = spent(2)
    for event in told_from_cache:
        accounts.add(event)
    assert sum(cost.gpu_seconds for cost in accounts.search_costs) == 207.0


# The budget


def controlled_budget(**limits: float) -> Budget:
    options = StudyOptions.model_validate(
        {
            "study": "x",
            "primary": "p",
            "tasks": {"p": {"builtin": "p"}},
            "selector": "single_task",
            "training": {"steps": 100},
            "prices": {"gpu_hour": 3.6, "cpu_hour": 0.36},
            "confirm": {"controls": ("single_task", EQUAL_COST), "seeds": 2},
            "budget": limits,
        }
    )
    return Budget(options, lambda proposal: 100, Slots(cpus=2, gpus=1, concurrent=2))


@pytest.mark.parametrize(
    ("limits", "fits", "too_many"),
    [
        # A trial takes 100 s, 100 GPU seconds and 0.12 USD; four are held for confirm, half of the rest for control.
        ({"trials": 14}, 4, 5),
        ({"gpu_hours": 1401 / 3600}, 4, 5),
        ({"usd": 14.01 * 0.12}, 4, 5),
        # Confirm's four take 200 s, the next trial 100 s; the control as long as n + 1 trials two at a time.
        ({"wall_hours": 551 / 3600}, 4, 5),
    ],
)
def test_the_search_may_use_half_of_what_remains_after_confirm(
    limits: dict[str, float], fits: int, too_many: int
) -> None:
    (key,), arms = limits, [Proposal(("p",))] * 4
    assert controlled_budget(**limits).exhausted(spent(fits), arms, now=0.0) is None
    assert controlled_budget(**limits).exhausted(spent(too_many), arms, now=0.0) == key


def test_what_the_control_has_cost_already_is_not_held_back_again() -> None:
    accounts, arms = spent(5), [Proposal(("p",))] * 4
    for number in range(5, 10):
        accounts.add(Proposed(id=number, time=0.0, proposal=Proposal(("p",)), phase="control", after=0, arm=EQUAL_COST))
    assert controlled_budget(trials=16).exhausted(accounts, arms, now=0.0) is None  # one more for each of the two
    assert controlled_budget(trials=15).exhausted(accounts, arms, now=0.0) == "trials"


def test_a_budget_that_ends_the_search_leaves_as_much_for_the_control(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=(CONTROLLED, "budget.trials=15"))
    agenda = world.session()
    world.run(agenda)
    assert agenda.exhausted == "trials" and agenda.finished
    assert phases(agenda.accounts)["search"] == phases(agenda.accounts)["control"] == 4


def test_a_budget_that_ends_the_control_early_is_said(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=SEVEN)
    agenda = world.session()
    work(world, agenda, search=Cost(90.0, 0.0, 90.0))
    assert phases(agenda.accounts) == {"search": 7, "control": 17, "confirm": 6}
    assert agenda.accounts.control_selected[EQUAL_COST].exhausted == "trials"


def test_a_budget_must_pay_for_the_fewest_trials_twice() -> None:
    options = controlled_budget(trials=7).options
    check_budget(options, fewest=0)
    with pytest.raises(BudgetTooSmall, match=r"at least 1, and equal_cost_random as many; set it to 8 or more"):
        check_budget(options, fewest=1)


# Resumed


@pytest.mark.parametrize("cut", [7, 9, 12, 14, 17])
def test_a_study_cut_in_the_middle_of_it_resumes_exactly(tmp_path: Path, cut: int) -> None:
    (tmp_path / "whole").mkdir(), (tmp_path / "cut").mkdir()
    whole, broken = (World(tmp_path / name, overrides=SEVEN) for name in ("whole", "cut"))
    whole.run(whole.session())
    broken.run(broken.session(), at_most=cut)
    agenda = broken.session()
    assert phases(agenda.accounts)["control"] == min(7, cut - 7)
    check_confirm(30, agenda.accounts.trained, agenda.owed)  # what is still to come fits the budget
    agenda.next()  # an attempt that dies with its driver
    broken.run(broken.session())
    assert broken.events() == whole.events()
    assert differences(broken.study, events_of(broken)) == []


def test_a_larger_budget_searches_on_and_so_does_the_control(tmp_path: Path) -> None:
    mixtures = "selector={name: random_mixture, trials: null}"
    small = World(tmp_path, overrides=(CONTROLLED, "budget.trials=16", mixtures))
    small.run(small.session())
    assert phases(small.session().accounts) == {"search": 5, "control": 5, "confirm": 6}
    large = World(tmp_path, overrides=(CONTROLLED, "budget.trials=40", mixtures))
    agenda = large.session()
    large.run(agenda)
    found = phases(agenda.accounts)
    assert agenda.finished and found["search"] == found["control"] > 10
    assert differences(large.study, events_of(large)) == []
    ends = [event for event in events_of(large) if isinstance(event, ControlSelected)]
    assert [end.budget["trials"] for end in ends] == [16, 40]


def test_a_finished_study_can_be_given_it_if_its_budget_allows(tmp_path: Path) -> None:
    plain = World(tmp_path, overrides=("budget.trials=30",))
    plain.run(plain.session())
    agenda = World(tmp_path, overrides=SEVEN).session()
    assert not agenda.finished and agenda.owed == 7 + 2
    trained = agenda.accounts.trained
    with pytest.raises(BudgetTooSmall, match=f"{trained} were trained; what `confirm` now asks for takes 9 more"):
        check_confirm(trained + 8, trained, agenda.owed)
    plain.run(agenda)
    assert agenda.finished and phases(agenda.accounts)["control"] == 7


def test_a_proposal_of_it_that_does_not_follow_is_found_and_another_version_is_not_asked(tmp_path: Path) -> None:
    world = World(tmp_path, overrides=SEVEN)
    world.run(world.session())
    [opened, *others] = events_of(world)
    assert isinstance(opened, Opened)
    first = next(event.id for event in others if isinstance(event, Proposed) and event.phase == "control")
    forged: list[Event] = [
        replace(event, proposal=replace(event.proposal, seed=event.proposal.seed + 1))
        if isinstance(event, Proposed) and event.id == first
        else event
        for event in others
    ]
    context = StudyContext.from_events(world.study, [opened, *forged])
    now = context.fold_control().version
    [line] = context.differences([opened, *forged])
    assert line.startswith(f"proposal {first}: the selector now asks for")
    older = [replace(opened, control_versions={EQUAL_COST: now + 1}), *forged]
    assert list(context.differences(older)) == []
    said = context.describe_other_versions(older)
    assert said is not None and f"7 proposals of version {now + 1} of the control {EQUAL_COST}" in said


def test_groups_cannot_have_it() -> None:
    text = SIMULATED.replace("primary: p", "objective: groups\nmodels: 2").replace("SELECTOR", "random_groups")
    with pytest.raises(StudyFileError, match="equal_cost_random draws mixtures for a primary"):
        parse_study(text, "study.yaml", Path(), ("confirm.controls=[equal_cost_random]",))


# Real trainings


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyRun:
    home = small_study(tmp_path)
    asked = SMALL.replace("controls: [single_task]", "controls: [equal_cost_random]").replace("trials: 8", "trials: 12")
    (tmp_path / "study.yaml").write_text(asked)
    monkeypatch.chdir(tmp_path)
    return home


def test_validate_and_plan_count_it(run: StudyRun) -> None:
    said = CliRunner().invoke(cli.main, ["validate", "study.yaml"]).output
    assert "trials: at least 4 (2 to confirm, 1 to search, as many for equal_cost_random)" in said
    planned = CliRunner().invoke(cli.main, ["plan", "study.yaml"]).output
    assert "budget.trials: 12 trials: 2 confirm, 5 search, 5 control" in planned
    assert "then equal_cost_random: random mixtures, until they have cost as much as the search" in planned
    plan = json.loads(CliRunner().invoke(cli.main, ["plan", "study.yaml", "--json"]).stdout)
    assert plan["trials"] == {"limit": 12, "trained": 0, "confirm": 2, "search": 5, "control": 5}
    assert list(plan["cost"]) == ["search", "control", "confirm", "total"]


@pytest.mark.slow
def test_a_real_study_killed_in_the_middle_of_it_resumes_and_verifies(run: StudyRun) -> None:
    process = run.start()
    run.wait_for(lambda: any(t.status == "running" for t in run.accounts.in_phase("control")) and run.trains(), process)
    kill(process)
    before = [(t.id, t.proposal) for t in run.accounts.in_phase("search", "control")]
    run.finish("resume", "studies/small")
    accounts = run.accounts
    assert [(t.id, t.proposal) for t in accounts.in_phase("search", "control")][: len(before)] == before
    answer = json.loads((run.folder / "selection.json").read_text())
    cost = answer["cost"]["phases"]
    assert cost["search"]["trials"] == 2 and cost["control"]["usd"] >= cost["search"]["usd"] > 0
    assert EQUAL_COST in answer["lift"]
    assert "verified: every recorded proposal" in run.finish("status", "studies/small", "--verify")
