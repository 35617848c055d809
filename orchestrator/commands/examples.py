"""``auxtune examples``: study and cluster files to start from.

An example's own data, where it has some, is in the folder of its name, which its study file names: ``tickets.yaml`` and
``tickets/``. They are copied together.
"""

from __future__ import annotations

import shutil
from importlib.resources import files
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from auxtune.orchestrator.errors import AuxtuneError


def read_examples() -> dict[str, str]:
    """Name of each example -> its text."""
    found = (file for file in files("auxtune.examples").iterdir() if file.name.endswith(".yaml"))
    return {file.name: file.read_text(encoding="utf-8") for file in sorted(found, key=lambda file: file.name)}


def read_question(text: str) -> str:
    """The first line of a file's header."""
    return text.splitlines()[0].lstrip("# ").strip()


def complete_examples(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of examples, each with its question."""
    found = read_examples().items()
    return [CompletionItem(name, help=read_question(text)) for name, text in found if name.startswith(incomplete)]


@click.group("examples", epilog="Example: auxtune examples cp quickstart.yaml")
def command() -> None:
    """Study and cluster files to start from."""


@command.command("ls", epilog="Example: auxtune examples ls")
def list_examples() -> None:
    """List the examples, each with its question."""
    studies = read_examples()
    width = max(map(len, studies), default=0)
    for name, text in studies.items():
        click.echo(f"{name:{width}}  {read_question(text)}")


@command.command("cp", epilog="Example: auxtune examples cp quickstart.yaml my-study.yaml")
@click.argument("name", shell_complete=complete_examples)
@click.argument("destination", default=".", type=click.Path(path_type=Path))
def copy_example(name: str, destination: Path) -> None:
    """Copy the example NAME, with its data, to DESTINATION; nothing is overwritten."""
    studies = read_examples()
    if name not in studies:
        raise click.BadParameter(f"expected one of {', '.join(studies)}, found {name}", param_hint="NAME")
    target = destination / name if destination.is_dir() else destination
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(studies[name])
    except OSError as error:
        raise AuxtuneError(f"{target}: cannot be written: {error.strerror}; name another file") from error
    click.echo(target)
    data = Path(str(files("auxtune.examples") / Path(name).stem))
    if data.is_dir():
        click.echo(copy_data(data, target.parent / data.name))


def copy_data(data: Path, target: Path) -> Path:
    """Copy the folder ``data`` of an example to ``target``, which is returned; existing files stay."""
    target.mkdir(exist_ok=True)
    for file in data.iterdir():
        if not (target / file.name).exists():
            shutil.copy(file, target / file.name)
    return target
