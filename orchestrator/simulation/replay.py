"""One search over a recorded table, with a virtual clock: the selector, the events and the accounts of a study.

Nothing sleeps and nothing is written. ``concurrent`` trials run side by side: the one that ends first is told first, so
a selector that learns from what has ended sees as little as it would on that many slots.
"""

from __future__ import annotations

import heapq
import math
from dataclasses import dataclass

from auxtune.orchestrator.errors import SelectorError
from auxtune.orchestrator.record.accounts import Accounts
from auxtune.orchestrator.record.events import Opened, Phase, Proposed, Started, Told
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.orchestrator.simulation.recording import Ended, Recording
from auxtune.selectors.protocol import Problem, Proposal, Selection, Selector, Wait
from auxtune.trials.result import Cost

_SESSION = "simulated"


@dataclass(frozen=True)
class Replayed:
    """The result of a search: its answer, its accounts, and the selector in its last state."""

    problem: Problem
    fold: SelectorFold
    accounts: Accounts
    selection: Selection

    @property
    def trials(self) -> int:
        """Trainings that were paid for, failed ones included."""
        return self.accounts.trained

    @property
    def cost(self) -> float:
        """Seconds of all trainings together, or, where the table has none, 1 per member task."""
        return sum(cost.wall_seconds for trial in self.accounts.trials.values() for cost in trial.costs)


def replay(
    selector: Selector,
    recording: Recording,
    seed: int,
    budget: int,
    concurrent: int = 1,
    most_cost: float = math.inf,
) -> Replayed:
    """Search until the selector is done, a limit is reached or the table is used up; then ask for the answer.

    The limits are ``budget`` trials and ``most_cost``, probes and failures included; as in a study, what is in flight
    is never cut short, so that the last trial may go beyond. Raises ``ValueError`` where the selector refuses the
    problem, ``TableError`` for what no table can answer.
    """
    problem = recording.problem(seed)
    fold, accounts = SelectorFold(selector, problem, recording.evidence), Accounts()
    accounts.add(_open_session(problem))
    clock, spent, running, waiting = 0.0, 0.0, list[tuple[float, int, Ended]](), False
    while True:
        while (
            not waiting
            and len(running) < concurrent
            and len(accounts.trials) < budget
            and spent < most_cost
            and not recording.exhausted
        ):
            asked = fold.propose()
            if not isinstance(asked, Proposal):
                if isinstance(asked, Wait) and not running:
                    raise SelectorError("the selector waits though nothing of its own is pending: a defect in it")
                waiting = True
                break
            number = len(accounts.trials)
            ended = _train_next(recording, asked, clock, fold, accounts)
            spent += ended.seconds
            heapq.heappush(running, (clock + ended.seconds, number, ended))
        if not running:
            return Replayed(problem, fold, accounts, fold.select())
        clock, number, ended = heapq.heappop(running)
        cost = Cost(wall_seconds=ended.seconds, gpu_seconds=0.0, cpu_seconds=ended.seconds)
        told = Told(id=number, attempt=1, time=clock, outcome=ended.outcome, cost=cost)
        accounts.add(told)
        fold.add(told)
        waiting = False


def _train_next(recording: Recording, asked: Proposal, clock: float, fold: SelectorFold, accounts: Accounts) -> Ended:
    """Begin the next trial at ``clock`` in both folds; what the table says of its end."""
    number, proposal = len(accounts.trials), recording.execute(asked)
    phase: Phase = "measure" if proposal.measure else "search"
    proposed = Proposed(id=number, time=clock, proposal=proposal, phase=phase, after=fold.after)
    accounts.add(proposed)
    fold.add(proposed)
    accounts.add(Started(id=number, attempt=1, time=clock, session=_SESSION))
    return recording.run(proposal, number)


def _open_session(problem: Problem) -> Opened:
    return Opened(
        session=_SESSION,
        time=0.0,
        study="",
        overrides=(),
        study_folder="",
        working_folder="",
        problem=problem,
        fingerprint={},
        versions={},
    )
