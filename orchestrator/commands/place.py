"""A folder that a command is given: on this machine, or in an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from auxtune.orchestrator.commands.completing import studies_of
from auxtune.orchestrator.storage.object_path import stored_path


class Place(click.Path):
    """A path, or ``s3://BUCKET/FOLDER`` or ``gs://BUCKET/FOLDER``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The folder that is meant."""
        try:
            return stored_path(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)


class StudyPlace(Place):
    """The folder of a study; a shell completes those on this machine."""

    def shell_complete(self, ctx: click.Context, param: click.Parameter, incomplete: str) -> list[CompletionItem]:
        """Studies whose path begins so, else whatever folders the shell finds."""
        found = [CompletionItem(str(folder)) for folder in studies_of(incomplete)]
        return found or [CompletionItem(incomplete, type="dir")]
