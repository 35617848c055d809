"""What estimated trials cost in hours and money, and how many of them the budget's limits leave room for."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from auxtune.orchestrator.planning.budget import HOUR, Price, passing
from auxtune.orchestrator.planning.estimate import Spread, combined
from auxtune.orchestrator.planning.slots import Slots
from auxtune.trials.result import Cost

_NOISE = 1e-9  # of a trial: float noise must not make room for one


@dataclass(frozen=True)
class Bill:
    """The cost of some trials; ``usd`` is unknown without prices."""

    trials: int
    wall_hours: Spread
    cpu_hours: Spread
    gpu_hours: Spread
    usd: Spread | None

    def __add__(self, other: Bill) -> Bill:
        return Bill(
            self.trials + other.trials,
            self.wall_hours + other.wall_hours,
            self.cpu_hours + other.cpu_hours,
            self.gpu_hours + other.gpu_hours,
            self.usd + other.usd if self.usd is not None and other.usd is not None else None,
        )


def bill(seconds: Sequence[Spread], slots: Slots, price: Price) -> Bill:
    """The cost of trials of ``seconds`` each, side by side in ``slots``."""
    hours = combined(sum, [Spread(0.0, 0.0, 0.0), *seconds])
    second = usd_of_second(slots, price)
    return Bill(
        trials=len(seconds),
        wall_hours=combined(lambda each: passing(each, slots.concurrent) / HOUR, seconds),
        cpu_hours=_scaled(hours, slots.cpus / HOUR),
        gpu_hours=_scaled(hours, slots.gpus / HOUR),
        usd=None if second is None else _scaled(hours, second),
    )


def usd_of_second(slots: Slots, price: Price) -> float | None:
    """What one second of one trial costs in US dollars."""
    return price.usd(Cost(wall_seconds=1.0, gpu_seconds=slots.gpus, cpu_seconds=slots.cpus))


@dataclass(frozen=True)
class Room:
    """How many more search trials a limit allows: at the mean estimate, at the slowest and at the fastest.

    ``None`` is unknown; ``few`` and ``many`` are ``None`` also where the spread is.
    """

    limit: str
    trials: int | None
    few: int | None = None
    many: int | None = None


def rooms(
    limits: Mapping[str, float],
    spent: Mapping[str, float | None],
    each: Spread | None,
    confirm: Bill | None,
    held: int,
    slots: Slots,
    price: Price,
) -> list[Room]:
    """The room that each of the budget's ``limits`` leaves, after what is ``spent`` and confirm's ``held`` trials.

    ``each`` is the seconds of a search trial and ``confirm`` the cost of the held ones, where these are known. A limit
    on what trials do not use leaves any room and is left out.
    """
    found = []
    for limit, most in limits.items():
        if limit == "trials":
            left = max(0, int(most) - int(spent["trials"] or 0) - held)
            found.append(Room(limit, left, left, left))
            continue
        per_second = {
            "wall_hours": 1 / HOUR / slots.concurrent,
            "gpu_hours": slots.gpus / HOUR,
            "usd": usd_of_second(slots, price),
        }[limit]
        reserve: Spread | None = getattr(confirm, limit, None)
        past = spent[limit]
        if per_second == 0:
            continue
        if per_second is None or each is None or reserve is None or past is None:
            found.append(Room(limit, None))
            continue
        at_once = slots.concurrent if limit == "wall_hours" else 1
        found.append(
            Room(
                limit,
                _count(most - past - reserve.mean, each.mean * per_second, at_once),
                _bound(most - past, reserve.high, each.high, per_second, at_once),
                _bound(most - past, reserve.low, each.low, per_second, at_once),
            )
        )
    return found


def _bound(left: float, reserve: float | None, each: float | None, per_second: float, at_once: int) -> int | None:
    return None if reserve is None or each is None else _count(left - reserve, each * per_second, at_once)


def _count(left: float, each: float, at_once: int) -> int:
    """How many trials of ``each`` stay below ``left``; a limit that is just reached forbids the trial.

    The first trials take as long as one does alone, however many slots stay empty.
    """
    if each * at_once >= left:
        return 0
    return max(0, math.ceil(left / each - _NOISE) - 1)


def _scaled(spread: Spread, by: float) -> Spread:
    return combined(lambda values: values[0] * by, [spread])
