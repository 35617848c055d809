"""Whatever the output's encoding, every command prints: signs that it lacks are written in others."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from small_study import write_task
from written_study import written_study

from auxtune.orchestrator.cli import main, write_any_sign

ENCODINGS = ("latin-1", "ascii", "ascii:strict", "cp1252", "utf-8")
STUDY = """\
study: signs
primary: moods
tasks:
  moods: {path: tasks/moods}
  noises: {path: tasks/noises}
model: {name: tiny, max_length: 16}
selector: random_subset
confirm: {seeds: 1, controls: [single_task]}
budget: {trials: 8}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study, and the folder of another, in a place of whose name no narrow encoding has all letters."""
    home = tmp_path_factory.mktemp("signs") / "größe 日本"
    for name, seed in (("moods", 2), ("noises", 5)):
        write_task(home / "tasks" / name, seed)
    (home / "study.yaml").write_text(STUDY, encoding="utf-8")
    written_study(home / "studies" / "small", "done")
    return home


def print_to(encoding: str, *arguments: str) -> str:
    """What a command prints to an output of that encoding, in this process."""
    written = io.BytesIO()
    name, _, errors = encoding.partition(":")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding=name, errors=errors or "strict"))
        patch.setenv("COLUMNS", "100")
        main.main(list(arguments), standalone_mode=False)
        sys.stdout.flush()
        return written.getvalue().decode(name)


def print_in_process(home: Path, encoding: str, *arguments: str) -> str:
    """The same in a process of its own, whose output is of that encoding from its start."""
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "COLUMNS": "100"}
    command = [sys.executable, "-m", "auxtune.orchestrator", *arguments]
    run = subprocess.run(command, cwd=home, env=environment, capture_output=True, check=False, timeout=300)
    assert run.returncode == 0, run.stderr.decode("utf-8", "replace")
    return run.stdout.decode(encoding.partition(":")[0])


@pytest.mark.parametrize("encoding", ENCODINGS)
@pytest.mark.parametrize(
    "arguments",
    [("validate", "study.yaml"), ("selectors",), ("status", "studies/small"), ("list", "studies"), ("--help",)],
)
def test_commands_print_in_any_encoding(
    home: Path, monkeypatch: pytest.MonkeyPatch, encoding: str, arguments: tuple[str, ...]
) -> None:
    monkeypatch.chdir(home)
    assert len(print_to(encoding, *arguments)) > 100


@pytest.mark.parametrize("encoding", ["latin-1", "ascii:strict"])
def test_a_process_prints_in_the_encoding_of_its_output(home: Path, encoding: str) -> None:
    assert len(print_in_process(home, encoding, "status", "studies/small")) > 100


def test_signs_become_what_one_would_type_for_them(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(home)
    assert "lift ≥:" in print_to("utf-8", "validate", "study.yaml")
    assert "lift >=:" in print_to("latin-1", "validate", "study.yaml")
    assert "lift >=:" in print_to("ascii", "validate", "study.yaml")


def test_letters_become_what_they_can_be_had_from_again(home: Path) -> None:
    listing = ("list", str(home / "studies"), "--json")
    assert "größe 日本" in print_to("utf-8", *listing)
    assert "größe \\u65e5\\u672c" in print_to("latin-1", *listing)
    assert "gr\\u00f6\\u00dfe \\u65e5" in print_to("ascii", *listing)


@pytest.mark.parametrize("encoding", ENCODINGS)
def test_json_says_the_same_in_any_encoding(home: Path, encoding: str) -> None:
    [content] = json.loads(print_to(encoding, "list", str(home / "studies"), "--json"))
    assert content["folder"] == str(home / "studies" / "small")


def test_a_sign_is_written_by_what_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    written = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(written, encoding="ascii"))
    write_any_sign(["status"])
    print("┏━┓ ┃ 0.1 – 0.2 … ≥ × ± █ é 😀 \udc80", end="", flush=True)
    assert written.getvalue() == rb"+-+ | 0.1 - 0.2 ... >= x +/- # \u00e9 \ud83d\ude00 \udc80"
    written.seek(0)
    write_any_sign(["show", "--json"])
    print(json.dumps("a–b 😀", ensure_ascii=False), end="", flush=True)
    assert json.loads(written.getvalue()[: written.tell()]) == "a–b 😀"
