"""The short form of the suite of faults: a few of each kind, as `make faults` injects many."""

from __future__ import annotations

from pathlib import Path

import pytest
from faults import ledgers
from faults.__main__ import FAULTS
from faults.rows import Fault, Ground


def inject(fault: Fault, home: Path, times: int) -> None:
    """Inject a fault this often: nothing lost, nothing doubled, and nothing that should not have happened."""
    try:
        count = fault.run(Ground(home), times)
    except PermissionError as error:
        pytest.skip(str(error))
    assert (count.times, count.lost, count.doubled, count.wrong) == (times, 0, 0, [])


@pytest.mark.parametrize(("name", "times"), [("ledger", 2 * len(ledgers.DAMAGES)), ("draft", 3), ("kill-1", 2)])
def test_of_this_nothing_is_lost_or_doubled(name: str, times: int, tmp_path: Path) -> None:
    inject(FAULTS[name], tmp_path, times)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "times"),
    [
        ("kill-4", 3),
        ("sigint-twice", 1),
        ("mlflow", 3),
        ("disk", 1),
        ("not-json", 3),
        ("no-memory", 2),
        ("store-replies", 1),
        ("store-expired", 1),
    ],
)
def test_nor_of_this(name: str, times: int, tmp_path: Path) -> None:
    inject(FAULTS[name], tmp_path, times)
