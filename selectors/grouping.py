"""How a table of pairs becomes an answer: groups of tasks, each trained as one model, or what serves the primary.

A group is trained on its ``tasks`` and serves some of them; groups may overlap, since a task may be trained in a group
only to help the others there, and be served by another. What a group is worth to a member is the mean affinity of the
other members onto it, and alone the member's affinity to itself.

With a primary no groups are made. A grouping that is best for all tasks on average is not the one that is best for one
of them: tasks that harm the primary are in its group where they are useful to others, and what helps it is left out
where a smaller group is worth more on average. So the sources are looked at by the primary's own row of the table
(``row_of``), and what other tasks need plays no part.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from auxtune.selectors.affinity import Affinity
from auxtune.selectors.finalisers import ranked
from auxtune.selectors.protocol import JSON, Problem, Selection

MODELS = 3  # groups at the most where the problem names no number
# Of an option that older study files have.
MODELS_UNREAD = "with a primary its own row of the table answers, without one the study's `models` counts"


@dataclass(frozen=True)
class Group:
    """One model: the tasks it is trained on, and those of them that it serves."""

    tasks: tuple[str, ...]
    serves: tuple[str, ...]


@dataclass(frozen=True)
class Grouping:
    """Groups that together serve every task once, in the order of the first task that each serves.

    ``score`` is the mean over the tasks of what their group is worth to them, ``None`` where that is not known.
    ``proven`` says whether no other grouping under the same budget scores higher.
    """

    groups: tuple[Group, ...]
    score: float | None
    proven: bool

    def serving(self, task: str) -> Group:
        """The group that serves ``task``."""
        return next(group for group in self.groups if task in group.serves)


def worth(values: np.ndarray, members: Iterable[int]) -> np.ndarray:
    """What a group is worth to each of its ``members``, (members,), from affinities (tasks, tasks).

    >>> worth(np.array([[0, 2, 4], [1, 0, 1], [6, 8, 0]]), (0, 1, 2))
    array([3., 1., 7.])
    """
    places = list(members)
    among: np.ndarray = values[np.ix_(places, places)].astype(float)
    if len(places) == 1:
        return among.ravel()
    np.fill_diagonal(among, 0.0)
    onto: np.ndarray = among.sum(axis=1) / (len(places) - 1)
    return onto


def served_by_best(affinity: Affinity, trained: Iterable[tuple[int, ...]], proven: bool) -> Grouping:
    """The ``trained`` groups, places in ``affinity``, each task served by the one that is worth most to it.

    Of groups worth the same the smaller serves, then the one whose members come first. A group that would serve nobody
    is left out.
    """
    ordered = sorted({tuple(sorted(group)) for group in trained}, key=lambda group: (len(group), group))
    onto = np.full((len(ordered), len(affinity.tasks)), -np.inf)  # (groups, tasks)
    for row, group in enumerate(ordered):
        onto[row, list(group)] = np.nan_to_num(worth(affinity.values, group), nan=np.finfo(float).min)
    best = onto.argmax(axis=0)  # (tasks,); the first of equals
    groups = [_group(affinity.tasks, ordered[row], np.flatnonzero(best == row)) for row in dict.fromkeys(best.tolist())]
    values = onto.max(axis=0)
    score = float(values.mean()) if (values > np.finfo(float).min).all() else None
    return Grouping(tuple(groups), score, proven)


def alone_or_together(problem: Problem) -> Grouping:
    """What to say before anything is known: the primary alone; without one a single model for all tasks."""
    if problem.primary is None:
        return all_together(problem)
    return Grouping((Group((problem.primary,), (problem.primary,)),), score=None, proven=False)


def all_together(problem: Problem) -> Grouping:
    """A single model for all tasks: what is left where nothing can be told from chance."""
    return Grouping((Group(problem.names, problem.names),), score=None, proven=False)


def answer(problem: Problem, grouping: Grouping, belief: Mapping[str, JSON]) -> Selection:
    """The groups; of those that hold one task or all, where there is a primary, the mixture that serves it."""
    if problem.primary is not None:
        return Selection("mixture", grouping.serving(problem.primary).tasks, belief=belief)
    groups = tuple({"tasks": list(group.tasks), "serves": list(group.serves)} for group in grouping.groups)
    return Selection("groups", groups=groups, belief=belief)


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


def _group(tasks: tuple[str, ...], trained: tuple[int, ...], serves: np.ndarray) -> Group:
    return Group(tuple(tasks[i] for i in trained), tuple(tasks[i] for i in serves))
