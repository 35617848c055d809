"""The trainings of each arm of confirm: with a primary one model, for groups as many as the arm would serve.

An arm is, for every seed, a set of trainings of the same recipe and number of steps. So an arm of b models trains b
times as long as one of a single model: what is compared is models to be served, not hours of training.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TypeAlias

import numpy as np

from auxtune.orchestrator.errors import SelectorError
from auxtune.orchestrator.record.events import ControlSelected
from auxtune.selectors.protocol import Problem, Proposal, Selection
from auxtune.selectors.registry import make

SELECTION = "selection"
WITHOUT = "without "  # and a task: the arm that leaves it out
RANDOM, EQUAL = "random_subset", "same_tasks_equal"  # controls made of the selection
EQUAL_COST = "equal_cost_random"  # the control that searches by itself: see ``control_search``
_OF_ANY_SELECTION = ("single_task", "all_tasks", "size_proportional", "size_sqrt")  # controls that no selection changes
_DIGITS = 9  # a smaller difference between shares is float noise

Trainings: TypeAlias = tuple[Proposal, ...]  # what an arm trains with one seed, each a model


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

    @abstractmethod
    def former(self, selection: Selection) -> Mapping[str, list[Trainings]]:
        """Controls that earlier versions trained by another rule: what they trained for ``selection``."""

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

    @cached_property
    def alike(self) -> Proposal:
        """Every task in equal shares."""
        names = self.problem.names
        return self.executed(Selection("mixture", names, dict.fromkeys(names, 1 / len(names))))

    def executed(self, mixture: Selection) -> Proposal:
        """A mixture's executed training, its tasks in the study's order: a schedule may go by it."""
        tasks, weights = self.in_order(mixture.tasks), mixture.weights
        if weights is not None:
            weights = {task: weights[task] for task in tasks if task in weights}
        rows = dict(mixture.instances or {})
        return self.execute(Proposal(tasks, weights, mixture.weighting, mixture.cycle, rows=rows))

    def in_equal_shares(self, model: Proposal) -> Proposal:
        """The tasks and rows of an executed ``model``, with the same share of the steps for each."""
        weights = dict.fromkeys(model.tasks, 1 / len(model.tasks))
        return self.executed(Selection("mixture", model.tasks, weights, model.cycle, instances=model.rows or None))

    def in_order(self, tasks: Iterable[str]) -> tuple[str, ...]:
        """Some tasks in the study's order."""
        chosen = set(tasks)
        return tuple(task for task in self.problem.names if task in chosen)


@dataclass(frozen=True)
class PrimaryArms(Arms):
    """One model per arm, for the primary; ``leave_one_out`` adds an arm per chosen auxiliary.

    ``searched`` has the answers of controls that search by themselves; without one such an arm trains nothing.
    """

    leave_one_out: bool = False
    searched: Mapping[str, ControlSelected] = field(default_factory=dict)

    def of(self, selection: Selection) -> Iterator[tuple[str, list[Trainings]]]:
        """The mixture itself, the controls, and the mixture without each of its auxiliaries."""
        chosen = self.executed(selection)
        yield SELECTION, self.each_seed([chosen])
        for name in self.controls:
            yield name, self.fixed.get(name) or self._made_of(name, chosen)
        for task in chosen.tasks if self.leave_one_out else ():
            if task != self.problem.primary:
                yield f"{WITHOUT}{task}", self.each_seed([self.executed(_leave_out(task, chosen))])

    def names(self) -> Iterator[str]:
        """Any auxiliary may be chosen, and then left out."""
        yield from (SELECTION, *self.controls)
        yield from (f"{WITHOUT}{task}" for task in (self.problem.auxiliaries if self.leave_one_out else ()))

    def stand_in(self, tried: Iterable[Proposal]) -> Trainings:
        """The mixture with the least of the primary among those trained so far and all tasks together.

        Where examples of the primary are matched, it takes the most steps; no subset leaves less to the primary than
        all tasks by the study's sampling rule or in equal shares.
        """
        primary = self.problem.require_primary()
        return (min((self.everything, self.alike, *tried), key=lambda proposal: (proposal.weights or {})[primary]),)

    def former(self, selection: Selection) -> Mapping[str, list[Trainings]]:
        """Random subsets had the shares of the study's sampling rule, whatever those of the selection."""
        chosen, primary = self.executed(selection), self.problem.require_primary()
        drawn = {seed: self.in_order([*self._drawn(chosen, seed), primary]) for seed in self.seeds}
        models = {seed: self.executed(Selection("mixture", tasks)) for seed, tasks in drawn.items()}
        return {RANDOM: [(replace(model, seed=seed),) for seed, model in models.items()]}

    def _made_of(self, name: str, chosen: Proposal) -> list[Trainings]:
        """A control that depends on what is trained of the selection, or on what it found itself."""
        if name == EQUAL:
            return self.each_seed([self.in_equal_shares(chosen)])
        if name == EQUAL_COST:
            found = self.searched[name].selection if name in self.searched else None
            return [()] * len(self.seeds) if found is None else self.each_seed([self.executed(found)])
        return [(self._dealt(chosen, seed),) for seed in self.seeds]

    def _dealt(self, chosen: Proposal, seed: int) -> Proposal:
        """The shares of ``chosen`` (or factors of losses) dealt to random auxiliaries; the primary keeps its own.

        What the selection keeps of an auxiliary's rows belongs to that auxiliary alone: the random ones have all rows.
        """
        primary, picked = self.problem.require_primary(), self._drawn(chosen, seed)
        tasks, weights = self.in_order([*picked, primary]), chosen.weights
        if weights is not None:
            shares = [weights[task] for task in chosen.tasks if task != primary]
            dealt = {primary: weights[primary], **dict(zip(picked, shares, strict=True))}
            weights = {task: dealt[task] for task in tasks}
        rows = {task: kept for task, kept in chosen.rows.items() if task == primary}
        mixture = Selection("mixture", tasks, weights, chosen.cycle, weighting=chosen.weighting, instances=rows or None)
        return replace(self.executed(mixture), seed=seed)

    def _drawn(self, chosen: Proposal, seed: int) -> list[str]:
        """As many auxiliaries as ``chosen`` has, whichever, in random order."""
        draw, auxiliaries = np.random.default_rng([self.problem.seed, seed]), self.problem.auxiliaries
        places = draw.choice(len(auxiliaries), size=len(chosen.tasks) - 1, replace=False)
        return [auxiliaries[place] for place in places.tolist()]


@dataclass(frozen=True)
class GroupArms(Arms):
    """A model per group, and every task counts: each group is trained on all its tasks by the study's sampling rule.

    Of the controls, ``single_task`` has a model per task, ``all_tasks`` and those by size have one in all.
    ``random_subset`` has groups with the tasks' names shuffled, again for every seed: as many as the selection's, as
    large, overlapping as these do, and again with every task in one of them. ``same_tasks_equal`` has the selection's
    groups in equal shares.
    """

    def of(self, selection: Selection) -> Iterator[tuple[str, list[Trainings]]]:
        """The groups and the controls."""
        groups = self._groups(selection)
        yield SELECTION, self.each_seed(self._models(groups))
        for name in self.controls:
            yield name, self.fixed.get(name) or self._made_of(name, groups)

    def names(self) -> Iterator[str]:
        """The same for every selection, without arms that always train what the selection trains."""
        equal = is_same_training(self.everything, self.alike)
        yield from (SELECTION, *(name for name in self.controls if not (equal and name == EQUAL)))

    def former(self, selection: Selection) -> Mapping[str, list[Trainings]]:
        """None: no rule for groups has changed."""
        return {}

    def stand_in(self, tried: Iterable[Proposal]) -> Trainings:
        """As many models as may be served, each of all tasks; more than there are tasks would serve nothing."""
        return (self.everything,) * limit_models(self.problem.models, len(self.problem.names))

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

    def _made_of(self, name: str, groups: Sequence[tuple[str, ...]]) -> list[Trainings]:
        """A control that depends on the selection's groups."""
        if name == EQUAL:
            return self.each_seed([self.in_equal_shares(model) for model in self._models(groups)])
        return [self._shuffled(groups, seed) for seed in self.seeds]

    def _shuffled(self, groups: Sequence[tuple[str, ...]], seed: int) -> Trainings:
        names = self.problem.names
        order = np.random.default_rng([self.problem.seed, seed]).permutation(len(names)).tolist()
        other = {name: names[place] for name, place in zip(names, order, strict=True)}
        models = self._models([self.in_order(other[task] for task in group) for group in groups])
        return tuple(replace(model, seed=seed) for model in models)

    def _models(self, groups: Iterable[tuple[str, ...]]) -> list[Proposal]:
        return [self.executed(Selection("mixture", group)) for group in groups]


def is_same_training(one: Proposal, other: Proposal) -> bool:
    """Whether two executed proposals train the same, whatever the order of their tasks and the form of their weights.

    Factors of losses that are all alike are 1, which is equal shares; of a single task it does not matter how its steps
    are dealt; shares differ where more than their last digits do.
    """
    return one.seed == other.seed and _normalise_training(one) == _normalise_training(other)


def is_same_arm(arm: Sequence[Trainings], other: Sequence[Trainings]) -> bool:
    """Whether two arms train the same models with every seed, in whatever order."""
    return len(arm) == len(other) and all(
        len(ours) == len(theirs) and all(any(is_same_training(a, b) for b in theirs) for a in ours)
        for ours, theirs in zip(arm, other, strict=True)
    )


def _normalise_training(proposal: Proposal) -> Proposal:
    """The one form of all proposals that train the same; for comparison only."""
    shares = {task: round(share, _DIGITS) for task, share in proposal.shares.items()}
    alike = proposal.weighting == "loss" and len({*shares.values()}) == 1
    return replace(
        proposal,
        tasks=tuple(sorted(proposal.tasks)),
        weights=shares,
        weighting="sampling" if alike else proposal.weighting,
        cycle=proposal.cycle or len(proposal.tasks) == 1,
    )


def limit_models(models: int | None, tasks: int) -> int:
    """The most models that can each serve a task of its own, where at most ``models`` may be served."""
    return min(models or 1, tasks)


def _leave_out(task: str, chosen: Proposal) -> Selection:
    """The selection's training less one auxiliary, the others in the same proportion."""
    left = {other: share for other, share in (chosen.weights or {}).items() if other != task}
    total = sum(left.values())
    # Factors of losses may all be 0 without the one that is left out; shares of steps cannot, the primary has some.
    weights = {other: share / total for other, share in left.items()} if total > 0 else None
    rows = {other: kept for other, kept in chosen.rows.items() if other != task}
    return Selection(
        "mixture", tuple(left), weights, cycle=chosen.cycle, weighting=chosen.weighting, instances=rows or None
    )
