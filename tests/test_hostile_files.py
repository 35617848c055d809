"""Files that no one means: refused clearly and in seconds, or read."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner
from small_study import STUDY, write_task

from auxtune.orchestrator.cli import main
from auxtune.orchestrator.errors import AuxtuneError, LedgerDamaged, StudyFileError
from auxtune.orchestrator.record.ledger import read_events
from auxtune.orchestrator.study_file.paths import list_task_sources, locate_study, resolve_model
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.orchestrator.tables.reading import read_recorded
from auxtune.orchestrator.tables.runs import read_runs
from auxtune.trials.data.rows import stream_inputs
from auxtune.trials.data.sources import TaskSource, read_tables
from auxtune.trials.encoder import EncoderError, load_base
from auxtune.trials.errors import DataError
from auxtune.trials.model_folder import ModelFolderError, read_model
from auxtune.trials.recipe import ModelOptions

DEEP, LONG = "[" * 200_000, '{"format": ' + "9" * 5000 + "}"
HOSTILE_JSON = pytest.mark.parametrize(
    ("text", "reason"), [(DEEP, "nested too deeply"), (LONG, "thousands of digits")], ids=["deep", "long"]
)


@pytest.fixture(autouse=True)
def in_seconds() -> Iterator[None]:
    """No input takes more than five seconds."""
    began = time.monotonic()
    yield
    assert time.monotonic() - began < 5.0


@HOSTILE_JSON
def test_json_of_a_task(text: str, reason: str, tmp_path: Path) -> None:
    rows = tmp_path / "rows.jsonl"
    rows.write_text('{"text": "a"}\n' + text + "\n")
    with pytest.raises(DataError, match=rf"rows\.jsonl, line 2: cannot be read: .*{reason}"):
        list(stream_inputs(rows, ["text"], words=False))
    write_task(tmp_path / "task", 2, rows=10)
    (tmp_path / "task" / "meta.json").write_text(text)
    with pytest.raises(DataError, match=rf"meta\.json: not JSON: .*{reason}"):
        read_tables(TaskSource(name="task", path=tmp_path / "task"))


@HOSTILE_JSON
def test_json_of_a_table_a_model_and_a_ledger(text: str, reason: str, tmp_path: Path) -> None:
    for name in ("table.json", "auxtune.json", "00000001.json"):
        (tmp_path / name).write_text(text)
    with pytest.raises(AuxtuneError, match=rf"table\.json: expected JSON, found: .*{reason}"):
        read_recorded(tmp_path)
    with pytest.raises(ModelFolderError, match=rf"auxtune\.json: not what .*{reason}"):
        read_model(tmp_path)
    with pytest.raises(LedgerDamaged, match=rf"00000001\.json: segment 1 is damaged .*{reason}"):
        read_events(tmp_path)


@pytest.mark.parametrize("content", ["[1]", '{"format": 1, "tasks": [], "max_length": 5}', "null", '"text"'])
def test_a_model_that_is_described_by_something_else(content: str, tmp_path: Path) -> None:
    (tmp_path / "auxtune.json").write_text(content)
    with pytest.raises(ModelFolderError, match="export the model again"):
        read_model(tmp_path)


@pytest.mark.parametrize("length", [10**9, 0, "long", None])
def test_a_model_with_an_impossible_length(length: object, tmp_path: Path) -> None:
    (tmp_path / "auxtune.json").write_text(json.dumps({"format": 1, "tasks": {}, "max_length": length}))
    with pytest.raises(ModelFolderError, match="max_length: expected a whole number"):
        read_model(tmp_path)


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ('"a\\0b"', "embedded null"),
        ("loop", "Symlink loop"),
        ("loop/inside", "Symlink loop"),
        ("a" * 300, "255 bytes"),
        ("a/" * 2500, "4096"),
        ('"~no-such-user/x"', "home directory"),
    ],
)
@pytest.mark.parametrize("key", ["task", "model", "storage"])
def test_text_that_is_no_path(
    key: str, path: str, reason: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    text = {
        "task": STUDY.replace("tasks/echoes", path),
        "model": STUDY.replace("name: tiny", f"name: {path}"),
        "storage": f"{STUDY}storage: {path}\n",
    }[key]
    study = parse_study(text, "study.yaml", tmp_path)
    read = {"task": list_task_sources, "model": resolve_model, "storage": locate_study}[key]
    with pytest.raises(AuxtuneError, match=f"cannot be a path here: .*{reason}.*; correct it in the study file"):
        read(study)


def test_folders_on_the_command_line_that_are_none(tmp_path: Path) -> None:
    loop = tmp_path / "loop"
    loop.symlink_to(loop)
    for command in (
        ["status", str(loop)],
        ["list", str(loop)],
        ["show", "a\0b", "0"],
        ["run", "loop"],
    ):
        result = CliRunner().invoke(main, command)
        assert result.exit_code == 2 and isinstance(result.exception, SystemExit), (command, result.exception)


def test_aliases_that_multiply(tmp_path: Path) -> None:
    lines = ["a: &a [x, x, x, x, x, x, x, x, x]"]
    names = zip("abcdefgh", "bcdefghi", strict=True)
    lines += [f"{name}: &{name} [{', '.join([f'*{inner}'] * 9)}]" for inner, name in names]
    with pytest.raises(StudyFileError, match="more than 100,000 values"):
        parse_study("\n".join(lines), "study.yaml", tmp_path)


def test_numbers_of_a_study_without_end(tmp_path: Path) -> None:
    for key in ("seed: 3", "trials: 8"):
        name, _, _ = key.partition(" ")
        with pytest.raises(StudyFileError, match="expected a whole number"):
            parse_study(STUDY.replace(key, f"{name} {'9' * 5000}"), "study.yaml", tmp_path)


def test_long_cells_are_read(tmp_path: Path) -> None:
    (tmp_path / "runs.csv").write_text(f"w:a,w:b,y:s,note\n0.5,0.5,1,{'x' * 10_000_000}\n0.2,0.8,2,b\n")
    assert read_runs(tmp_path / "runs.csv").values[:, 0].tolist() == [1.0, 2.0]
    (tmp_path / "rows.csv").write_text(f"text,label\n{'x' * 10_000_000},1\n")
    [text] = stream_inputs(tmp_path / "rows.csv", ["text"], words=False)
    assert len(text) == 10_000_000


@pytest.mark.parametrize("key", ["num_hidden_layers", "hidden_size", "vocab_size"])
def test_an_encoder_without_end(key: str, tmp_path: Path) -> None:
    config = {"model_type": "bert", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2, key: 10**9}
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(EncoderError, match=f"its configuration has {key} 1000000000, expected at most"):
        load_base(ModelOptions(name=str(tmp_path)))
