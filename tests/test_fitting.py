"""What commands print fits a terminal of 80 columns, and no task's name is cut in the middle."""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from recorded_tables import groups_rows, write_table
from rich.cells import cell_len
from rich.console import Console, Group
from simulated_study import SimulatedStudy, simulated
from terminal import CommandTerminal

from auxtune.orchestrator.answer.answer import read_answer
from auxtune.orchestrator.cli import main
from auxtune.orchestrator.planning.budget import price_of
from auxtune.orchestrator.record.accounts import read_accounts
from auxtune.orchestrator.session.session import Result
from auxtune.orchestrator.views.summary import list_summary_blocks
from auxtune.orchestrator.views.terminal import FittingTable, fit_line, render_terminal

# 38 letters each, alike in their beginnings and ends, as names of one collection are.
MIDDLES = ("helpful", "stars", "urgent", "topic", "team")
NAMES = tuple(f"customer_reviews_{middle:-<8}_in_english_a" for middle in MIDDLES)
TASKS = yaml.safe_dump({"tasks": {name: {"path": name} for name in NAMES}}, default_flow_style=True, width=10_000)
LONG = f"""
study: x
primary: {NAMES[0]}
{TASKS.strip()[1:-1]}
selector: SELECTOR
confirm: {{seeds: 4, leave_one_out: true}}
budget: {{trials: 80}}
prices: {{cpu_hour: 0.5}}
seed: 5
"""
SELECTOR = "{name: random_subset, trials: 4}"


def printed(home: Path, *arguments: object) -> str:
    """What a command prints to a terminal of 80 columns."""
    terminal = CommandTerminal(home, *map(str, arguments), columns=80)
    assert terminal.ended() == 0, terminal.text
    return re.sub(r"\x1b\[[0-9;]*m", "", terminal.text).replace("\r\n", "\n")


def check_fit(shown: str, names: Sequence[str] = NAMES) -> None:
    """No line is beyond 80 columns, and each name stands somewhere in one piece and nowhere in two."""
    assert [line for line in shown.splitlines() if cell_len(line.rstrip()) > 80] == []
    assert [name for name in names if name not in shown] == []
    rest = shown
    for name in names:
        rest = rest.replace(name, "")
    assert "customer_" not in rest and "_english" not in rest and "…_" not in rest


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> SimulatedStudy:
    """A finished study of five tasks with long names."""
    home = tmp_path_factory.mktemp("long")
    study = simulated(home, SELECTOR, LONG, names=NAMES)
    study.finish(study.session())
    return study


def test_status_wraps_between_names(study: SimulatedStudy) -> None:
    shown = printed(study.folder.parent, "status", "x")
    check_fit(shown, [name for name in NAMES if name in shown])
    assert NAMES[0] in shown and "selected: " in shown


def test_what_no_terminal_reads_is_not_wrapped(study: SimulatedStudy) -> None:
    done = CliRunner().invoke(main, ["status", str(study.folder)], env={"COLUMNS": "80"})
    lines = done.stdout.splitlines()
    [selected] = [line for line in lines if line.startswith("selected: ")]
    assert cell_len(selected) > 80


def test_list_gives_each_study_lines_of_its_own_where_its_row_is_too_long(study: SimulatedStudy) -> None:
    shown = printed(study.folder.parent, "list", ".")
    check_fit(shown, [name for name in NAMES if name in shown])
    assert "study x\n" in shown and "  state: done\n" in shown and NAMES[0] in shown


def test_show_wraps_between_names(study: SimulatedStudy) -> None:
    accounts = read_accounts(study.folder)
    [widest, *_] = sorted(accounts.trials.values(), key=lambda trial: -len(trial.proposal.tasks))
    shown = printed(study.folder.parent, "show", "x", widest.id)
    names = widest.proposal.tasks
    assert len(names) > 2
    # Files are named in full, wherever the study lies.
    check_fit("\n".join(line for line in shown.splitlines() if str(study.folder) not in line), names)


def test_the_summary_of_a_run_keeps_names_whole(study: SimulatedStudy) -> None:
    answer = read_answer(study.folder)
    assert answer is not None
    result = Result(study.folder, answer, read_accounts(study.folder), None)
    file = io.StringIO()
    shown = render_terminal(list_summary_blocks(result, study.study.options.budget, "sqlite:///x"))
    Console(width=80, file=file).print(shown, overflow="ignore", crop=False)
    lines = [line for line in file.getvalue().splitlines() if str(study.folder) not in line]
    check_fit("\n".join(lines), [name for name in NAMES if name in file.getvalue()])
    assert price_of(study.study.options) is not None and NAMES[0] in file.getvalue()


def test_compare_keeps_names_whole(tmp_path: Path) -> None:
    folders = []
    for selector in ("all_tasks", SELECTOR):
        name = f"compared_{len(folders)}"
        text = LONG.replace("study: x", f"study: {name}").replace("SELECTOR", selector)
        study = SimulatedStudy(tmp_path / name, text=text, names=NAMES)
        folders.append(study.finish(study.session()))
    check_fit(printed(tmp_path, "compare", *folders))


def test_plan_keeps_names_whole(tmp_path: Path) -> None:
    builtin = ("mood", "tint", "stars", "river", "pace")
    tasks = {name: {"builtin": task} for name, task in zip(NAMES, builtin, strict=True)}
    text = LONG.replace(TASKS.strip()[1:-1], yaml.safe_dump({"tasks": tasks})).replace("SELECTOR", SELECTOR)
    (tmp_path / "study.yaml").write_text(text + "resources: {gpus: 0}\n")
    check_fit(printed(tmp_path, "plan", "study.yaml"))


def test_simulate_keeps_names_whole(tmp_path: Path) -> None:
    rows = groups_rows(NAMES[:3])
    folder = write_table(tmp_path / "long", "groups", NAMES[:3], rows)
    targets = [part for name in NAMES[:3] for part in ("--target", name)]
    shown = printed(tmp_path, "simulate", folder, "--selector", "exhaustive", "--selector", "random_subset", *targets)
    check_fit(shown, NAMES[:3])


@pytest.mark.parametrize("width", [30, 50, 80, 120, 300])
def test_a_table_breaks_no_word_whatever_the_width(width: int) -> None:
    table = FittingTable("task", "trained with", "score", title="Tasks", caption="all of them")
    table.add_row(NAMES[1], " + ".join(NAMES), "0.5000")
    table.add_row("cr", "alone", "0.7500")
    file = io.StringIO()
    Console(width=width, file=file).print(Group(table), overflow="ignore", crop=False)
    shown = file.getvalue()
    longest = max(map(cell_len, NAMES))
    assert all(cell_len(line.rstrip()) <= max(width, longest + 10) for line in shown.splitlines())
    for word in (*NAMES, "cr", "alone", "0.5000", "0.7500", "Tasks", "all of them", "score"):
        assert word in shown


def test_a_line_is_wrapped_between_words_with_what_follows_indented() -> None:
    line = f"  running: {' + '.join(NAMES)}"
    first, *others = fit_line(line, 80).splitlines()
    assert first == f"  running: {NAMES[0]} +" and all(other.startswith("      ") for other in others)
    assert " ".join(part.strip() for part in (first, *others)) == line.strip()
    assert fit_line("short", 80) == "short" and fit_line("x" * 100, 80) == "x" * 100
