"""``table.json``: what a recorded table holds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from auxtune.orchestrator.simulation.mistakes import TableError


class Header(BaseModel):
    """The keys that are read; others are ignored."""

    model_config = ConfigDict(frozen=True)

    format: Literal[1]
    kind: Literal["groups", "transfer", "mixtures"]
    metric: str
    mode: Literal["min", "max"]
    tasks: tuple[str, ...] = Field(min_length=1)
    targets: tuple[str, ...] | None = None  # mixtures: the columns y:<target> that count

    @property
    def sign(self) -> float:
        """What a value is multiplied by so that higher is better."""
        return 1.0 if self.mode == "max" else -1.0


def read_header(folder: Path) -> Header:
    """The header of the table in ``folder``. Raises ``TableError`` naming every key that is wrong."""
    path = folder / "table.json"
    try:
        header = Header.model_validate(json.loads(path.read_text(encoding="utf-8")))
    except FileNotFoundError as error:
        raise TableError(f"{folder}: expected a recorded table, a folder with table.json and rows.csv") from error
    except ValidationError as error:
        lines = [f"{path}: {'.'.join(map(str, one['loc'])) or 'file'}: {one['msg']}" for one in error.errors()]
        raise TableError("\n".join(lines)) from error
    except (OSError, ValueError) as error:
        raise TableError(f"{path}: expected JSON, found: {error}") from error
    for key, names in (("tasks", header.tasks), ("targets", header.targets or ())):
        if twice := sorted({name for name in names if names.count(name) > 1}):
            raise TableError(f"{path}: {key}: each must be given once, got {', '.join(twice)} more often")
    joins = "+" if header.kind == "groups" else "\0"
    if odd := [name for name in header.tasks if not name.strip() or joins in name]:
        found = ", ".join(map(repr, odd))
        raise TableError(f"{path}: tasks: names must not be empty or, for groups, hold '+', got {found}")
    return header
