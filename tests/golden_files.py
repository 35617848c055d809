"""The fixtures of stored formats in ``golden/``: where they are, how today's code reads them, how two readings differ.

``golden/make.py`` writes the ``readings`` into ``golden/expected``; ``test_golden.py`` compares them with those files.
"""

from __future__ import annotations

import difflib
import io
import json
import math
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from pydantic import TypeAdapter
from rich.console import Console

from auxtune.orchestrator import cli
from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.build import build_answer
from auxtune.orchestrator.answer.cost import sum_cost
from auxtune.orchestrator.planning.budget import price_of
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Told
from auxtune.orchestrator.report.markdown import write_note
from auxtune.orchestrator.report.material import Material, read_material
from auxtune.orchestrator.report.page import render_html
from auxtune.orchestrator.report.study_page import build_study_page
from auxtune.orchestrator.session.session import Result
from auxtune.orchestrator.study import Study
from auxtune.orchestrator.study_file.paths import resolve_tracking_uri
from auxtune.orchestrator.views.status import describe_status
from auxtune.orchestrator.views.summary import list_summary_blocks
from auxtune.orchestrator.views.terminal import render_terminal
from auxtune.selectors.protocol import Selection

GOLDEN = Path(__file__).parent / "golden"
STORAGE = GOLDEN / "storage"
EXPECTED = GOLDEN / "expected"
MADE_IN = Path("/tmp/golden")  # the folder that every recorded path starts with
NEW = "not expected, found"  # the end of a difference that is a field added since
TABLE = GOLDEN / "tables" / "builtin"  # as it was recorded of earlier built-in tasks
SIMULATE = ("simulate", str(TABLE), "--selector", "hoa", "--selector", "random_groups", "--seeds", "2", "--json")

_STYLE = re.compile("(?<=<style>).*?(?=</style>)", re.DOTALL)  # a page's style is no format, and the same on each
_selection = TypeAdapter(Selection)


def study_names() -> list[str]:
    """The studies that have fixtures."""
    return sorted(path.name for path in STORAGE.iterdir() if not path.name.startswith("."))


def read_study(name: str) -> Material:
    """The ledger of a fixture and everything derived from it, read in place."""
    folder = STORAGE / name
    return read_material(folder, Study.from_folder(folder).file)


def readings(name: str) -> dict[str, str]:
    """File name -> what is read from a fixture and shown, as text."""
    material = read_study(name)
    texts = {"folded.json": to_text(fold_study(material)), "status.json": to_text(read_status(material))}
    texts["report.html"] = _STYLE.sub("", render_html(build_study_page(material)))
    if material.answer is not None:
        texts["note.md"] = write_note(build_study_page(material), material.answer, material.folder) + "\n"
        texts["summary.txt"] = print_summary(material, material.answer)
    return {file: as_made(text) for file, text in texts.items()}


def fold_study(material: Material) -> dict[str, Any]:
    """The essentials of a folded ledger: the selector's answer, and the accounts of its trials."""
    accounts = material.accounts
    answers = accounts.selected is not None
    return {
        "after": material.fold.after,
        "reading": material.fold.reading,
        "select": _selection.dump_python(material.fold.select(), mode="json") if answers else None,
        "selected": _selection.dump_python(accounts.selected.selection, mode="json") if accounts.selected else None,
        "best": accounts.best.id if accounts.best else None,
        "sessions": [session.closed.reason if session.closed else None for session in accounts.sessions],
        "trials": count_trials(accounts),
        "trained": accounts.trained,
        "cost": asdict(sum_cost(accounts, price_of(material.options), None)),
    }


def count_trials(accounts: Accounts) -> dict[str, int]:
    """``<phase> <state>`` -> trials."""
    return dict(sorted(Counter(f"{trial.phase} {trial.status}" for trial in accounts.trials.values()).items()))


def read_status(material: Material) -> dict[str, Any]:
    """The output of ``auxtune status --json``."""
    return describe_status(material.folder, Accounts(material.events), material.options)


def rebuild_answer(material: Material) -> Answer:
    """The answer again, from the ledger's events and the confirm trials' predictions."""
    reports = [event.test for event in material.events if isinstance(event, Told)]
    metrics = {task: next(iter(values)) for report in reports for task, values in report.items()}
    price = price_of(material.options)
    study, folder, accounts = material.options.study, material.folder, material.accounts
    return build_answer(study, folder, accounts, material.confirmation, metrics, price)


def print_summary(material: Material, answer: Answer) -> str:
    """The output of ``auxtune run`` at its end, if it does not print to a terminal."""
    result = Result(material.folder, answer, material.accounts, tracking_trouble=None)
    text = io.StringIO()
    console = Console(file=text, width=100, force_terminal=False, no_color=True)
    blocks = list_summary_blocks(result, material.options.budget, resolve_tracking_uri(material.study))
    console.print(render_terminal(blocks), no_wrap=True, overflow="ignore", crop=False)
    return text.getvalue()


def simulate_table() -> str:
    """The rows that ``auxtune simulate --json`` prints of the recorded table that is kept here."""
    ran = CliRunner().invoke(cli.main, SIMULATE)
    assert ran.exit_code == 0, ran.output
    return ran.stdout


_IN_FULL = re.compile(r"-?\d+\.\d{9,}(?:e[-+]?\d+)?")  # a number as a page keeps it for sorting


def as_made(text: str) -> str:
    """The text with paths as in the folder where fixtures are made, since a checkout may be anywhere."""
    return text.replace(str(GOLDEN), str(MADE_IN))


def to_text(value: Any) -> str:
    """JSON values as text, one per line."""
    return json.dumps(value, indent=1, ensure_ascii=False) + "\n"


def differences_of(expected: Any, found: Any, place: str = "") -> Iterator[str]:
    """A line for each place in which JSON values differ; numbers may differ by rounding, as between processors."""
    if isinstance(expected, dict) and isinstance(found, dict):
        for key in [*expected, *(key for key in found if key not in expected)]:
            below = f"{place}.{key}" if place else str(key)
            if key not in found:
                yield f"{below}: expected {json.dumps(expected[key])}, missing"
            elif key not in expected:
                yield f"{below}: {NEW}"
            else:
                yield from differences_of(expected[key], found[key], below)
    elif isinstance(expected, list) and isinstance(found, list) and len(expected) == len(found):
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences_of(one, other, f"{place}[{number}]")
    elif not _is_same(expected, found):
        yield f"{place}: expected {json.dumps(expected)}, found {json.dumps(found)}"


def assert_same_json(expected: Any, found: Any, what: str) -> None:
    """Fail with a line for each difference."""
    lines = list(differences_of(expected, json.loads(json.dumps(found))))
    assert not lines, "\n".join([f"{what}: {len(lines)} differences", *lines[:40]])


def assert_same_text(expected: str, found: str, what: str) -> None:
    """Fail with a unified diff; numbers written in full may differ by rounding, as between processors."""
    numbers = zip(_IN_FULL.findall(expected), _IN_FULL.findall(found), strict=False)
    alike = all(_is_same(float(one), float(other)) for one, other in numbers)
    if not alike or _IN_FULL.sub("#", expected) != _IN_FULL.sub("#", found):
        lines = difflib.unified_diff(_lines(expected), _lines(found), "expected", "found", lineterm="", n=1)
        raise AssertionError("\n".join([f"{what} differs", *list(lines)[:80]]))


def _is_same(expected: Any, found: Any) -> bool:
    numbers = all(isinstance(value, (int, float)) and not isinstance(value, bool) for value in (expected, found))
    if numbers and isinstance(found, float):
        return math.isclose(expected, found, rel_tol=1e-9, abs_tol=1e-12)
    return type(expected) is type(found) and bool(expected == found)


def _lines(text: str) -> list[str]:
    """Lines of text, or of HTML with an element each, so that a difference can be read."""
    return text.replace("><", ">\n<").splitlines()
