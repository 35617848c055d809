"""The argument of a command that is a folder, on this machine or in an object store, and its shell completion.

Completion looks only at names of folders of this machine, which costs nothing. It reads no ledger, asks no store, and
skips what it cannot read: no one wants an error between two keys.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import is_local, parse_path


class Place(click.ParamType):  # type: ignore[type-arg]  # generic in newer versions of click only
    """A path, or ``s3://BUCKET/FOLDER`` or ``gs://BUCKET/FOLDER``."""

    name = "path"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> StoredPath:
        """The folder that is meant."""
        try:
            place = parse_path(str(value))
            place.resolve()
            place.exists()
        except (ValueError, RuntimeError) as error:  # another protocol, or a NUL; a link to itself
            self.fail(str(error), param, ctx)
        return place

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """The files and folders that the shell finds."""
        return [CompletionItem(incomplete, type="file")]


class StudyPlace(Place):
    """The folder of a study; a shell completes those on this machine."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Studies whose path begins so, else whatever folders the shell finds."""
        found = [CompletionItem(str(folder)) for folder in _find_studies(incomplete)]
        return found or [CompletionItem(incomplete, type="dir")]


def complete_trials(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Numbers of the trials that the study given before has begun."""
    folder = context.params.get("study_dir")
    if not is_local(folder):  # or not given
        return []
    names = [each.name for each in _list_folder(folder / "trials")]
    numbers = [str(int(name)) for name in names if name.isdecimal()]
    return [CompletionItem(number) for number in numbers if number.startswith(incomplete)]


def _find_studies(incomplete: str) -> list[Path]:
    """Folders of studies whose path begins so, also of those in ./studies where no folder is named yet."""
    typed = Path(incomplete)
    above = typed if incomplete.endswith("/") else typed.parent
    places = [above] if "/" in incomplete else [above, Path("studies")]
    start = "" if incomplete.endswith("/") else typed.name
    folders = [each for place in places for each in _list_folder(place) if each.name.startswith(start)]
    return sorted(folder for folder in folders if _is_folder(folder / "ledger"))


def _list_folder(folder: Path) -> list[Path]:
    try:
        return sorted(folder.iterdir())
    except OSError:
        return []


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:  # in a folder that may not be entered
        return False
