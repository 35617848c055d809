"""A folder that a command is given: on this machine, or in an object store."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from auxtune.orchestrator.storage.object_path import stored_path


class Place(click.Path):
    """A path, or ``s3://BUCKET/FOLDER`` or ``gs://BUCKET/FOLDER``."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Path:
        """The folder that is meant."""
        try:
            return stored_path(str(value))
        except ValueError as error:
            self.fail(str(error), param, ctx)
