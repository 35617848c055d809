"""The command line: what it prints where, and how it ends."""

from __future__ import annotations

import json
import re
import shlex
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import click
import pytest
from click.testing import CliRunner, Result

from auxtune.orchestrator import cli, errors
from auxtune.orchestrator.study_file.reading import read_study
from auxtune.selectors.registry import names

EXPLAINED = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, Exception)]


def auxtune(*arguments: str) -> Result:
    return CliRunner().invoke(cli.main, arguments)


def commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    """The path of every command, groups included."""
    yield path
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            inner = command.get_command(context, name)
            assert inner is not None
            yield from commands(inner, (*path, name))


@pytest.mark.parametrize("path", commands(cli.main), ids=" ".join)
def test_every_help_has_an_example_that_would_be_accepted(path: tuple[str, ...]) -> None:
    result = auxtune(*path, "--help")
    shown = result.output.partition("Example: ")[2].split()
    assert result.exit_code == 0 and shown[: 1 + len(path)] == ["auxtune", *path]
    for line in " ".join(shown).split(" && "):
        words = shlex.split(line.partition(" >> ")[0])
        assert words[0] == "auxtune" and accepted(words[1:])


def accepted(words: list[str]) -> bool:
    """Whether the command line understands ``words``: commands, options, and as many arguments as it takes.

    Nothing is run. Raises what a user would be told.
    """
    command: click.Command | None = cli.main
    context: click.Context | None = None
    name: str | None = "auxtune"
    while isinstance(command, click.Group):
        context = command.make_context(name, words, context)
        name, command, words = command.resolve_command(context, [*context._protected_args, *context.args])
    assert command is not None
    command.make_context(name, words, context)
    return True


@pytest.mark.parametrize("words", ["rum study.yaml", "run", "run study.yaml --sett a=1", "examples mv a", "show x y"])
def test_an_example_that_would_be_refused_is_noticed(words: str) -> None:
    with pytest.raises(click.UsageError):
        accepted(words.split())


def test_the_version_is_the_installed_one() -> None:
    assert auxtune("--version").output == f"auxtune {version('auxtune')}\n"


def test_unknown_commands_end_with_2() -> None:
    result = auxtune("rum")
    assert result.exit_code == 2 and "rum" in result.stderr and not result.stdout


@pytest.mark.parametrize("kind", EXPLAINED)
def test_errors_end_with_the_exit_code_their_tree_shows(
    kind: type[errors.AuxtuneError], monkeypatch: pytest.MonkeyPatch
) -> None:
    error = kind("study.yaml", [errors.Mistake(3, "key", "why")]) if kind is errors.StudyFileError else kind("why")
    result = auxtune_raising(error, monkeypatch)
    shown = dict(re.findall(r"(\w+) +(\d+)   ", errors.__doc__ or ""))
    assert result.exit_code == int(shown[kind.__name__])
    assert result.stderr == f"{error}\n" and not result.stdout


def test_an_interrupt_ends_with_130(monkeypatch: pytest.MonkeyPatch) -> None:
    assert auxtune_raising(KeyboardInterrupt(), monkeypatch).exit_code == 130


def test_no_line_of_the_help_is_cut_at_80_columns() -> None:
    shown = CliRunner().invoke(cli.main, ["--help"], terminal_width=80).stdout
    lines = dict(re.findall(r"^  (\w+) {2,}(\S.*)$", shown.partition("Commands:")[2], re.MULTILINE))
    assert lines == {name: line for name, (_, line) in cli.COMMANDS.items()}


def auxtune_raising(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> Result:
    """The end of a command that raises ``error``."""

    @click.command("broken")
    def command() -> None:
        raise error

    monkeypatch.setitem(cli.COMMANDS, "broken", ("broken", "Breaks."))
    monkeypatch.setattr(cli, "import_module", lambda name: SimpleNamespace(command=command))
    return auxtune("broken")


@pytest.fixture
def study(tmp_path: Path) -> Path:
    """A study of two csv tasks with 1,000 rows each."""
    for task in ("a", "b"):
        rows = "".join(f"{task} is number {i},{i % 2}\n" for i in range(1000))
        (tmp_path / f"{task}.csv").write_text(f"text,label\n{rows}")
    (tmp_path / "study.yaml").write_text("""\
study: small
primary: a
tasks:
  a: {path: a.csv, text: [text], label: label}
  b: {path: b.csv, text: [text], label: label}
selector: random_subset
budget: {trials: 30}
""")
    return tmp_path / "study.yaml"


def test_validate_shows_rows_and_the_least_of_the_budget(study: Path) -> None:
    result = auxtune("validate", str(study))
    assert result.exit_code == 0 and not result.stderr
    # One file of 1,000 rows: 200 to report; then 200 each, but at most a quarter of 800 together.
    assert re.search(r"a +accuracy +600 +100 +100 +200 +0 +0\.063", result.stdout)
    assert "warning: a: only 200 test rows" in result.stdout
    assert re.search(r"at least \d+ \(20 to confirm, \d+ to search\); the budget allows 30", result.stdout)


def test_validate_gives_json(study: Path) -> None:
    content = json.loads(auxtune("validate", str(study), "--json").stdout)
    assert content["study"] == "small" and [task["name"] for task in content["tasks"]] == ["a", "b"]
    assert content["tasks"][0]["rows"] == {"train": 600, "probe": 100, "validation": 100, "test": 200}


def test_validate_refuses_a_budget_below_the_least(study: Path) -> None:
    result = auxtune("validate", str(study), "--set", "budget.trials=3")
    assert result.exit_code == 2 and "budget.trials: 3" in result.stderr and "confirm takes 20" in result.stderr


def test_validate_shows_all_mistakes_and_nothing_else(study: Path) -> None:
    result = auxtune("validate", str(study), "--set", "seed=x", "--set", "primary=c")
    assert result.exit_code == 2 and not result.stdout
    assert [line.split(": ")[0] for line in result.stderr.splitlines()] == ["--set seed=x", "--set primary=c"]


def test_selectors_are_listed() -> None:
    assert all(name in auxtune("selectors").stdout for name in names())
    listed = json.loads(auxtune("selectors", "--json").stdout)
    assert [method["name"] for method in listed] == list(names())


def test_examples_are_listed_with_their_question() -> None:
    lines = auxtune("examples", "ls").stdout.splitlines()
    assert any(line.startswith("quickstart.yaml ") for line in lines)
    assert all(re.fullmatch(r"\S+\.yaml +\S.+", line) for line in lines)


def test_an_example_is_copied_once(tmp_path: Path) -> None:
    result = auxtune("examples", "cp", "quickstart.yaml", str(tmp_path))
    copy = tmp_path / "quickstart.yaml"
    assert result.exit_code == 0 and result.stdout == f"{copy}\n"
    copy.write_text("mine")
    again = auxtune("examples", "cp", "quickstart.yaml", str(tmp_path))
    assert again.exit_code == 2 and "exists" in again.stderr and copy.read_text() == "mine"


def test_an_example_brings_its_data_along(tmp_path: Path) -> None:
    result = auxtune("examples", "cp", "tickets.yaml", str(tmp_path / "mine.yaml"))
    assert result.stdout.splitlines() == [str(tmp_path / "mine.yaml"), str(tmp_path / "tickets")]
    tasks = read_study(tmp_path / "mine.yaml").options.tasks.values()
    assert tasks and all(task.path and (tmp_path / task.path).is_file() for task in tasks)


def test_data_that_is_there_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "tickets").mkdir()
    (tmp_path / "tickets" / "urgent.csv").write_text("mine")
    assert auxtune("examples", "cp", "tickets.yaml", str(tmp_path)).exit_code == 0
    assert (tmp_path / "tickets" / "urgent.csv").read_text() == "mine"
    assert (tmp_path / "tickets" / "mood.csv").exists()


def test_an_unknown_example_is_answered_with_those_there_are(tmp_path: Path) -> None:
    result = auxtune("examples", "cp", "quickstrat.yaml", str(tmp_path))
    assert result.exit_code == 2 and "quickstart.yaml" in result.stderr and not list(tmp_path.iterdir())
