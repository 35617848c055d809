"""A checkpoint is there whole or not at all, and shows damage anywhere in it."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest
import torch

from auxtune.trials.checkpoint import FILE, DamagedCheckpointError, is_usable, read_checkpoint, write_checkpoint

pytestmark = pytest.mark.arithmetic

DOCUMENT = {"step": 3, "score": 0.1 + 0.2, "rounds": [["a", 1 / 3]], "none": None}


def tensors(seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {
        "matrix": torch.randn(50, 40, generator=generator),
        "transposed": torch.randn(3, 4, generator=generator).T,
        "scalar": torch.tensor(7.0),
        "empty": torch.zeros(0, 3),
        "bytes": torch.arange(256, dtype=torch.uint8),
    }


def names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def assert_holds(folder: Path, expected: dict[str, torch.Tensor]) -> None:
    found, document = read_checkpoint(folder)
    assert found.keys() == expected.keys()
    for name, tensor in expected.items():
        assert found[name].dtype == tensor.dtype
        assert torch.equal(found[name], tensor)
    assert document == DOCUMENT


def test_tensors_and_document_come_back_exactly(tmp_path: Path) -> None:
    write_checkpoint(tmp_path / "new" / "checkpoint", tensors(), DOCUMENT)
    assert is_usable(tmp_path / "new" / "checkpoint")
    assert_holds(tmp_path / "new" / "checkpoint", tensors())


def test_tied_tensors_are_kept_under_both_names(tmp_path: Path) -> None:
    shared = torch.arange(6.0)
    write_checkpoint(tmp_path, {"one": shared, "other": shared}, DOCUMENT)
    assert_holds(tmp_path, {"one": shared, "other": shared})


def test_a_new_checkpoint_replaces_the_former_and_leaves_nothing_else(tmp_path: Path) -> None:
    for seed in (0, 1):
        write_checkpoint(tmp_path, tensors(seed), DOCUMENT)
    assert_holds(tmp_path, tensors(1))
    assert names(tmp_path) == [FILE]


def test_a_changed_byte_anywhere_is_noticed(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tensors(), DOCUMENT)
    whole = (tmp_path / FILE).read_bytes()
    # Some bytes are spaces that fill the header up; what they become must not matter to what is read.
    for place in range(0, len(whole), 37):
        changed = bytearray(whole)
        changed[place] ^= 1
        (tmp_path / FILE).write_bytes(changed)
        if is_usable(tmp_path):
            assert_holds(tmp_path, tensors())
            assert whole[place] == ord(" ")


@pytest.mark.parametrize("kept", [0, 7, 100, 5000, -1])
def test_a_file_cut_short_is_refused(tmp_path: Path, kept: int) -> None:
    write_checkpoint(tmp_path, tensors(), DOCUMENT)
    (tmp_path / FILE).write_bytes((tmp_path / FILE).read_bytes()[:kept])
    assert not is_usable(tmp_path)
    with pytest.raises(DamagedCheckpointError, match=r"no whole checkpoint: .*; start the run again"):
        read_checkpoint(tmp_path)


def test_no_checkpoint_is_not_usable(tmp_path: Path) -> None:
    assert not is_usable(tmp_path)
    assert not is_usable(tmp_path / "nowhere")


def test_a_disk_that_fills_up_leaves_the_former_checkpoint(tmp_path: Path) -> None:
    write_checkpoint(tmp_path, tensors(), DOCUMENT)
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, hard))
    try:
        with pytest.raises(OSError, match=rf"File too large: .*{FILE}"):
            write_checkpoint(tmp_path, tensors(1), DOCUMENT)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert_holds(tmp_path, tensors())
    assert names(tmp_path) == [FILE]


def test_a_number_that_json_cannot_hold_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="JSON compliant"):
        write_checkpoint(tmp_path, tensors(), {"score": float("nan")})
    assert names(tmp_path) == []
