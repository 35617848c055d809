"""The page of a study: its numbers are the answer's, what was found is drawn, and what is not known is said."""

from __future__ import annotations

import io
import json
import re
import shutil
import time
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from reported import WITH_EACH, Reader, finished, material_of, told
from rich.console import Console
from simulated_study import GROUPS, NAMES, STUDY, SimulatedStudy, simulated
from small_study import StudyRun
from written_study import start_driver, written_study

from auxtune.orchestrator import cli
from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.verdict import write_verdict
from auxtune.orchestrator.record.events import Nodes
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.report.charts import Point, find_front
from auxtune.orchestrator.report.page import render_html
from auxtune.orchestrator.report.study_page import SECTIONS, build_study_page, write_report
from auxtune.orchestrator.session.session import Result
from auxtune.orchestrator.views.summary import list_summary_blocks
from auxtune.orchestrator.views.terminal import render_terminal

# Its numbers


def test_the_numbers_are_those_of_the_answer(tmp_path: Path) -> None:
    folder = finished(tmp_path, "{name: random_subset, trials: 4}", WITH_EACH)
    answer, page = json.loads((folder / "selection.json").read_text()), told(folder)
    assert page["answer"]["said"].startswith(write_verdict(Answer.from_json(answer)))
    (shares, report) = page["selection"]["tables"].values()
    assert dict(shares) == answer["weights"]
    assert report == [["p", "accuracy", answer["report"]["p"]["accuracy"]]]
    (lifts,) = page["lift"]["tables"].values()
    same = answer["lift"].pop("same_tasks_equal")  # subsets are trained in equal shares
    assert same["same_training"] and lifts.pop() == ["same_tasks_equal", "the same training", "–", "–", "–", 4]
    assert (
        lifts
        == [
            [over, *(lift[k] for k in ("mean", "low", "high", "metric", "seeds"))]
            for over, lift in answer["lift"].items()
        ]
        and len(lifts) == 3
    )
    (gains,) = page["contribution"]["tables"].values()
    assert (
        gains
        == [
            [task, *(gain[k] for k in ("mean", "low", "high", "seeds"))]
            for task, gain in answer["contribution"].items()
        ]
        and gains
    )
    (costs,) = page["cost"]["tables"].values()
    keys, cost = ("trials", "attempts", "gpu_hours", "cpu_hours", "usd"), answer["cost"]
    phases = {phase: part for phase, part in cost["phases"].items() if part["trials"]}
    expected = {**phases, "in all": cost, "reused, not in it": cost["reused"]}
    assert costs == [[phase, *(part[key] for key in keys)] for phase, part in expected.items()]
    html = render_html(build_study_page(material_of(folder)))
    written = {float(value) for tag, a in Reader(html).elements if tag == "td" and (value := a.get("data-value"))}
    assert {lift[key] for lift in answer["lift"].values() for key in ("mean", "low", "high")} <= written


def test_the_numbers_of_groups_are_those_of_the_answer(tmp_path: Path) -> None:
    folder = finished(tmp_path, "tag", GROUPS.replace("{seeds: 1}", "{seeds: 4}"))
    answer, page = json.loads((folder / "selection.json").read_text()), told(folder)
    assert page["answer"]["said"].startswith(write_verdict(Answer.from_json(answer)))
    models, report = page["selection"]["tables"].values()
    assert models == [[" + ".join(g["tasks"]), ", ".join(g["serves"])] for g in answer["groups"]]
    assert report == [[task, metric, v] for task, each in answer["report"].items() for metric, v in each.items()]
    mean, own = page["lift"]["tables"].values()
    assert answer["lift"].pop("same_tasks_equal")["same_training"]
    assert mean.pop() == ["same_tasks_equal", 2, "the same training", "–", "–", "–", 4]
    assert [row[:5] for row in mean] == [
        [over, *(lift[key] for key in ("models", "mean", "low", "high"))] for over, lift in answer["lift"].items()
    ]
    assert (
        sorted(row[:5] for row in own)
        == sorted(
            [task, over, each["mean"], each["low"], each["high"]]
            for over, lift in answer["lift"].items()
            for task, each in lift["tasks"].items()
        )
        and len(own) == 15
    )
    assert len(page["trials"]["pictures"]) == 1 and page["trials"]["tables"] == {}
    assert {row[0] for row in page["tasks"]["tables"].popitem()[1]} == set(NAMES)


@pytest.mark.parametrize(("selector", "text"), [("{name: random_subset, trials: 4}", WITH_EACH), ("tag", GROUPS)])
def test_the_terminal_and_the_page_say_the_same(selector: str, text: str, tmp_path: Path) -> None:
    material = material_of(finished(tmp_path, selector, text))
    assert material.answer is not None
    result = Result(material.folder, material.answer, material.accounts, None)
    printed = io.StringIO()
    Console(width=300, file=printed).print(
        render_terminal(list_summary_blocks(result, material.options.budget, "sqlite:///x"))
    )
    shown = set(re.findall(r"[+-]\d\.\d{4}|\d+\.\d%", printed.getvalue()))
    page = Reader(render_html(build_study_page(material))).text
    assert len(shown) > 5 and shown <= set(re.findall(r"[+-]?\d+\.\d+%?", page))


def test_the_front_is_what_nothing_cheaper_reaches() -> None:
    points = [Point(1, 0.3), Point(2, 0.5), Point(2, 0.6), Point(3, 0.6), Point(4, 0.9), Point(5, 0.1)]
    assert find_front(points) == [Point(1, 0.3), Point(2, 0.6), Point(4, 0.9)]


def test_the_trials_on_the_front_are_the_best_for_their_cost(tmp_path: Path) -> None:
    folder = finished(tmp_path, "{name: random_subset, trials: 4}")
    material = material_of(folder)
    (rows,) = told(folder)["trials"]["tables"].values()
    best = max(trial.score or 0 for trial in material.accounts.trials.values())
    assert [row[3] for row in rows] == [best]  # all trials cost the same here, so that one has the best score


# How the selector got there

DRAWN = {
    "{name: thompson, rounds: 12}": ("The bandit's belief", "Utility"),
    "{name: thompson, mode: trials, rounds: 12}": ("The bandit's belief", "Utility"),
    "{name: autosem, rounds: 12, samples: 5}": ("The bandit's belief", "Utility", "Score on the validation split by"),
    "gradts_threshold": ("How much each attention head", "Kendall's τ"),
    "gradts_trial": ("How much each attention head", "Kendall's τ", "Score on the validation split with"),
    "covariance_similarity": ("Similarity to the primary",),
    "svd_reweighting": ("Weight α",),
    "representation_gradient": (
        "How alike each task",
        "Representation:",
        "Gradient:",
        "Margin:",
        "Affinity onto the primary",
    ),
    "tag": ("Affinity:", "Affinity onto the primary"),
    "grad_tag": ("Affinity:", "Affinity onto the primary"),
    "linear_surrogate": ("Worth in the linear fit",),
    "{name: mixture_regression, samples: 12, rounds: 1}": ("Score on the validation split by",),
    "[covariance_similarity, {name: gp_mixing, samples: 4}]": ("Similarity", "Score on the validation split by"),
    "random_subset": (),
    "{name: auto, stop: null}": ("Score on the validation split by",),
}


@pytest.mark.parametrize("selector", DRAWN)
def test_what_a_selector_left_is_drawn(selector: str, tmp_path: Path) -> None:
    pictures = told(finished(tmp_path, selector))["search"]["pictures"]
    assert len(pictures) == len(DRAWN[selector])
    assert all(caption.startswith(start) for caption, start in zip(pictures, DRAWN[selector], strict=True))


def test_how_far_a_joint_run_agrees_with_itself_is_told(tmp_path: Path) -> None:
    page = told(finished(tmp_path, "tag"))["search"]
    assert "Of 20 measurements the odd and the even ones agree with a correlation of 1.00, all" in page["said"]
    assert "(Spearman-Brown): more than chance explains (p = 0.002)." in page["said"]


def test_every_id_is_there_once_also_with_a_method_in_two_stages(tmp_path: Path) -> None:
    stages = "[{name: gradts_threshold, threshold: -1.0}, gradts_trial, {name: gp_mixing, samples: 4}]"
    folder = finished(tmp_path, stages)
    html = render_html(build_study_page(material_of(folder)))
    ids = [value for _, attributes in Reader(html).elements if (value := attributes.get("id"))]
    assert len(ids) > 100 and len(ids) == len(set(ids))
    assert {link[1:] for link in re.findall(r'href="(#[^"]+)"', html)} <= set(ids)


def test_the_leading_mixtures_are_listed_with_what_is_expected_of_them(tmp_path: Path) -> None:
    folder = finished(tmp_path, "auto")
    page, answer = told(folder), json.loads((folder / "selection.json").read_text())
    rows = page["search"]["tables"]["The leading mixtures, the answer first"]
    leaders = answer["belief"]["leaders"]
    assert leaders[0]["weights"] == answer["weights"] and len(rows) == len(leaders) > 1
    for row, leader in zip(rows, leaders, strict=True):
        assert row[0].startswith(f"p {leader['weights']['p']:.0%}") and row[1] == leader["runs"]
        assert row[2:] == pytest.approx([leader["seen"], leader["mean"], 1.96 * leader["deviation"]])


def test_searches_with_several_seeds_are_told_apart(tmp_path: Path) -> None:
    folder = finished(tmp_path, "{name: thompson, rounds: 12}", f"{STUDY}search_seeds: 2\n")
    page, answer = told(folder), json.loads((folder / "selection.json").read_text())
    searches = page["search"]["tables"]["The same search with other seeds"]
    assert [row[1] for row in searches] == [" + ".join(each["tasks"]) for each in answer["belief"]["searches"]]
    assert page["selection"]["tables"]["Trained together"][0][2] == 1.0  # every search has the primary


def test_the_bandit_is_drawn_as_it_was_folded(tmp_path: Path) -> None:
    from auxtune.orchestrator.report.search.bandit import list_histories

    for forgets, chosen_by in ((False, ""), (True, ", released: true")):
        home = tmp_path / f"forgets {forgets}"
        material = material_of(finished(home, f"{{name: thompson, rounds: 12{chosen_by}}}"))
        runs = list_histories(material, forgets)
        assert [run.pulls[-1].means for run in runs] == [pytest.approx(each) for each in material.belief["runs"]]
        assert [pull.rewarded for run in runs for pull in run.pulls].count(None) == 2  # first rounds teach nothing
        pulls = material_of(finished(home / "pulls", f"{{name: thompson, mode: trials, rounds: 12{chosen_by}}}"))
        (history,) = list_histories(pulls, forgets)
        assert len(history.pulls) == 12 and history.pulls[0].rewarded is None
        assert history.pulls[-1].means == pytest.approx(pulls.belief["utility"])
        assert {pull.rewarded for pull in history.pulls} == {None, True, False}


@pytest.mark.parametrize("selector", ["{name: thompson, rounds: 12}", "{name: autosem, rounds: 12, samples: 5}"])
def test_what_the_rounds_say_is_in_the_report_as_in_the_answer(selector: str, tmp_path: Path) -> None:
    folder = finished(tmp_path, selector)
    belief = json.loads((folder / "selection.json").read_text())["belief"]
    belief = belief.get("thompson", belief)
    page = told(folder)["search"]
    (rows,) = [rows for title, rows in page["tables"].items() if title.startswith("What the rounds say")]
    assert {row[0]: row[1:] for row in rows} == {
        task: [belief["rounds"][task], belief["utility"][task], *belief["interval"][task], belief["better"][task]]
        for task in NAMES
    }
    assert "The band is the 95 % interval" in page["pictures"][0]
    assert "thin bars are 95 % intervals" in page["pictures"][1]


def test_a_posterior_that_forgets_is_drawn_as_such(tmp_path: Path) -> None:
    page = told(finished(tmp_path, "{name: thompson, rounds: 12, released: true}"))["search"]
    assert "a task falls back to 0.5" in page["pictures"][0] and page["tables"] == {}
    assert "At 0.5 a task helps as often as it hurts" in page["pictures"][1]


def test_evidence_that_is_gone_is_said(tmp_path: Path) -> None:
    folder = finished(tmp_path, "gradts_threshold")
    shutil.rmtree(tmp_path / ".evidence")
    page = told(folder)["search"]
    assert "cannot be drawn" in page["said"] and [caption[:9] for caption in page["pictures"]] == ["Kendall's"]


# What is not known, or went wrong


def test_without_prices_money_is_unknown_and_never_nothing(tmp_path: Path) -> None:
    folder = finished(tmp_path, "random_subset", STUDY.replace("prices: {cpu_hour: 0.5}\n", ""))
    (costs,) = told(folder)["cost"]["tables"].values()
    assert [row[-1] for row in costs] == [None] * 4
    html = render_html(build_study_page(material_of(folder)))
    assert html.count('<td class="number">unknown</td>') == 4


def test_nodes_and_the_cluster_have_their_cost(tmp_path: Path) -> None:
    study = simulated(tmp_path, "random_subset", STUDY.replace("0.5}", "0.5, nodes: {worker: 3.0}}"))
    agenda = study.session()
    study.run(agenda, at_most=2)
    agenda.record(Nodes(time=time.time(), up={"worker": 2, "head": 1}, seconds={"worker": 7200.0, "head": 3600.0}))
    tables = told(study.close(agenda, "interrupted"))["cost"]["tables"]
    head, worker, cluster = tables["Nodes, for as long as they were up"]
    assert worker == ["worker", pytest.approx(2, abs=0.1), pytest.approx(6, abs=0.3)]
    assert head == ["head", pytest.approx(1, abs=0.1), None]
    assert cluster == ["the cluster", pytest.approx(3, abs=0.2), None]  # unknown, since one of them is


def test_failures_and_second_attempts_are_told_with_their_words(tmp_path: Path) -> None:
    said = "ValueError: <b>no such label</b>\nand more"
    study = simulated(tmp_path, "{name: random_subset, trials: 5}", broken={1: said, 3: "KeyError: 'x'"})
    agenda = study.session()
    study.run(agenda, at_most=2)
    lost = agenda.next()
    assert lost is not None
    agenda.end_attempt(lost.id, 1, error="worker died")
    study.run(agenda)
    folder = study.finish(agenda)
    page = told(folder)
    failed, again = page["failures"]["tables"].items()
    assert failed[0] == f"2 of {len(agenda.accounts.trials)} trials failed"
    assert [(row[0], row[4], row[5]) for row in failed[1]] == [
        ("0001", "error", "ValueError: <b>no such label</b>"),
        ("0003", "error", "KeyError: 'x'"),
    ]
    assert [(row[0], row[3], row[4]) for row in again[1]] == [(f"{lost.id:04d}", 2, "its worker")]
    assert "2 of 5 search trials failed" in page["answer"]["said"]
    html = render_html(build_study_page(material_of(folder)))
    assert "<b>no such" not in html and "&lt;b&gt;no such" in html


@pytest.mark.parametrize(
    ("ended", "selector", "text"),
    [
        (0, "{name: thompson, rounds: 12}", STUDY),
        (1, "{name: thompson, rounds: 12}", STUDY),
        (3, "random_subset", STUDY),
        (4, "{name: autosem, rounds: 12, samples: 6}", STUDY),
        (0, "tag", GROUPS),
        (1, "tag", GROUPS),
        (7, "tag", GROUPS),
    ],
)
def test_an_interrupted_study_says_what_is_known_so_far(ended: int, selector: str, text: str, tmp_path: Path) -> None:
    study = simulated(tmp_path, selector, text)
    agenda = study.session()
    study.run(agenda, at_most=ended)
    page = told(study.close(agenda, "interrupted"))
    assert f"no answer yet: the study is interrupted after {ended} ended" in page["answer"]["said"]
    assert "auxtune resume" in page["answer"]["said"]
    assert [len(page[name]["pictures"]) for name in ("lift", "contribution")] == [0, 0]
    assert page["selection"]["said"] and len(page["cost"]["tables"]) == 1


def test_a_running_study_is_told_as_it_is_now(tmp_path: Path) -> None:
    folder = written_study(tmp_path / "small")
    (folder / "selection.json").unlink()
    driver = start_driver(folder)
    try:
        page = told(folder)
        assert "the study is running after 2 ended trials" in page["answer"]["said"]
        assert "resume" not in page["answer"]["said"]
        assert page["failures"]["tables"]["1 of 3 trials failed"][0][5] == "ValueError: no such word"
    finally:
        (folder / "end").touch()
        driver.terminate()
        driver.communicate(timeout=60)


def test_an_answer_that_the_study_has_gone_on_from_is_said_to_be_old(tmp_path: Path) -> None:
    study = simulated(tmp_path, "{name: random_subset, trials: 30}", STUDY.replace("trials: 80", "trials: 12"))
    folder = study.finish(study.session())
    before = told(folder)
    longer = SimulatedStudy(folder, text=study.text, overrides=("budget.trials=20",))
    agenda = longer.session()
    longer.run(agenda, at_most=2)
    longer.close(agenda, "failed")
    page = told(folder)
    assert "answer of an earlier session" in page["answer"]["said"] and "is failed" in page["answer"]["said"]
    assert page["lift"] == before["lift"] and "earlier session" not in before["answer"]["said"]
    (now,), (then,) = page["cost"]["tables"].values(), before["cost"]["tables"].values()
    assert now[0][1] == then[0][1] + 2  # two search trials more


# The command


def test_the_command_writes_where_it_is_told(tmp_path: Path) -> None:
    folder = finished(tmp_path, "random_subset")
    first = CliRunner().invoke(cli.main, ["report", str(folder)])
    assert (first.exit_code, first.output.strip()) == (0, str(folder / "report.html"))
    elsewhere = CliRunner().invoke(cli.main, ["report", str(folder), "--to", str(tmp_path / "page.html")])
    assert elsewhere.exit_code == 0
    assert (tmp_path / "page.html").read_bytes() == (folder / "report.html").read_bytes()
    both = CliRunner().invoke(cli.main, ["report", str(folder), "--to", "x.html", "--json"])
    assert both.exit_code == 2 and "--json writes no file" in both.output


def test_what_cannot_be_read_or_written_is_said(tmp_path: Path) -> None:
    none = CliRunner().invoke(cli.main, ["report", str(tmp_path)])
    assert none.exit_code == 2 and "expected the folder of a study" in none.output
    folder = finished(tmp_path, "random_subset")
    nowhere = CliRunner().invoke(cli.main, ["report", str(folder), "--to", str(tmp_path / "no" / "page.html")])
    assert nowhere.exit_code == 2 and "cannot be written: No such file or directory; choose" in nowhere.output
    (folder / "selection.json").write_text("{")
    damaged = CliRunner().invoke(cli.main, ["report", str(folder)])
    assert damaged.exit_code == 2 and "expected the answer as JSON" in damaged.output and "resume" in damaged.output
    (folder / "selection.json").write_text('{"format": 2}')
    other = CliRunner().invoke(cli.main, ["report", str(folder)])
    assert other.exit_code == 2 and "expected an answer of format 1" in other.output


def test_a_page_that_cannot_be_written_leaves_none_of_another_answer(tmp_path: Path) -> None:
    folder = finished(tmp_path, "random_subset")
    material = material_of(folder)
    (folder / "report.html").write_text("a former answer")
    assert material.answer is not None
    broken = replace(material.answer, lift={"single_task": replace(material.answer.lift["all_tasks"], mean=None)})
    _, trouble = write_report(folder, material.study, read_events(folder / "ledger"), broken)
    assert trouble is not None and "TypeError" in trouble and not (folder / "report.html").exists()
    page, trouble = write_report(folder, material.study, read_events(folder / "ledger"), material.answer)
    assert (page, trouble) == (build_study_page(material), None)
    assert len(SECTIONS) == (folder / "report.html").read_text().count("<section ")


@pytest.mark.slow
def test_a_finished_study_leaves_the_page_that_the_command_writes(whole: StudyRun) -> None:
    left = (whole.folder / "report.html").read_bytes()
    whole.finish("report", "studies/small")
    assert (whole.folder / "report.html").read_bytes() == left


@pytest.mark.slow
def test_a_study_is_finished_also_where_its_page_cannot_be_written(small: StudyRun) -> None:
    process = small.start("run", "study.yaml")
    small.wait_for(lambda: bool(small.accounts.sessions), process)
    (small.folder / "report.html").mkdir()
    out, err = process.communicate(timeout=400)
    assert process.returncode == 0, out + err
    said = out + err
    assert "report.html could not be written (IsADirectoryError" in said and "tries again" in said
    assert small.accounts.sessions[-1].closed is not None and small.accounts.sessions[-1].closed.reason == "done"
