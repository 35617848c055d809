"""What is said of the control that searches by itself: lift, cost and verdict, also where its trials failed."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from reported import finished, material_of, told
from rich.console import Console
from simulated_study import STUDY as SIMULATED
from simulated_study import simulated
from test_recommendation import PAIR, content, lift

from auxtune.orchestrator import cli
from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.verdict import write_verdict
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.export.model_spec import model_specs
from auxtune.orchestrator.planning.arms import EQUAL_COST
from auxtune.orchestrator.session.session import Result
from auxtune.orchestrator.views.summary import list_summary_blocks
from auxtune.orchestrator.views.terminal import render_terminal

COMPARED = SIMULATED.replace("{seeds: 1}", "{seeds: 4, controls: [single_task, equal_cost_random]}")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return finished(tmp_path_factory.mktemp("compared"), "{name: random_subset, trials: 4}", COMPARED)


def test_the_lift_over_it_is_among_the_others(folder: Path) -> None:
    answer = json.loads((folder / "selection.json").read_text())
    assert list(answer["lift"]) == ["single_task", EQUAL_COST] and answer["lift"][EQUAL_COST]["seeds"] == 4
    assert answer["cost"]["phases"]["control"]["trials"] == answer["cost"]["phases"]["search"]["trials"] == 4
    material, printed = material_of(folder), io.StringIO()
    result = Result(folder, Answer.from_json(answer), material.accounts, None)
    blocks = list_summary_blocks(result, material.options.budget, "sqlite:///x.db")
    Console(width=300, file=printed).print(render_terminal(blocks))
    assert EQUAL_COST in printed.getvalue() and "search 4, control 4, confirm 12" in printed.getvalue()
    said = told(folder)
    assert "random mixtures at equal cost" in said["answer"]["said"]
    assert EQUAL_COST in {row[0] for row in said["lift"]["tables"]["Lift on the test split"]}


def test_status_verifies_it_and_divides_the_trials(folder: Path) -> None:
    run = CliRunner().invoke(cli.main, ["status", str(folder), "--verify"])
    assert run.exit_code == 0, run.output
    assert "verified: every recorded proposal" in run.output
    assert "trials 20 of 80 (12 confirm, 34 search, 34 control)" in run.output


@pytest.mark.parametrize(
    ("found", "said"),
    [
        (lift(0.05, 0.01), "The search beat random mixtures at equal cost by +0.0500 accuracy, 95 % interval +0.04"),
        (lift(0.03, 0.029), "The search did better than random mixtures at equal cost by +0.0300 accuracy"),
        (lift(0.01, 0.02), "No measurable gain of the search over random mixtures at equal cost (+0.0100 accuracy"),
        (lift(-0.03, 0.029), "The search did worse than random mixtures at equal cost by 0.0300 accuracy"),
        (lift(0.01, None, seeds=2), "The search against random mixtures at equal cost: +0.0100 accuracy, of unknown"),
        (lift(0.0, None, same_training=True), "The search gained nothing over random mixtures at equal cost: they"),
        (None, "Whether the search was worth its cost was not measured"),
    ],
)
def test_the_verdict_says_whether_the_search_was_worth_its_cost(found: dict[str, Any] | None, said: str) -> None:
    verdict = write_verdict(content(PAIR, single_task=lift(0.2, 0.02), equal_cost_random=found))
    assert said in verdict and verdict.count("random mixtures") <= 1
    assert EQUAL_COST not in verdict or found is None


def test_the_verdict_recommends_it_where_it_is_better_for_sure() -> None:
    verdict = write_verdict(content(PAIR, single_task=lift(0.2, 0.02), equal_cost_random=lift(-0.1, 0.02)))
    assert verdict.startswith("Train the best of random mixtures rather than what the search chose: equal_cost_random")
    assert "The search" not in verdict


def test_a_control_that_cost_less_is_not_called_equal(folder: Path) -> None:
    answer = Answer.from_json(json.loads((folder / "selection.json").read_text()))
    phases = dict(answer.cost.phases)
    phases["control"] = replace(phases["control"], usd=0.62 * (phases["search"].usd or 0.0))
    cheap = replace(answer, cost=replace(answer.cost, phases=phases))
    assert "random mixtures at 62% of its cost" in write_verdict(cheap)


def test_the_share_is_of_the_dearest_unit_that_is_known(folder: Path) -> None:
    cost = Answer.from_json(json.loads((folder / "selection.json").read_text())).cost
    assert cost.control_share == pytest.approx(1.0)
    half = replace(cost.phases["control"], cpu_hours=cost.phases["search"].cpu_hours / 2)
    unpriced = replace(cost, reused=replace(cost.reused, usd=None), phases={**cost.phases, "control": half})
    assert unpriced.control_share == pytest.approx(0.5)
    assert Answer().cost.control_share is None


def test_failed_mixtures_are_told_as_failures(tmp_path: Path) -> None:
    study = simulated(tmp_path, "{name: random_subset, trials: 4}", COMPARED, broken={5: "its loss is nan"})
    folder = study.finish(study.session())
    material = material_of(folder)
    fold = material.context.fold_control(material.events)
    assert list(fold.state.scores.values()).count(None) == 1 and len(fold.state.scores) == 4
    assert "1 of 4 trials of equal_cost_random failed; it rests on the others." in told(folder)["answer"]["said"]


def test_a_control_of_which_all_failed_is_not_measured(tmp_path: Path) -> None:
    broken = dict.fromkeys(range(4, 8), "out of memory")
    text = COMPARED.replace("budget:", "stop_after_failures: 50\nbudget:")
    study = simulated(tmp_path, "{name: random_subset, trials: 4}", text, broken=broken)
    agenda = study.session()
    folder = study.finish(agenda)
    assert agenda.accounts.control_selected[EQUAL_COST].selection is None
    answer = Answer.from_json(json.loads((folder / "selection.json").read_text()))
    assert answer.lift[EQUAL_COST] is None
    assert "equal_cost_random came to no result" in write_verdict(answer)
    rows = {row[0]: row[1] for row in told(folder)["lift"]["tables"]["Lift on the test split"]}
    assert rows[EQUAL_COST] == "not measured"
    with pytest.raises(AuxtuneError, match="equal_cost_random came to no mixture"):
        model_specs(folder, answer, agenda.accounts, agenda._confirmation, 0, None, EQUAL_COST)
