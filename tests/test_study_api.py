"""A study in Python: found by its folder, asked where it stands, run to its answer."""

from __future__ import annotations

from pathlib import Path

import pytest
from small_study import StudyRun
from written_study import written_study

from auxtune.orchestrator import Study
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.record.events import Opened


def test_a_study_says_where_it_stands(tmp_path: Path) -> None:
    folder = written_study(tmp_path / "studies" / "small")
    study = Study.from_folder(folder)
    assert study.folder == folder.resolve()
    status = study.status()
    assert (status["study"], status["state"], status["proposals"]) == ("small", "interrupted", 3)


def test_a_study_that_was_never_begun_says_so(small: StudyRun) -> None:
    study = Study.from_yaml(small.home / "study.yaml", [f"storage={small.home}/studies"])
    with pytest.raises(AuxtuneError, match="expected the folder of a study"):
        study.status()


@pytest.mark.slow
def test_a_finished_study_answers_at_once_in_python(whole: StudyRun) -> None:
    heard: list[object] = []
    result = Study.from_folder(whole.folder).run(listener=heard.append)
    assert [type(event) for event in heard] == [Opened]
    assert result.selection["lift"]["single_task"]["seeds"] == 1
    assert result.folder == whole.folder.resolve()
