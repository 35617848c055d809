"""Searches over shares where only some mixtures can be had: those that a table of groups recorded with the target."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path

import pytest

from auxtune.orchestrator.simulation.recorded_groups import RecordedGroups
from auxtune.orchestrator.simulation.replay import replay
from auxtune.orchestrator.simulation.simulate import simulate
from auxtune.orchestrator.tables.reading import read_recorded
from auxtune.selectors.registry import make
from tests.recorded_tables import ABCD, groups_rows, half_size, write_table


@pytest.fixture
def groups(tmp_path: Path) -> Path:
    """All groups of four tasks, and single tasks in half size."""
    rows = groups_rows(seed=4)
    return write_table(tmp_path / "groups", "groups", ABCD, [*rows, *half_size(rows)])


def test_with_a_target_its_groups_are_offered_as_mixtures_in_equal_shares(groups: Path) -> None:
    problem = RecordedGroups(read_recorded(groups), "b", models=1).problem(0)
    assert len(problem.offered) == len(set(problem.offered)) == 8  # b with every subset of the others
    for mixture in problem.offered:
        present = [share for share in mixture if share]
        assert mixture[1] and present == [1 / len(present)] * len(present)
    assert RecordedGroups(read_recorded(groups), None, models=1).problem(0).offered == ()


@pytest.mark.parametrize("name", ["auto", "gp_mixing", "random_mixture"])
def test_searches_over_shares_train_what_is_recorded_each_group_once(groups: Path, name: str) -> None:
    replayed = replay(make(name, {}), RecordedGroups(read_recorded(groups), "b", models=1), seed=0, budget=20)
    trials = list(replayed.accounts.trials.values())
    assert len(trials) == 8 == len({frozenset(trial.proposal.tasks) for trial in trials})
    assert all(trial.status == "finished" for trial in trials)


def test_auto_finds_the_best_of_the_built_in_subsets_with_a_third_of_their_trainings() -> None:
    rows = simulate(
        files("auxtune.examples") / "tables" / "builtin", ["auto"], targets=["mood"], budgets=[20], seeds=range(3)
    )
    assert rows["regret"].tolist() == [0, 0, 0]
