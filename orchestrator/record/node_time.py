"""Measures for how long nodes of each type are up, from looks at a cluster, and records it in the ledger.

Time between two looks counts by the earlier one's nodes, on a clock that is never set, so neither a step of the
system's clock nor a busy loop changes a sum. Running totals are recorded: a driver that is killed has recorded all but
its last minute, and its successor's totals begin at 0.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from auxtune.orchestrator.record.events import Nodes

SIGN = 60.0  # seconds after which totals are recorded though nothing changed


@dataclass(frozen=True)
class NodeTime:
    """Nodes that are ``up`` now, by type, and node-``seconds`` up to now."""

    up: Mapping[str, int] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


class NodeClock:
    """Adds up node-seconds. Looks and questions may come from two threads."""

    def __init__(self, up: Mapping[str, int], now: float) -> None:
        """``up`` holds the number of nodes by type, ``now`` seconds of a clock that is never set."""
        self._lock = threading.Lock()
        self._up, self._last = dict(up), now
        self._seconds: dict[str, float] = defaultdict(float)

    def look(self, up: Mapping[str, int], now: float) -> None:
        """From ``now`` on these nodes are up."""
        with self._lock:
            self._pass(now)
            self._up = dict(up)

    def read(self, now: float) -> NodeTime:
        """The nodes and totals at ``now``."""
        with self._lock:
            self._pass(now)
            return NodeTime(dict(self._up), dict(self._seconds))

    def _pass(self, now: float) -> None:
        for kind, count in self._up.items():
            self._seconds[kind] += count * max(0.0, now - self._last)
        self._last = max(self._last, now)  # two threads may come in another order than they looked at it


class NodeTrail:
    """Records node time: when nodes came or went, once a minute, and when it is asked to."""

    def __init__(
        self,
        read: Callable[[], NodeTime | None],
        record: Callable[[Nodes], None],
        flush: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``read`` gives ``None`` off a cluster. Records on the way are made durable at once by ``flush``."""
        self._read, self._record, self._flush, self._clock = read, record, flush, clock
        self._said: tuple[float, Mapping[str, int]] | None = None

    def each_turn(self) -> None:
        """Record the totals where nodes came or went, or a minute has passed."""
        found = self._read()
        if found is None:
            return
        if self._said is None or found.up != self._said[1] or self._clock() - self._said[0] >= SIGN:
            self._note(found)
            self._flush()

    def end(self) -> None:
        """Record the final totals, to be made durable with the session's end."""
        if (found := self._read()) is not None:
            self._note(found)

    def _note(self, found: NodeTime) -> None:
        self._said = (self._clock(), found.up)
        self._record(Nodes(time=time.time(), up=found.up, seconds=found.seconds))
