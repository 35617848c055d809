"""Batches cover every row once per epoch; cycles and draws keep the shares they promise."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Callable, Sequence

import numpy as np
import pytest
import torch

from auxtune.trials.batches import (
    Collate,
    InterleavedSchedule,
    SampledSchedule,
    TaskBatches,
    batch_by_length,
    interleave_tasks,
)
from auxtune.trials.data import IGNORED, SPLITS, Kind
from auxtune.trials.tokens import EncodedSplit, EncodedTask

pytestmark = pytest.mark.arithmetic

HOST = torch.device("cpu")


def make_task(lengths: Sequence[int] | np.ndarray, kind: Kind = "classification") -> EncodedTask:
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = np.arange(offsets[-1], dtype=np.int32) + 10
    labels = np.where(tokens % 3 == 0, IGNORED, tokens % 2) if kind == "token" else np.arange(len(lengths))
    split = EncodedSplit(tokens, (tokens % 2).astype(np.uint8), offsets, labels.astype(np.int64))
    return EncodedTask("t", kind, ("a", "b"), ("accuracy",), dict.fromkeys(SPLITS, split), "")


def random_split(rows: int = 1003, seed: int = 0) -> EncodedSplit:
    return make_task(np.random.default_rng(seed).integers(3, 60, rows)).splits["train"]


def test_every_epoch_holds_every_row_once_in_another_order() -> None:
    batches = TaskBatches("t", random_split(), batch_size=16, seed=3)
    epochs = [[batches.next_rows() for _ in range(-(-1003 // 16))] for _ in range(2)]
    assert batches.epoch == 1
    for epoch in epochs:
        assert sorted(np.concatenate(epoch)) == list(range(1003))
        assert max(map(len, epoch)) == 16
    assert not np.array_equal(np.concatenate(epochs[0]), np.concatenate(epochs[1]))


def test_rows_of_a_batch_are_of_like_length_but_batches_come_in_any_order() -> None:
    split = random_split()
    batches = TaskBatches("t", split, batch_size=16, seed=3)
    longest = [split.lengths[batches.next_rows()].max() for _ in range(63)]
    padded = sum(16 * length for length in longest)
    assert padded < 1.1 * split.lengths.sum()
    assert longest != sorted(longest)


def test_the_order_of_batches_continues_from_two_integers() -> None:
    split = random_split(100)
    whole, later = (TaskBatches("t", split, batch_size=8, seed=1) for _ in range(2))
    rows = [whole.next_rows() for _ in range(40)]
    for start in range(0, 40, 7):
        before = TaskBatches("t", split, batch_size=8, seed=1)
        for _ in range(start):
            before.next_rows()
        later.seek(before.epoch, before.position)
        assert all(np.array_equal(later.next_rows(), expected) for expected in rows[start:])


def test_seed_and_task_decide_the_order() -> None:
    split = random_split(100)
    first = [
        tuple(TaskBatches(name, split, 8, seed).next_rows()) for name, seed in [("t", 0), ("t", 0), ("t", 1), ("u", 0)]
    ]
    assert first[0] == first[1]
    assert len(set(first)) == 3


def test_collating_pads_masks_and_aligns_labels() -> None:
    task = make_task([2, 4, 3], kind="token")
    batch = Collate(pad=7, longest=16, device=HOST)(task, "train", np.array([2, 0]))
    assert batch.tokens.tolist() == [[16, 17, 18], [10, 11, 7]]
    assert batch.segments.tolist() == [[0, 1, 0], [0, 1, 0]]
    assert batch.mask.tolist() == [[1, 1, 1], [1, 1, 0]]
    assert batch.labels.tolist() == [[0, 1, IGNORED], [0, 1, IGNORED]]
    assert batch.positions.tolist() == [[6, 7, 8], [0, 1, -1]]
    assert batch.scored == 4


def test_rows_of_one_length_need_no_mask_and_keep_their_labels() -> None:
    batch = Collate(pad=0, longest=16, device=HOST)(make_task([3, 2, 3]), "train", np.array([2, 0]))
    assert batch.mask is None
    assert batch.labels.tolist() == [2, 0]
    assert batch.scored == 2


@pytest.mark.parametrize(("longest", "expected"), [(16, 8), (6, 6), (4, 5)])
def test_lengths_are_rounded_up_but_not_beyond_what_the_encoder_holds(longest: int, expected: int) -> None:
    collate = Collate(pad=0, longest=longest, device=HOST, multiple=8)
    assert collate(make_task([5, 3]), "train", np.array([0, 1])).tokens.shape == (2, expected)


def test_evaluation_batches_hold_every_row_once_within_the_budget_of_tokens() -> None:
    split = random_split()
    batches = list(batch_by_length(split, tokens=300))
    assert sorted(np.concatenate(batches)) == list(range(1003))
    assert all(len(rows) * split.lengths[rows].max() <= 300 for rows in batches)
    assert [len(rows) for rows in batch_by_length(split, tokens=1)] == [1] * 1003
    some = np.array([900, 3, 501])
    chosen = np.concatenate(list(batch_by_length(split, 300, some)))
    assert sorted(chosen) == sorted(some) and np.all(np.diff(split.lengths[chosen]) <= 0)


@pytest.mark.parametrize("counts", [{"a": 1}, {"a": 3, "b": 1}, {"a": 5, "b": 3, "c": 7, "d": 1}, {"a": 20, "b": 19}])
def test_any_full_window_of_a_cycle_holds_the_exact_counts(counts: dict[str, int]) -> None:
    cycle, total = InterleavedSchedule(counts), sum(counts.values())
    steps = [cycle.next_task() for _ in range(3 * total)]
    for start in range(2 * total):
        assert Counter(steps[start : start + total]) == counts


def test_a_cycle_is_never_more_than_one_step_from_its_shares() -> None:
    counts = {"a": 5, "b": 3, "c": 7, "d": 1}
    slots = interleave_tasks(counts)
    for task, count in counts.items():
        served = itertools.accumulate(slot == task for slot in slots)
        assert all(abs(done - count * (step + 1) / 16) <= 1 for step, done in enumerate(served))


def test_draws_follow_the_shares_and_leave_out_tasks_without_one() -> None:
    draws = SampledSchedule({"a": 0.7, "none": 0.0, "b": 0.3}, seed=5)
    found = Counter(draws.next_task() for _ in range(4000))
    assert set(found) == {"a", "b"}
    assert abs(found["a"] / 4000 - 0.7) < 4 * np.sqrt(0.7 * 0.3 / 4000)


@pytest.mark.parametrize(
    "make", [lambda: InterleavedSchedule({"a": 3, "b": 2}), lambda: SampledSchedule({"a": 0.6, "b": 0.4}, seed=2)]
)
def test_an_order_continues_from_what_it_saved(make: Callable[[], InterleavedSchedule | SampledSchedule]) -> None:
    whole = make()
    steps = [whole.next_task() for _ in range(30)]
    assert len(set(steps)) == 2
    for start in (0, 1, 7, 29):
        before, later = make(), make()
        for _ in range(start):
            before.next_task()
        later.load(before.save())
        assert [later.next_task() for _ in range(30 - start)] == steps[start:]
