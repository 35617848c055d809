"""What looks on while all tasks are trained together: measured in one run, and paid for with that run."""

from __future__ import annotations

from pathlib import Path

import pytest
from test_measuring import Session

from auxtune.orchestrator.answer.cost import sum_cost
from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.record.accounts import Accounts

pytestmark = pytest.mark.arithmetic

EXACT = "{name: tag, probe_every: 2, order: exact}"
FIRST = "{name: tag, probe_every: 2, order: first}"


def seconds(accounts: Accounts) -> tuple[float, float]:
    """CPU seconds of measured runs: paid, and reused."""
    cost = sum_cost(accounts, Price(), None)
    return cost.phases["measure"].cpu_hours * 3600, cost.reused.cpu_hours * 3600


def test_each_way_of_looking_is_a_run_of_its_own_with_a_price_of_its_own(tmp_path: Path) -> None:
    first = Session(tmp_path, EXACT, study="x").run()
    other = Session(tmp_path, FIRST, study="y").run()
    assert not first.trials[0].reused and not other.trials[0].reused, "a look from the side needs a run"
    assert seconds(other)[0] > 0 and seconds(other)[1] == 0
    for selector, study, source in ((EXACT, "again", first), (FIRST, "too", other)):
        session = Session(tmp_path, selector, study=study)
        accounts = session.run()
        assert accounts.trials[0].reused
        told = source.trials[0].told
        assert told is not None
        entry = session.store.find(told.outcome.evidence["lookahead"])
        # No more than the attempt that measured it took, which also wrote it down.
        assert entry is not None and 0 < entry.cost.cpu_seconds <= told.cost.cpu_seconds
        assert seconds(accounts) == (0, pytest.approx(entry.cost.cpu_seconds))
        assert session.differences() == []
