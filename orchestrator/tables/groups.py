"""A table of the kind ``groups``: what every member of a trained group scored, on several splits."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from auxtune.orchestrator.tables.rows import (
    Header,
    Mistakes,
    Rows,
    average_over_seeds,
    parse_numbers,
    parse_seconds,
    parse_whole_numbers,
    read_rows,
)
from auxtune.selectors.kit.networks import choose_networks
from auxtune.selectors.protocol import Network

SPLITS = ("validation", "test", "early")


@dataclass(frozen=True, eq=False)
class GroupsTable:
    """Values in the table's own units; ``nan`` where there is no row."""

    path: Path
    header: Header
    networks: tuple[Network, ...]  # in the order in which they first appear
    seeds: tuple[int, ...]
    values: dict[str, np.ndarray]  # by split: (networks, tasks, seeds)
    seconds: dict[str, np.ndarray] | None  # by split: (networks, seeds), of one training

    @cached_property
    def targets(self) -> tuple[str, ...]:
        """The tasks that were scored in every split that must be there."""
        scored = [np.isfinite(self.values[split]).any(axis=(0, 2)) for split in ("validation", "test")]
        return tuple(task for task, has in zip(self.header.tasks, np.all(scored, axis=0), strict=True) if has)

    @cached_property
    def places(self) -> dict[tuple[frozenset[str], str], int]:
        """Where a network is, by its tasks and its name."""
        return {(frozenset(network.tasks), network.name): place for place, network in enumerate(self.networks)}

    def place(self, tasks: Iterable[str], name: str = "") -> int | None:
        """Where the network of ``tasks`` is; without a name the dearest, the first of equals; ``None`` if nowhere."""
        wanted = frozenset(tasks)
        if name:
            return self.places.get((wanted, name))
        fitting = [place for (group, _), place in self.places.items() if group == wanted]
        return max(fitting, key=lambda place: self.networks[place].cost, default=None)

    def best_total(self, split: str, budget: float, by_cost: bool) -> float:
        """The best sum over all tasks that networks within ``budget`` come to, higher is better.

        ``budget`` is of their costs, or, unless ``by_cost``, of their number.
        """
        key = (split, budget, by_cost)
        if key not in self._best:
            scores = self.header.sign * self.mean(split)
            costs = [network.cost if by_cost else 1.0 for network in self.networks]
            opened = choose_networks(scores, costs, budget)
            best = np.where(np.isfinite(scores[opened]), scores[opened], -np.inf).max(axis=0)
            self._best[key] = float(best.sum())
        return self._best[key]

    @cached_property
    def _best(self) -> dict[tuple[str, float, bool], float]:
        return {}

    def mean(self, split: str) -> np.ndarray:
        """Means over seeds, (networks, tasks); ``nan`` where no seed has a value."""
        return average_over_seeds(self.values[split])


def read_groups(folder: Path, header: Header) -> GroupsTable:
    """The table in ``folder``. Raises ``TableError`` with every mistake."""
    rows, mistakes = read_rows(folder / "rows.csv", ["tasks", "target", "split", "value", "cost"])
    value, cost = parse_numbers(rows, "value", mistakes), parse_numbers(rows, "cost", mistakes)
    seed, seconds = parse_whole_numbers(rows, "seed", mistakes), parse_seconds(rows, mistakes)
    for row in np.flatnonzero(cost <= 0).tolist():
        mistakes.add(f"expected more than 0, found {cost[row]:g}", row, "cost")
    members = _read_members(rows, header, mistakes)
    names = [name.strip() for name in rows["network"]] if "network" in rows else [""] * len(rows["tasks"])
    mistakes.stop()
    networks = _collect_networks(members, names, cost, mistakes)
    seeds = sorted(set(seed.tolist()))
    splits = sorted(set(rows["split"]), key=SPLITS.index)
    values = {split: np.full((len(networks), len(header.tasks), len(seeds)), np.nan) for split in splits}
    took = {split: np.full((len(networks), len(seeds)), np.nan) for split in splits}
    order = {key: place for place, key in enumerate(networks)}
    for row, (group, name, target, split) in enumerate(zip(members, names, rows["target"], rows["split"], strict=True)):
        place, task, number = order[group, name], header.tasks.index(target), seeds.index(seed[row])
        if not np.isnan(values[split][place, task, number]):
            mistakes.add(f"{'+'.join(group)} has a value of {target} on {split} already", row, "target")
        values[split][place, task, number] = value[row]
        if seconds is not None:
            took[split][place, number] = seconds[row]
    for split in ("validation", "test"):
        if split not in values:
            mistakes.add(f"expected rows of the split {split}, found {', '.join(splits)}", column="split")
    mistakes.stop()
    timed = took if seconds is not None else None
    return GroupsTable(folder, header, tuple(networks.values()), tuple(seeds), values, timed)


def _read_members(rows: Rows, header: Header, mistakes: Mistakes) -> list[tuple[str, ...]]:
    """Each row's group in the table's order of tasks."""
    known = {task: place for place, task in enumerate(header.tasks)}
    groups = []
    for row, (text, target, split) in enumerate(zip(rows["tasks"], rows["target"], rows["split"], strict=True)):
        group = text.split("+")
        if strange := [task for task in group if task not in known]:
            found = ", ".join(map(repr, strange))
            mistakes.add(f"expected tasks of table.json joined by '+', found {found}", row, "tasks")
        elif len(set(group)) < len(group):
            mistakes.add(f"expected each task once, found {text!r}", row, "tasks")
        elif target not in group:
            mistakes.add(f"expected a member of {text}, found {target!r}", row, "target")
        if split not in SPLITS:
            mistakes.add(f"expected {', '.join(SPLITS)}, found {split!r}", row, "split")
        groups.append(tuple(sorted(group, key=lambda task: known.get(task, 0))))
    return groups


def _collect_networks(
    members: list[tuple[str, ...]], names: list[str], cost: np.ndarray, mistakes: Mistakes
) -> dict[tuple[tuple[str, ...], str], Network]:
    """Every network of the table, by its tasks and its name."""
    networks: dict[tuple[tuple[str, ...], str], Network] = {}
    for row, key in enumerate(zip(members, names, strict=True)):
        network = networks.setdefault(key, Network(key[0], float(cost[row]), key[1]))
        if network.cost != cost[row]:
            mistakes.add(
                f"expected one cost for a network, found {cost[row]:g} after {network.cost:g}; name sizes in `network`",
                row,
                "cost",
            )
    return networks
