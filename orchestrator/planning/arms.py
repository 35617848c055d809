"""What each arm of confirm trains: with a primary one model, for groups as many as the arm would serve.

An arm is, for every seed, a set of trainings of the same recipe and number of steps. So an arm of b models trains b
times as long as one of a single model: what is compared is models to be served, not hours of training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from auxtune.orchestrator.errors import SelectorError
from auxtune.selectors.protocol import Problem, Proposal, Selection
from auxtune.selectors.registry import make

SELECTION = "selection"
WITHOUT = "without "                                   # and a task: the arm that leaves it out
_OF_ANY_SELECTION = ("single_task", "all_tasks", "size_proportional")      # controls that no selection changes

Trainings: TypeAlias = tuple[Proposal, ...]            # what an arm trains with one seed, each a model


@dataclass(frozen=True)
class Arms(ABC):
    """The arms of one objective. ``execute`` gives a proposal its executed shares."""

    problem: Problem
    seeds: tuple[int, ...]
    controls: tuple[str, ...]
    execute: Callable[[Proposal], Proposal]

    @abstractmethod
    def of(self, selection: Selection) -> Iterator[tuple[str, list[Trainings]]]:
        """Each arm's name and its trainings per seed; the selection itself comes first.

        Raises ``SelectorError`` for a selection that is no answer.
        """

    @abstractmethod
    def names(self) -> Iterator[str]:
        """The arms there may be, before the selection is known."""

    @abstractmethod
    def stand_in(self, tried: Iterable[Proposal]) -> Trainings:
        """The most that an arm which depends on the selection may train with a seed; ``tried`` are the search's."""

    def expected(self, tried: Iterable[Proposal]) -> dict[str, list[Trainings]]:
        """As ``of``, while the selection is not known."""
        unknown = [self.stand_in(tried)] * len(self.seeds)
        return {name: self.fixed.get(name) or unknown for name in self.names()}

    @cached_property
    def serves(self) -> tuple[str, ...]:
        """The tasks that count: the primary, or all."""
        return self.problem.names if self.problem.primary is None else (self.problem.primary,)

    @cached_property
    def fixed(self) -> Mapping[str, list[Trainings]]:
        """The controls that no selection changes: what they train for each task that counts, equal trainings once."""
        fixed = {}
        for name in (name for name in self.controls if name in _OF_ANY_SELECTION):
            wanted: list[Proposal] = []
            for task in self.serves:
                problem, control = replace(self.problem, primary=task), make(name, {})
                if (mixture := self.executed(control.select(control.start(problem), {}))) not in wanted:
                    wanted.append(mixture)
            fixed[name] = self.each_seed(wanted)
        return fixed

    @cached_property
    def everything(self) -> Proposal:
        """Every task by the study's sampling rule."""
        return self.executed(Selection("mixture", self.problem.names))

    def each_seed(self, models: Sequence[Proposal]) -> list[Trainings]:
        """The same models with every seed."""
        return [tuple(replace(model, seed=seed) for model in models) for seed in self.seeds]

    def executed(self, mixture: Selection) -> Proposal:
        """What is trained of a mixture."""
        return self.execute(
            Proposal(
                mixture.tasks, mixture.weights, mixture.weighting, mixture.cycle, rows=dict(mixture.instances or {})
            )
        )

    def in_order(self, tasks: Iterable[str]) -> tuple[str, ...]:
        """Some tasks in the study's order: equal trainings must be equal proposals."""
        chosen = set(tasks)
        return tuple(task for task in self.problem.names if task in chosen)


@dataclass(frozen=True)
class PrimaryArms(Arms):
    """One model per arm, for the primary; ``leave_one_out`` adds an arm per chosen auxiliary."""

    leave_one_out: bool = False

    def of(self, selection: Selection) -> Iterator[tuple[str, list[Trainings]]]:
        """The mixture itself, the controls, and the mixture without each of its auxiliaries."""
        chosen = self.executed(selection)
        yield SELECTION, self.each_seed([chosen])
        for name in self.controls:
            yield name, self.fixed.get(name) or [(self._random(len(chosen.tasks) - 1, seed),) for seed in self.seeds]
        for task in chosen.tasks if self.leave_one_out else ():
            if task != self.problem.primary:
                yield f"{WITHOUT}{task}", self.each_seed([self.executed(_without(task, chosen))])

    def names(self) -> Iterator[str]:
        """Any auxiliary may be chosen, and then left out."""
        yield from (SELECTION, *self.controls)
        yield from (f"{WITHOUT}{task}" for task in (self.problem.auxiliaries if self.leave_one_out else ()))

    def stand_in(self, tried: Iterable[Proposal]) -> Trainings:
        """The mixture with the least of the primary among those trained so far and all tasks together.

        Where examples of the primary are matched, it takes the most steps; no subset leaves less to the primary than
        all tasks by the study's sampling rule.
        """
        primary = self.problem.require_primary()
        return (min((self.everything, *tried), key=lambda proposal: (proposal.weights or {})[primary]),)

    def _random(self, size: int, seed: int) -> Proposal:
        """The primary with ``size`` auxiliaries, whichever."""
        draw, auxiliaries = np.random.default_rng([self.problem.seed, seed]), self.problem.auxiliaries
        picked = [auxiliaries[i] for i in draw.choice(len(auxiliaries), size=size, replace=False).tolist()]
        drawn = Selection("mixture", self.in_order([*picked, self.problem.require_primary()]))
        return replace(self.executed(drawn), seed=seed)


@dataclass(frozen=True)
class GroupArms(Arms):
    """A model per group, and every task counts: each group is trained on all its tasks by the study's sampling rule.

    Of the controls, ``single_task`` has a model per task, ``all_tasks`` and ``size_proportional`` have one in all.
    ``random_subset`` has groups with the tasks' names shuffled, anew for every seed: as many as the selection's, as
    large, overlapping as these do, and again with every task in one of them.
    """

    def of(self, selection: Selection) -> Iterator[tuple[str, list[Trainings]]]:
        """The groups and the controls."""
        groups = self._groups(selection)
        yield SELECTION, self.each_seed(self._models(groups))
        for name in self.controls:
            yield name, self.fixed.get(name) or [self._shuffled(groups, seed) for seed in self.seeds]

    def names(self) -> Iterator[str]:
        """The same for every selection."""
        yield from (SELECTION, *self.controls)

    def stand_in(self, tried: Iterable[Proposal]) -> Trainings:
        """As many models as may be served, each of all tasks; more than there are tasks would serve nothing."""
        return (self.everything,) * most_models(self.problem.models, len(self.problem.names))

    def _groups(self, selection: Selection) -> list[tuple[str, ...]]:
        """The groups that serve a task by the selector's own word, each once."""
        serving = [group for group in selection.groups or () if group["serves"]]
        strange = [group for group in serving if not set(group["serves"]) <= set(group["tasks"])]
        unserved = [task for task in self.serves if not any(task in group["serves"] for group in serving)]
        groups = list(dict.fromkeys(self.in_order(group["tasks"]) for group in serving))
        if strange or unserved:
            found = f"{', '.join(unserved)} in none" if unserved else f"{dict(strange[0])}"
            raise SelectorError(f"the selector must answer with groups that serve all of their tasks, found {found}")
        if len(groups) > (self.problem.models or 1):
            raise SelectorError(f"the selector must answer with at most {self.problem.models} groups, found {groups}")
        return groups

    def _shuffled(self, groups: Sequence[tuple[str, ...]], seed: int) -> Trainings:
        names = self.problem.names
        order = np.random.default_rng([self.problem.seed, seed]).permutation(len(names)).tolist()
        other = {name: names[place] for name, place in zip(names, order, strict=True)}
        models = self._models([self.in_order(other[task] for task in group) for group in groups])
        return tuple(replace(model, seed=seed) for model in models)

    def _models(self, groups: Iterable[tuple[str, ...]]) -> list[Proposal]:
        return [self.executed(Selection("mixture", group)) for group in groups]


def most_models(models: int | None, tasks: int) -> int:
    """The most models that can each serve a task of its own, where at most ``models`` may be served."""
    return min(models or 1, tasks)


def _without(task: str, chosen: Proposal) -> Selection:
    """What is trained of the selection, less one auxiliary, the others in the same proportion."""
    left = {other: share for other, share in (chosen.weights or {}).items() if other != task}
    total = sum(left.values())
    # Factors of losses may all be 0 without the one that is left out; shares of steps cannot, the primary has some.
    weights = {other: share / total for other, share in left.items()} if total > 0 else None
    rows = {other: kept for other, kept in chosen.rows.items() if other != task}
    return Selection(
        "mixture", tuple(left), weights, cycle=chosen.cycle, weighting=chosen.weighting, instances=rows or None
    )
