"""The study's note for MLflow, and the page's figures as files: in place, within bounds, and readable alone."""

from __future__ import annotations

import re
from pathlib import Path
from xml.etree import ElementTree

import pytest
from markupsafe import Markup
from reported import HOSTILE, WITH_EACH, finished, material_of
from simulated_study import GROUPS, STUDY, SimulatedStudy, simulated

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.verdict import write_verdict
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.report.blocks import Page, Paragraph, Picture, Section, Table, number
from auxtune.orchestrator.report.markdown import LONGEST, write_note
from auxtune.orchestrator.report.page import draw_figures
from auxtune.orchestrator.report.study_page import build_study_page
from auxtune.orchestrator.session.session import build_ending
from auxtune.orchestrator.tracking.run_content import Ending, describe_trial, name_trial, write_status_note
from auxtune.selectors.protocol import Proposal

SAID = Section("answer", "The answer", (Paragraph("Train p with a.", "answer"),))


def page_of(*blocks: Table | Paragraph) -> Page:
    return Page("x", "about", (SAID, Section("lift", "Lift", blocks), Section("cost", "Cost", blocks)), "foot")


def test_tables_are_markdown_and_nothing_in_them_breaks_it(tmp_path: Path) -> None:
    table = Table("Lift", ("over", "lift"), (("a|b", number(0.5, "+.2f")), ("<i>c</i>\nd", number(None))))
    lines = write_note(page_of(table), Answer(), tmp_path).splitlines()
    start = lines.index("Lift:")
    assert lines[start + 2 : start + 6] == [
        "| over | lift |",
        "| --- | --: |",
        r"| a\|b | +0.50 |",
        "| &lt;i>c&lt;/i> d | unknown |",
    ]


@pytest.mark.parametrize(("rows", "width", "kept"), [(25, 4, 2), (400, 4, 2), (25, 120, 1), (25, 200, 0)])
def test_a_long_note_keeps_the_answer_and_loses_its_end(rows: int, width: int, kept: int, tmp_path: Path) -> None:
    table = Table("Many", ("task", "value"), tuple(("t" * width, number(1.0)) for _ in range(rows)))
    note = write_note(page_of(table), Answer(), tmp_path)
    assert note.startswith("**Train p with a.**\n") and note.endswith("searches on") and len(note) <= LONGEST
    assert (note.count("\n## "), note.count(f"… and {rows - 25} more.")) == (kept, kept if rows > 25 else 0)


def test_what_is_folded_is_left_out_before_anything_else(tmp_path: Path) -> None:
    rows = tuple(("t" * 150, number(1.0)) for _ in range(25))
    folded, shown = Table("Folded", ("task", "value"), rows, folded=True), Table("Shown", ("task", "value"), rows[:3])
    assert "Folded:" in write_note(
        page_of(Table("Folded", ("task", "value"), rows[:3], folded=True), shown), Answer(), tmp_path
    )
    note = write_note(page_of(folded, shown), Answer(), tmp_path)
    assert "Folded:" not in note and note.count("Shown:") == 2


def test_a_page_that_failed_leaves_the_sentence_and_the_way_on(tmp_path: Path) -> None:
    answer = material_of(finished(tmp_path, "random_subset")).answer
    assert answer is not None
    note = write_note(None, answer, tmp_path / "x")
    assert note.startswith(f"**{write_verdict(answer)}**\n") and f"`auxtune report {tmp_path / 'x'}`" in note


def test_a_study_without_an_answer_says_where_it_stands_and_what_is_best(tmp_path: Path) -> None:
    study = simulated(tmp_path, "{name: random_subset, trials: 5}")
    agenda = study.session()
    study.run(agenda, at_most=3)
    accounts = agenda.accounts
    best = accounts.best
    assert best is not None
    running = write_status_note(accounts, study.folder, None)
    assert "the study is running after 3 ended trials" in running and "auxtune status" in running
    assert f"trial {best.id:04d} with a score of {best.score:.4f}. {describe_trial(best)}" in running
    folder = study.close(agenda, "interrupted")
    ended = write_status_note(Accounts(read_events(folder / "ledger")), folder, Ending("interrupted"))
    assert "is interrupted after 3" in ended and f"`auxtune resume {folder}`" in ended


def test_a_study_that_has_gone_on_does_not_deny_its_last_answer(tmp_path: Path) -> None:
    folder = finished(tmp_path, "{name: random_subset, trials: 30}", STUDY.replace("trials: 80", "trials: 12"))
    longer = SimulatedStudy(folder, text=material_of(folder).study.text, overrides=("budget.trials=20",))
    note = write_status_note(longer.session().accounts, folder, None)
    assert note.startswith("The study has gone on since its last answer, which is in `selection.json`, and is running.")


@pytest.mark.parametrize(
    ("selector", "text"),
    [
        ("{name: thompson, rounds: 12}", WITH_EACH),
        ("gradts_trial", WITH_EACH),
        ("tag", GROUPS),
        ("[covariance_similarity, {name: gp_mixing, samples: 4}]", WITH_EACH),
    ],
)
def test_figures_stand_alone(selector: str, text: str, tmp_path: Path) -> None:
    page = build_study_page(material_of(finished(tmp_path, selector, text, names=HOSTILE)))
    files = draw_figures(page)
    assert len(files) == len([b for s in page.sections for b in s.blocks if b.kind == "picture"]) > 2
    for name, svg in files.items():
        root = ElementTree.fromstring(svg)
        assert re.fullmatch(r"[a-z]+(-\d+)?\.svg", name) and root.tag.endswith("}svg")
        width, height = (float(root.attrib[side].removesuffix("pt")) for side in ("width", "height"))
        assert 300 < width < 9 * height
        assert root[0].attrib["fill"] == "#fdfdfb" and "var(" not in svg


@pytest.mark.parametrize(("tasks", "named"), [("p", "p"), ("pab", "a + b"), ("pabcde", "a + b + c + 2 more")])
def test_a_trial_is_called_by_phase_number_and_what_it_trains_beside_the_primary(tasks: str, named: str) -> None:
    assert name_trial(Trial(12, "search", Proposal(tuple(tasks)), 0.0), "p") == f"search 0012 {named}"


def test_an_answer_is_not_lost_over_a_drawing_that_cannot_be_a_file(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "study.yaml").write_text("study: x")
    answer = material_of(finished(tmp_path, "random_subset", STUDY)).answer
    assert answer is not None
    page = Page("x", "about", (SAID, Section("lift", "Lift", (Picture(Markup("<svg>"), "no size"),))), "foot")
    ending = build_ending("done", tmp_path, answer, page)
    assert ending.answer == answer and ending.note.startswith(f"**{write_verdict(answer)}**") and ending.drawings == {}
    assert [path.name for path in ending.files] == ["study.yaml"]
    assert "MLflow gets neither note nor figures of the report: ValueError" in caplog.text
