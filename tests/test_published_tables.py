"""The recorded tables of others: figures that their authors and everybody who reads them come to."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from auxtune.orchestrator.simulation.audit import audit_table
from auxtune.orchestrator.simulation.simulate import simulate
from auxtune.orchestrator.tables.reading import read_recorded

TABLES = Path(os.environ.get("AUXTUNE_DATA", "/nowhere")).parent / "tables"
pytestmark = pytest.mark.skipif(not TABLES.is_dir(), reason="there is no folder of recorded tables beside AUXTUNE_DATA")

BUDGETS = (2, 3, 4, 5)
CURVES = {  # total test loss, by inference budget
    "exhaustive": (0.4522, 0.4424, 0.4356, 0.4348),
    "hoa": (0.4547, 0.4488, 0.4411, 0.4420),
    "early": (0.4673, 0.4572, 0.4506, 0.4474),
}


@pytest.mark.parametrize("selector", CURVES)
def test_the_curves_of_five_vision_tasks_come_out_to_four_digits(selector) -> None:
    asked = {"name": "exhaustive", "split": "early"} if selector == "early" else selector
    rows = simulate(TABLES / "taskonomy5_setting1", [asked], inference_budgets=BUDGETS)
    # The references round the repository's five digits; halves may have gone either way.
    assert rows["total_test"].tolist() == pytest.approx(CURVES[selector], abs=0.6e-4)


def test_half_a_network_is_used_where_it_pays() -> None:
    recorded = read_recorded(TABLES / "taskonomy5_setting1")
    golden = {1: 0.50761, 1.5: 0.46630, 2: 0.45686, 2.5: 0.45076, 3: 0.44702, 4: 0.43984, 5: 0.43910}
    found = {budget: -recorded.table.best_total("validation", budget, by_cost=True) for budget in golden}
    assert found == pytest.approx(golden, abs=1e-5)


@pytest.mark.parametrize("name", ["taskonomy5_setting1", "regmix17", "olmix64"])
def test_published_tables_are_read_and_pass_the_audit(name) -> None:
    recorded = read_recorded(TABLES / name)
    assert recorded.table.targets
    assert not [line for line in audit_table(recorded.table) if "copy" in line]


def test_a_search_over_mixtures_is_judged_at_another_size_too() -> None:
    asked = {"targets": ["pile_cc"], "budgets": [12]}
    small, large = (
        simulate(TABLES / "regmix17", ["random_subset"], split=split, **asked) for split in ("test", "test_60m")
    )
    assert small["trials"].tolist() == large["trials"].tolist() == [12]
    assert large["mean_test"][0] < small["mean_test"][0]  # sixty times the parameters
