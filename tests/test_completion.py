"""Completion in a shell: what the installed command answers to its protocol, and that bash really asks it."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from auxtune.orchestrator import cli
from auxtune.orchestrator.commands.completion import SHELLS
from auxtune.selectors.registry import names

AUXTUNE = Path(sys.executable).with_name("auxtune")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A folder with two studies, of which one has begun three trials, and a folder that is none."""
    for study in ("quick", "quiet"):
        (tmp_path / "studies" / study / "ledger").mkdir(parents=True)
    (tmp_path / "studies" / "notes").mkdir()
    for trial in ("0000", "0001", "0012"):
        (tmp_path / "studies" / "quick" / "trials" / trial).mkdir(parents=True)
    return tmp_path


def completed(words: list[str], place: Path) -> list[str]:
    """What the command says to bash of the last of ``words``, as bash is told by the script."""
    environment = {
        **os.environ,
        "COMP_WORDS": " ".join(words),
        "COMP_CWORD": str(len(words) - 1),
        "_AUXTUNE_COMPLETE": "bash_complete",
    }
    run = subprocess.run([AUXTUNE], cwd=place, env=environment, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0 and not run.stderr, run.stderr
    return run.stdout.split()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("auxtune st", ["plain,status", "plain,stop"]),
        ("auxtune status --w", ["plain,--watch"]),
        ("auxtune show ", ["plain,studies/quick", "plain,studies/quiet"]),
        ("auxtune ui ", ["plain,studies/quick", "plain,studies/quiet"]),
        ("auxtune show studies/quic", ["plain,studies/quick"]),
        ("auxtune show studies/no", ["dir,studies/no"]),
        ("auxtune show studies/quick 1", ["plain,1", "plain,12"]),
        ("auxtune show studies/quiet ", []),
        ("auxtune examples cp quick", ["plain,quickstart.yaml"]),
        ("auxtune simulate builtin --selector gradts_t", ["plain,gradts_threshold", "plain,gradts_trial"]),
        ("auxtune completion ", [f"plain,{shell}" for shell in SHELLS]),
    ],
)
def test_what_can_follow_is_offered(line: str, expected: list[str], place: Path) -> None:
    assert completed(line.split(" "), place) == expected


def test_a_store_is_not_asked(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")  # where nobody listens
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    assert completed(["auxtune", "show", "s3://bucket/studies/quick", ""], place) == []


def test_what_cannot_be_read_is_passed_over(place: Path) -> None:
    long = "x" * 300  # no file system knows such a name, or says that it does not
    assert completed(["auxtune", "show", f"{long}/"], place) == [f"dir,{long}/"]
    assert completed(["auxtune", "show", long, ""], place) == []
    (place / "studies" / "loop").symlink_to("loop")
    assert completed(["auxtune", "show", "studies/quick"], place) == ["plain,studies/quick"]


def test_all_selectors_are_offered(place: Path) -> None:
    offered = completed(["auxtune", "simulate", "builtin", "--selector", ""], place)
    assert offered == [f"plain,{name}" for name in names()]


@pytest.mark.parametrize("shell", SHELLS)
def test_there_is_a_script_for_each_shell(shell: str) -> None:
    result = CliRunner().invoke(cli.main, ["completion", shell])
    assert result.exit_code == 0 and f"_AUXTUNE_COMPLETE={shell}_complete" in result.stdout


def test_another_shell_is_refused_with_those_there_are() -> None:
    result = CliRunner().invoke(cli.main, ["completion", "csh"])
    assert result.exit_code == 2 and all(shell in result.stderr for shell in SHELLS)


@pytest.mark.skipif(shutil.which("bash") is None, reason="needs bash")
def test_bash_completes_with_the_script(place: Path) -> None:
    script = """
        eval "$(auxtune completion bash)"
        COMP_WORDS=(auxtune show studies/qui) COMP_CWORD=2 COMP_LINE="auxtune show studies/qui"
        $(complete -p auxtune | sed 's/.*-F \\([^ ]*\\).*/\\1/') auxtune
        printf '%s\\n' "${COMPREPLY[@]}"
    """
    path = f"{AUXTUNE.parent}{os.pathsep}{os.environ['PATH']}"
    run = subprocess.run(
        ["bash", "--norc", "-c", script],
        cwd=place,
        env={**os.environ, "PATH": path},
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert run.stdout.splitlines() == ["studies/quick", "studies/quiet"], run.stderr
