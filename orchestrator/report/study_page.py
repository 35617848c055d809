"""The page of one study: its sections in the order of the questions that people ask."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.planning.translate import count_whole_steps
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Event
from auxtune.orchestrator.report.blocks import Page, Section
from auxtune.orchestrator.report.material import Material, finish_material
from auxtune.orchestrator.report.page import render_html
from auxtune.orchestrator.report.sections.answer import (
    build_answer_section,
    build_contribution_section,
    build_lift_section,
    build_selection_section,
)
from auxtune.orchestrator.report.sections.record import (
    build_cost_section,
    build_failures_section,
    build_reproduction_section,
)
from auxtune.orchestrator.report.sections.search import build_search_section
from auxtune.orchestrator.report.sections.trials import build_tasks_section, build_trials_section
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import store_of
from auxtune.orchestrator.study_file.reading import StudyFile

FILE = "report.html"

SECTIONS: tuple[Callable[[Material], Section], ...] = (
    build_answer_section,
    build_selection_section,
    build_lift_section,
    build_contribution_section,
    build_trials_section,
    build_search_section,
    build_tasks_section,
    build_failures_section,
    build_cost_section,
    build_reproduction_section,
)


def build_study_page(material: Material) -> Page:
    """Everything that is known of a study, as a page."""
    options, problem = material.options, material.problem
    groups = f"Which tasks share which of {problem.models} models?"
    question = groups if problem.primary is None else f"Which tasks help {problem.primary}?"
    about = (
        f"{question} {len(problem.tasks)} tasks, selector {options.selector.name}, encoder {options.model.name}, "
        f"{_describe_length(material)}; {material.state}."
    )
    version = material.accounts.sessions[-1].opened.versions.get("auxtune", "unknown")
    foot = (
        f"Written by auxtune from the ledger of {options.study}, whose last session ran version {version}. "
        "The numbers are those of selection.json; `auxtune report` writes this page again."
    )
    return Page(options.study, about, tuple(section(material) for section in SECTIONS), foot)


def _describe_length(material: Material) -> str:
    training = material.options.training
    if training.epochs is None:
        return f"{training.steps} steps a trial"
    return f"{training.epochs:g} epochs a trial, {count_whole_steps(training, material.problem)} steps of the primary"


def write_page(page: Page, to: StoredPath) -> None:
    """Write ``page`` as HTML, whole or not at all. Raises ``OSError``."""
    text = render_html(page)
    store_of(to).replace(to, lambda file: file.write(text.encode()))


def write_report(
    folder: StoredPath,
    study: StudyFile,
    events: Sequence[Event],
    answer: Answer,
    accounts: Accounts | None = None,
) -> tuple[Page | None, str | None]:
    """Write ``report.html`` of a study that has just come to its answer into its ``folder``.

    ``accounts`` are of all ``events``, which are folded where they are not given.

    Return the page, if it could be drawn, and why it could not be drawn or written. The answer is there already and
    must not be lost over its picture, whatever cannot be drawn.
    """
    page = None
    try:
        page = build_study_page(finish_material(folder, study, events, answer, accounts))
        write_page(page, folder / FILE)
    except Exception as error:
        with suppress(OSError):  # an earlier page would tell of another answer
            (folder / FILE).unlink(missing_ok=True)
        return page, f"{type(error).__name__}: {error}".splitlines()[0]
    return page, None
