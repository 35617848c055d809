"""The evidence cache on a real disk: made whole or not at all, made once, and damage seen."""

from __future__ import annotations

import errno
from pathlib import Path

import numpy as np
import pytest
import torch

from auxtune.orchestrator.errors import EvidenceError
from auxtune.orchestrator.record import results as module
from auxtune.orchestrator.record.leftovers import list_stale_evidence
from auxtune.orchestrator.record.results import WEIGHTS, Entry, EvidenceStore, StoredEvidence
from auxtune.trials.checkpoint import write_checkpoint
from auxtune.trials.result import Cost

COST = Cost(2.0, 0.0, 4.0, examples=10, tokens=100)
ARRAYS = {"importance": np.arange(6, dtype=np.float32).reshape(2, 3), "tasks": np.array(["a", "ß b"])}


def entry(probe: str = "head_importance", study: str = "x 1", run: str = "run") -> Entry:
    return Entry(
        probe=probe, run=run, tasks=("a",), study=study, trial=3, cost=COST, score=0.5, metrics={"a": {"accuracy": 0.5}}
    )


def leave(folder: Path) -> None:
    write_checkpoint(folder, {"weight": torch.arange(3.0)}, {"tasks": ["a"]})


def test_what_was_kept_is_found_as_it_was(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    assert store.find("k") is None and list(store) == []
    assert store.create("k", entry(), ARRAYS)
    found = EvidenceStore(tmp_path).find("k")
    assert found is not None and (found.cost, found.score, found.study, found.metrics) == (
        COST,
        0.5,
        "x 1",
        {"a": {"accuracy": 0.5}},
    )
    arrays = StoredEvidence(EvidenceStore(tmp_path))["k"]
    assert set(arrays) == set(ARRAYS) and all(np.array_equal(arrays[name], ARRAYS[name]) for name in ARRAYS)
    assert sorted(path.name for path in (tmp_path / ".evidence").iterdir()) == ["k"], "no drafts are left"


def test_the_first_one_stays(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    assert store.create("k", entry(study="first 1"), ARRAYS)
    assert not store.create("k", entry(study="second 1"), {"importance": np.zeros(1)})
    found = store.find("k")
    assert found is not None and found.study == "first 1"
    assert np.array_equal(store.arrays("k")["importance"], ARRAYS["importance"])


@pytest.mark.parametrize("victim", ["arrays.npz", "evidence.json"])
def test_damage_counts_as_absent_and_is_made_anew(tmp_path: Path, victim: str) -> None:
    store = EvidenceStore(tmp_path)
    store.create("k", entry(), ARRAYS)
    path = tmp_path / ".evidence" / "k" / victim
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 0xFF
    path.write_bytes(content)
    assert store.find("k") is None
    with pytest.raises(EvidenceError, match=r"SHA-256|cannot be read"):
        store.arrays("k")
    assert store.create("k", entry(study="second 1"), ARRAYS)
    found = store.find("k")
    assert found is not None and found.study == "second 1"
    assert any(path.name.startswith(".damaged.k.") for path in (tmp_path / ".evidence").iterdir()), "nothing is lost"


def test_another_format_is_not_taken_for_this_one(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.create("k", entry(), ARRAYS)
    path = tmp_path / ".evidence" / "k" / "evidence.json"
    path.write_text(path.read_text().replace('"format": 1', '"format": 2'))
    assert store.find("k") is None
    with pytest.raises(EvidenceError, match="format"):
        store.arrays("k")


def test_what_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(EvidenceError, match="cannot be read"):
        StoredEvidence(EvidenceStore(tmp_path))["k"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    store = EvidenceStore(tmp_path)
    monkeypatch.setattr(module, "write_durably", refuse)
    with pytest.raises(OSError, match="No space left"):
        store.create("k", entry(), ARRAYS)
    assert list((tmp_path / ".evidence").iterdir()) == []


def test_weights_of_a_run_lie_beside_its_entry(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    assert store.weights("run") is None
    store.create("run", entry(WEIGHTS), None, leave)
    assert store.weights("run") == tmp_path / ".evidence" / "run" / "weights"
    store.create("joint", entry(WEIGHTS), None)
    assert store.weights("joint") is None and store.find("joint") is not None


def test_damaged_weights_count_as_absent_and_are_made_anew(tmp_path: Path) -> None:
    store = EvidenceStore(tmp_path)
    store.create("run", entry(WEIGHTS), None, leave)
    file = next((store.root / "run" / WEIGHTS).iterdir())
    file.write_bytes(file.read_bytes()[:-1])
    assert store.weights("run") is None and store.find("run") is not None, "what training took is still known"
    assert store.create("run", entry(WEIGHTS, study="second 1"), None, leave)
    assert store.weights("run") is not None
    assert not store.create("run", entry(WEIGHTS, study="third 1"), None, leave), "these are whole"


def test_two_that_find_the_same_damage_leave_one_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between the look and the renaming another worker has set the damaged evidence aside."""
    store = EvidenceStore(tmp_path)
    store.create("k", entry(), ARRAYS)
    (store.root / "k" / "arrays.npz").unlink()

    def found_by_another(_: EvidenceStore, key: str) -> None:
        (store.root / key).rename(store.root / f".damaged.{key}.another")

    with monkeypatch.context() as patched:
        patched.setattr(EvidenceStore, "find", found_by_another)
        assert store.create("k", entry(study="second 1"), ARRAYS)
    found = store.find("k")
    assert found is not None and found.study == "second 1"


def test_what_no_ledger_names_is_stale(tmp_path: Path) -> None:
    """Without a study in the storage nothing is named; a draft of a killed worker is stale too."""
    store = EvidenceStore(tmp_path)
    store.create("k", entry(), ARRAYS)
    (store.root / ".k.draft").mkdir()
    assert [path.name for path in list_stale_evidence(tmp_path)] == [".k.draft", "k"]
