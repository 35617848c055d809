"""With a primary: its own row of a table of pairs decides, and what other tasks need does not matter.

A grouping that is best for all tasks on average is not the one that is best for one of them: tasks that harm the
primary are in its group where they are useful to others, and what helps it is left out where a smaller group is worth
more on average. So where one task is to be won, the sources are looked at by what they do for it, and no group is made.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from auxtune.selectors.affinity import Affinity
from auxtune.selectors.finalisers import ranked
from auxtune.selectors.protocol import JSON, Problem, Selection


def row_of(affinity: Affinity, primary: str) -> dict[str, float]:
    """What each source does for ``primary``, the best first; those of which nothing is known are left out."""
    known = {source: value for source, value in affinity.onto(primary).items() if value == value}
    return {source: known[source] for source in ranked(known)}


def primary_with(
    problem: Problem, sources: Collection[str], row: Mapping[str, float], belief: Mapping[str, JSON]
) -> Selection:
    """The primary with ``sources``, in the study's order; ``belief`` also holds the ``row`` they were chosen by."""
    tasks = tuple(name for name in problem.names if name == problem.primary or name in sources)
    return Selection("mixture", tasks, belief={"onto_primary": dict(row), **belief})
