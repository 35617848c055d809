"""``auxtune predict``: what an exported model says of rows."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import click

if TYPE_CHECKING:
    from auxtune.trials.model_folder import SavedTask

_LIKE_FILE = {".csv": "csv", ".tsv": "csv", ".parquet": "csv", ".jsonl": "jsonl"}
_FLUSH = 1000  # rows printed before the output is flushed to its reader


@click.command("predict", epilog="Example: auxtune predict models/mood --task mood rows.csv --out said.csv")
@click.argument("model", type=click.Path(path_type=Path))
@click.argument("file", type=click.Path(path_type=Path, allow_dash=True))
@click.option("--task", metavar="T", help="The task to answer; may be left out where the model has one.")
@click.option("--text", metavar="A[,B]", help="The columns of the input, if they are not called as in training.")
@click.option("--out", type=click.Path(path_type=Path), help="Write to this file, whole or not at all.")
@click.option("--format", "shape", type=click.Choice(["csv", "jsonl"]), help="By default as --out, or else FILE, ends.")
@click.option("--probabilities", is_flag=True, help="Also say the probability of each label.")
@click.option(
    "--batch-size", type=click.IntRange(min=1), default=1000, show_default=True, metavar="N", help="Rows at a time."
)
@click.option("--device", type=click.Choice(["auto", "cpu"]), default="auto", help="auto, the default: a GPU if any.")
@click.option("--trust-remote-code", is_flag=True, help="Run Python code that the encoder brings along.")
def command(
    model: Path,
    file: Path,
    task: str | None,
    text: str | None,
    out: Path | None,
    shape: str | None,
    probabilities: bool,
    batch_size: int,
    device: str,
    trust_remote_code: bool,
) -> None:
    """Predict the rows of FILE with the model in the folder MODEL, which `auxtune export` wrote.

    FILE ends in .csv, .tsv, .jsonl or .parquet, or is - for JSON lines on standard input. The columns read are those
    that the task was trained on. There is a line for each row, in their order: a label, a number, the labels of a
    multi-label task, or the tag of each word. Rows are read and answered --batch-size at a time, and what is wrong with
    one is told by file, line and column.
    """
    from auxtune.orchestrator.errors import AuxtuneError
    from auxtune.trials.data.rows import stream_inputs
    from auxtune.trials.errors import DataError
    from auxtune.trials.loaded_model import load_model
    from auxtune.trials.model_folder import ModelFolderError

    try:
        loaded = load_model(model, "cpu" if device == "cpu" else "auto", trust_remote_code)
        name = _choose_task(list(loaded.tasks), task)
        known = loaded.known(name)
        columns = _choose_columns(known, text)
        if probabilities and known.kind == "regression":
            raise AuxtuneError(f"task {name}: a regression has no probabilities; leave --probabilities out")
        source: Path | BinaryIO = sys.stdin.buffer if str(file) == "-" else file
        said = loaded.predict(name, stream_inputs(source, columns, known.kind == "token", _print_notice), batch_size)
        chosen = shape or _LIKE_FILE.get((out or file).suffix.lower(), "jsonl")
        if chosen == "csv":
            from auxtune.orchestrator.views.predictions import format_csv_lines

            lines = format_csv_lines(known, said, probabilities)
        else:
            from auxtune.orchestrator.views.predictions import format_json_lines

            lines = format_json_lines(said, probabilities)
        if out is None:
            _print_lines(lines)
        else:
            _write_lines(out, lines)
    except (ModelFolderError, DataError) as error:
        raise AuxtuneError(str(error)) from error


def _choose_task(tasks: list[str], asked: str | None) -> str:
    from auxtune.orchestrator.errors import AuxtuneError

    if asked is not None:
        return asked
    if len(tasks) > 1:
        raise AuxtuneError(f"the model has heads for {', '.join(tasks)}; say which as --task")
    return tasks[0]


def _choose_columns(task: SavedTask, text: str | None) -> tuple[str, ...]:
    """The columns to read: as many as in training."""
    from auxtune.orchestrator.errors import AuxtuneError

    if text is None:
        return task.text
    columns = tuple(column.strip() for column in text.split(","))
    if len(columns) != len(task.text):
        names = " and ".join(task.text)
        raise AuxtuneError(f"--text: expected as many columns as in training ({names}), found {len(columns)}: {text}")
    return columns


def _print_notice(note: str) -> None:
    """On the error stream: the other one holds predictions."""
    click.echo(f"note: {note}", err=True)


def _print_lines(lines: Iterator[str]) -> None:
    for number, line in enumerate(lines, start=1):
        sys.stdout.write(line)
        if number % _FLUSH == 0:
            sys.stdout.flush()


def _write_lines(out: Path, lines: Iterator[str]) -> None:
    from auxtune.orchestrator.errors import AuxtuneError
    from auxtune.trials.durable import write_durably

    def write(file: BinaryIO) -> None:
        file.writelines(line.encode() for line in lines)

    try:
        write_durably(out, write)
    except OSError as error:
        raise AuxtuneError(f"{out}: cannot be written: {error.strerror or error}") from error
    finally:
        out.with_name(f".{out.name}").unlink(missing_ok=True)
