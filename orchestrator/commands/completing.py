"""What a shell may complete beside commands and options: trials of a study, selectors, examples.

Looked up where it costs nothing: names of folders of this machine and entry points. Ledgers are not read, stores not
asked, and what cannot be read is passed over: nobody wants to be told so between two keys.
"""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from auxtune.orchestrator.storage.object_path import ObjectPath


def trials(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Numbers of the trials that the study given before has begun."""
    folder = context.params.get("study_dir")
    if not isinstance(folder, Path) or isinstance(folder, ObjectPath):
        return []
    names = [each.name for each in _inside(folder / "trials")]
    numbers = [str(int(name)) for name in names if name.isdecimal()]
    return [CompletionItem(number) for number in numbers if number.startswith(incomplete)]


def selectors(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of selectors, those of other packages too."""
    from auxtune.selectors.registry import names

    return [CompletionItem(name) for name in names() if name.startswith(incomplete)]


def examples(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of examples, each with its question."""
    from auxtune.orchestrator.commands.examples import example_texts, question

    found = example_texts().items()
    return [CompletionItem(name, help=question(text)) for name, text in found if name.startswith(incomplete)]


def studies_of(incomplete: str) -> list[Path]:
    """Folders of studies whose path begins so, also of those in ./studies where no folder is named yet."""
    typed = Path(incomplete)
    above = typed if incomplete.endswith("/") else typed.parent
    places = [above] if "/" in incomplete else [above, Path("studies")]
    start = "" if incomplete.endswith("/") else typed.name
    folders = [each for place in places for each in _inside(place) if each.name.startswith(start)]
    return sorted(folder for folder in folders if _is_folder(folder / "ledger"))


def _inside(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # in a folder that may not be entered
        return False
