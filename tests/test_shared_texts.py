"""The texts that all models are compared on: some of every task, without labels, kept as they were chosen."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from probe_subjects import EVERY_KIND
from synthetic_tasks import TASKS

from auxtune.trials.probes.hidden_states import choose_shared_texts, load_texts, save_texts


def test_every_task_gives_its_first_probe_texts() -> None:
    texts = choose_shared_texts(TASKS, 40)
    split = texts.splits["probe"]
    assert list(texts.splits) == ["probe"] and len(split) == 39
    assert texts.kind == "classification" and not split.labels.any() and split.labels.shape == (39,)
    for number, task in enumerate(TASKS.values()):
        own = task.splits["probe"]
        for row in range(13):
            place = slice(*split.offsets[13 * number + row :][:2])
            assert np.array_equal(split.tokens[place], own.tokens[own.offsets[row] : own.offsets[row + 1]])
            assert np.array_equal(split.segments[place], own.segments[own.offsets[row] : own.offsets[row + 1]])
    assert split.offsets[-1] == len(split.tokens) == len(split.segments)


def test_a_small_split_gives_all_it_has() -> None:
    assert len(choose_shared_texts(TASKS, 1000).splits["probe"]) == 3 * 60
    assert len(choose_shared_texts(TASKS, 1).splits["probe"]) == 3


def test_texts_are_known_by_their_digest_and_survive_a_file(tmp_path: Path) -> None:
    texts = choose_shared_texts(TASKS, 30)
    save_texts(tmp_path / "shared", texts)
    read = load_texts(tmp_path / "shared")
    assert read.digest == texts.digest != choose_shared_texts(TASKS, 33).digest
    for key, array in vars(texts.splits["probe"]).items():
        held = getattr(read.splits["probe"], key)
        assert np.array_equal(held, array) and held.dtype == array.dtype
    # Labels are no part of a text.
    assert (
        choose_shared_texts({name: EVERY_KIND[name] for name in ("sign", "topics")}).digest
        == choose_shared_texts({name: EVERY_KIND[name] for name in ("sign", "thirds")}).digest
    )
    with pytest.raises(FileNotFoundError):
        load_texts(tmp_path)
