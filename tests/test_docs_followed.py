"""A reader follows the first pages of the documentation, and the one for changes of the product, to their ends."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from pages import FIRST_PAGES, IN_A_CLONE, ROOT, STUDY_PAGES, Reader

pytestmark = pytest.mark.slow

SMALL = ["training.steps=20", "confirm.seeds=1", "budget.trials=7", "resources.concurrent=2"]
SMALLER = {
    "auxtune run study.yaml": f"auxtune run study.yaml --set {' --set '.join(SMALL)}",
    'Study.from_yaml("study.yaml")': f'Study.from_yaml("study.yaml", {SMALL})',
}


def test_the_readme_and_the_guide_can_be_followed(tmp_path: Path) -> None:
    reader = Reader(tmp_path, SMALLER)
    reader.follow(*STUDY_PAGES)
    assert all(typed in reader.typed for typed in SMALLER.values())
    answer = json.loads((tmp_path / "studies" / "urgent-tickets" / "selection.json").read_text())
    assert answer["primary"] == "urgent" and answer["lift"]["single_task"]["seeds"] == 1


def test_the_first_study_leads_to_a_model_that_predicts(tmp_path: Path) -> None:
    reader = Reader(tmp_path)
    reader.follow(*FIRST_PAGES)
    answer = json.loads((tmp_path / "studies" / "better" / "selection.json").read_text())
    assert answer["primary"] == "better" and answer["lift"]["single_task"]["seeds"] == 4
    assert {path.name for path in (tmp_path / "models").iterdir()} == {"better", "again", "third"}


def test_a_task_kind_can_be_added_as_its_page_says(tmp_path: Path) -> None:
    for folder in ("auxtune", "orchestrator", "trials", "selectors", "examples"):
        shutil.copytree(ROOT / folder, tmp_path / folder, ignore=shutil.ignore_patterns("__pycache__"))
    # Links to those folders, where the reader's Python looks first.
    shutil.copytree(ROOT / ".typing", tmp_path / "site", symlinks=True)
    Reader(tmp_path, is_warm=False).follow(IN_A_CLONE)
    answer = json.loads((tmp_path / "studies" / "verdicts" / "selection.json").read_text())
    assert answer["lift"]["single_task"]["metric"] == "spearman"
