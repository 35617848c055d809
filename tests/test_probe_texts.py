"""Which texts the studies of a storage compare models on: chosen once, whole, and the same for a later candidate."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
from synthetic_tasks import TASKS

from auxtune.orchestrator.planning.probe_texts import FOLDER, ProbeTexts
from auxtune.trials.probes.hidden_states import choose_shared_texts, load_texts
from auxtune.trials.tokens import EncodedTask

TWO = {name: TASKS[name] for name in ("sign", "share.of")}


def folder(storage: Path, tasks: dict[str, EncodedTask] = TWO, encoder: str = "one") -> Path:
    return ProbeTexts(storage, tasks, encoder).folder


def test_a_batch_is_named_by_its_texts_and_made_once(tmp_path: Path) -> None:
    first = folder(tmp_path)
    assert first == tmp_path / FOLDER / choose_shared_texts(TWO).digest == folder(tmp_path)
    assert load_texts(first).digest == first.name
    assert list((tmp_path / FOLDER).iterdir()) == [first], "no drafts are left"


def test_a_new_candidate_changes_nothing(tmp_path: Path) -> None:
    assert folder(tmp_path) == folder(tmp_path, TASKS)


def test_other_rows_a_task_less_or_another_encoder_are_other_texts(tmp_path: Path) -> None:
    first = folder(tmp_path, TASKS)
    other_rows = dataclasses.replace(TASKS["tags"], digest="other rows", splits=TASKS["share.of"].splits)
    assert len({first, folder(tmp_path, {**TASKS, "tags": other_rows}), folder(tmp_path)}) == 3
    other = tmp_path / "other"
    folder(other, TWO, "one")
    assert folder(other, TASKS, "two") == other / FOLDER / choose_shared_texts(TASKS).digest


def test_a_draft_of_a_study_that_was_killed_is_no_batch(tmp_path: Path) -> None:
    first = folder(tmp_path)
    first.rename(tmp_path / FOLDER / ".draft")
    assert folder(tmp_path) == first


@pytest.mark.parametrize("victim", ["texts.npz", "texts.json"])
def test_a_damaged_batch_is_made_anew(tmp_path: Path, victim: str) -> None:
    first = folder(tmp_path)
    (first / victim).write_bytes((first / victim).read_bytes()[:-20])
    assert folder(tmp_path) == first
    assert load_texts(first).digest == first.name


def test_of_two_that_make_the_same_batch_at_once_both_have_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    slower = ProbeTexts(tmp_path, TWO, "one")
    made = ProbeTexts._made

    def overtaken(self: ProbeTexts, root: Path) -> Path:
        if self is slower:
            folder(tmp_path)
        return made(self, root)

    monkeypatch.setattr(ProbeTexts, "_made", overtaken)
    assert slower.folder == folder(tmp_path)
    assert len(list((tmp_path / FOLDER).iterdir())) == 1
