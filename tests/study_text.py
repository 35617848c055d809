"""A small study file as text, read with all its mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from auxtune.orchestrator.errors import Mistake, StudyFileError
from auxtune.orchestrator.study_file.reading import StudyFile, parse_study

BASE = """\
study: reviews
primary: cr
tasks:
  cr: {path: cr}
  sst2: {path: sst2}
selector: random_subset
budget: {trials: 30}
"""


def study(text: str = BASE, *overrides: str, folder: Path = Path("/studies")) -> StudyFile:
    return parse_study(text, "study.yaml", folder, overrides)


def mistakes(text: str, *overrides: str) -> list[Mistake]:
    with pytest.raises(StudyFileError) as caught:
        study(text, *overrides)
    return caught.value.mistakes
