"""Selectors against a recorded table: a row for each target, selector, seed and budget."""

from __future__ import annotations

import itertools
import math
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import pandas as pd

from auxtune.orchestrator.errors import SelectorError
from auxtune.orchestrator.simulation.judging import judge_answer
from auxtune.orchestrator.simulation.recorded_groups import RecordedGroups
from auxtune.orchestrator.simulation.recorded_mixtures import RecordedMixtures
from auxtune.orchestrator.simulation.recorded_transfers import RecordedTransfers
from auxtune.orchestrator.simulation.recording import Recording
from auxtune.orchestrator.simulation.replay import Replayed, replay
from auxtune.orchestrator.tables.groups import GroupsTable
from auxtune.orchestrator.tables.mixtures import MixturesTable
from auxtune.orchestrator.tables.reading import Recorded, read_recorded
from auxtune.orchestrator.tables.rows import TableError
from auxtune.selectors.methods.controls import FixedMixture
from auxtune.selectors.protocol import Done, Evidence, Outcome, Problem, Proposal, Selection, Selector, Wants
from auxtune.selectors.registry import make

COLUMNS = (
    "table",
    "target",
    "selector",
    "seed",
    "models",
    "inference_budget",
    "budget",
    "total_test",
    "mean_test",
    "ndcg",
    "regret_at_1",
    "regret_at_3",
    "regret_at_5",
    "spearman",
    "regret",
    "trials",
    "cost",
)


@dataclass(frozen=True)
class Asked:
    """A selector by name, with options; ``label`` is what its rows are called."""

    name: str
    options: Mapping[str, Any]
    label: str

    @classmethod
    def of(cls, given: str | Mapping[str, Any]) -> Asked:
        """From a name, or a mapping with ``name`` and options."""
        if isinstance(given, str):
            return cls(given, {}, given)
        options = {key: value for key, value in given.items() if key != "name"}
        if "name" not in given:
            raise TableError(f"a selector must be a name, or a mapping with name and options, got {dict(given)}")
        said = ", ".join(f"{key}: {value}" for key, value in options.items())
        return cls(str(given["name"]), options, f"{given['name']} {{{said}}}" if said else str(given["name"]))

    def make(self) -> Selector:
        """The selector. Raises ``SelectorError`` for an unknown name and for illegal options."""
        try:
            return make(self.name, self.options)
        except (ValueError, ImportError) as error:
            raise SelectorError(f"selector {self.label}: {error}") from error


@dataclass(frozen=True)
class Question:
    """The question of one search: a target or all tasks, and the limits on serving and spending."""

    target: str | None
    models: int | None
    inference_budget: float | None
    budget: int | None


def simulate(
    table: str | Path | Recorded,
    selectors: Sequence[str | Mapping[str, Any] | Asked],
    *,
    targets: Sequence[str] = (),
    models: Sequence[int] = (),
    inference_budgets: Sequence[float] = (),
    budgets: Sequence[int] = (),
    seeds: Sequence[int] = (0,),
    concurrent: int = 1,
    most_cost: float = math.inf,
    split: str = "test",
    progress: Callable[[str], None] = lambda line: None,
) -> pd.DataFrame:
    """Run ``selectors`` against a recorded table; a row of ``COLUMNS`` for each search, empty where not applicable.

    A selector is a name, or a mapping of ``name`` and options. Without ``targets`` a table of groups is one question
    for all its tasks, to selectors that group, and any other a question for each target. ``models`` or
    ``inference_budgets`` bound what may be served, by default 3 models; ``budgets`` are trials, by default as many as
    were recorded. With ``most_cost`` a search ends once its trials, probes and failures have cost that much, which
    compares selectors at equal cost. Selecting is on validation (or train) only, and judged on ``split``. ``cost`` is
    in seconds where the table has them, else 1 for each member task of a training.

    Raises ``TableError`` for a table or a question that cannot be used, ``SelectorError`` for a selector that refuses.
    """
    recorded = table if isinstance(table, Recorded) else read_recorded(Path(table))
    asked = [given if isinstance(given, Asked) else Asked.of(given) for given in selectors]
    _check_question(recorded, asked, targets, models, inference_budgets, budgets, concurrent, split)
    search = partial(replay, concurrent=concurrent, most_cost=most_cost)
    rows = []
    for one in asked:
        began = time.perf_counter()
        questions = list(_list_questions(recorded, one, targets, models, inference_budgets, budgets))
        for question, seed in itertools.product(questions, seeds):
            rows.append(_search_table(recorded, one, question, seed, search, split))
        progress(f"{one.label}: {len(questions) * len(seeds)} searches in {time.perf_counter() - began:.1f} s")
    frame = pd.DataFrame(rows, columns=list(COLUMNS))
    whole = ("seed", "models", "budget", "trials")
    return frame.astype({column: "Int64" if column in whole else "Float64" for column in COLUMNS[3:]})


def _search_table(
    recorded: Recorded, asked: Asked, question: Question, seed: int, search: Callable[..., Replayed], split: str
) -> dict[str, Any]:
    selector = asked.make()
    if isinstance(recorded.table, GroupsTable) and question.target is None and isinstance(selector, FixedMixture):
        selector = AsGroups(selector)
    recording = _open_recording(recorded, question)
    limit = _count_runs(recording) if question.budget is None else question.budget
    try:
        replayed = search(selector, recording, seed, limit)
    except (ValueError, TableError) as error:
        raise SelectorError(f"selector {asked.label} on {recorded.name}: {error}") from error
    quality = judge_answer(replayed, recording, split, bounded=not isinstance(selector, AsGroups))
    return {
        "table": recorded.name,
        "target": question.target,
        "selector": asked.label,
        "seed": seed,
        "models": question.models,
        "inference_budget": question.inference_budget,
        "budget": question.budget,
        **asdict(quality),
        "trials": replayed.trials,
        "cost": replayed.cost,
    }


def _open_recording(recorded: Recorded, question: Question) -> Recording:
    if isinstance(recorded.table, GroupsTable):
        return RecordedGroups(
            recorded, question.target, models=question.models, inference_budget=question.inference_budget
        )
    return (RecordedMixtures if isinstance(recorded.table, MixturesTable) else RecordedTransfers)(
        recorded, question.target
    )


def _count_runs(recording: Recording) -> int:
    """The number of recorded trainings, after which a search ends that does not end by itself."""
    if isinstance(recording, RecordedGroups):
        return len(recording.table.networks) + len(recording.header_tasks)
    if isinstance(recording, RecordedTransfers):
        return len(recording.sources) + 1
    assert isinstance(recording, RecordedMixtures)
    return len(recording.table.weights["train"])


def _list_questions(
    recorded: Recorded,
    asked: Asked,
    targets: Sequence[str],
    models: Sequence[int],
    inference_budgets: Sequence[float],
    budgets: Sequence[int],
) -> Iterator[Question]:
    table, selector = recorded.table, asked.make()
    limits: Sequence[int | None] = budgets or (None,)
    together = isinstance(table, GroupsTable) and not targets and table.targets == table.header.tasks
    if together and ("groups" in selector.wants().objectives or isinstance(selector, FixedMixture)):
        for limit in limits:
            for many in models or (() if inference_budgets else (3,)):
                yield Question(None, many, None, limit)
            for cost in inference_budgets:
                yield Question(None, None, cost, limit)
        return
    for target, limit in itertools.product(targets or table.targets, limits):
        yield Question(target, None, None, limit)


def _check_question(
    recorded: Recorded,
    asked: Sequence[Asked],
    targets: Sequence[str],
    models: Sequence[int],
    inference_budgets: Sequence[float],
    budgets: Sequence[int],
    slots: int,
    split: str,
) -> None:
    table = recorded.table
    if not asked or len({one.label for one in asked}) < len(asked):
        raise TableError(f"name at least one selector, and each once; got {', '.join(one.label for one in asked)}")
    if strange := [target for target in targets if target not in table.targets]:
        raise TableError(f"{recorded.name}: targets must be of {', '.join(table.targets)}; got {', '.join(strange)}")
    if (models or inference_budgets) and (not isinstance(table, GroupsTable) or targets):
        raise TableError(f"{recorded.name}: models and inference budgets are for a table of groups without a target")
    if (models or inference_budgets) and table.targets != table.header.tasks:
        lacking = ", ".join(task for task in table.header.tasks if task not in table.targets)
        raise TableError(f"{recorded.name}: models can serve tasks that were scored only, and {lacking} never was")
    for what, least, given in (("models", 1, models), ("budgets", 0, budgets), ("slots", 1, [slots])):
        if bad := [each for each in given if each != math.floor(each) or each < least]:
            raise TableError(f"{what} must be whole numbers of at least {least}, got {', '.join(map(str, bad))}")
    if bad_costs := [each for each in inference_budgets if not 0 < each < math.inf]:
        raise TableError(f"inference budgets must be finite and above 0, got {', '.join(map(str, bad_costs))}")
    splits = ("test",) if not isinstance(table, GroupsTable | MixturesTable) else tuple(table.values)
    if split not in splits:
        raise TableError(f"{recorded.name}: expected a split of {', '.join(splits)} to judge on, got {split!r}")
    for one in asked:
        one.make()


@dataclass(frozen=True)
class AsGroups:
    """A fixed mixture for each task in turn; equal ones are one group. Trains nothing: its answer is known."""

    version: ClassVar[int] = 1
    paper: ClassVar[str | None] = None

    control: FixedMixture

    def wants(self) -> Wants:
        """Groups."""
        return Wants(frozenset({"groups"}), "groups")

    def start(self, problem: Problem) -> Problem:
        """The problem is all there is to know."""
        return problem

    def propose(self, state: Problem, evidence: Evidence) -> Done:
        """Nothing."""
        return Done()

    def proposed(self, state: Problem, number: int, proposal: Proposal) -> Problem:
        """The same state."""
        return state

    def told(self, state: Problem, number: int, outcome: Outcome) -> Problem:
        """The same state."""
        return state

    def select(self, state: Problem, evidence: Evidence) -> Selection:
        """Each task is served by its own mixture, or by the one that another task has, too."""
        serves: dict[frozenset[str], list[str]] = {}
        for task in state.names:
            serves.setdefault(frozenset(self.control.assign_shares(replace(state, primary=task))), []).append(task)
        groups = tuple(
            {"tasks": [name for name in state.names if name in group], "serves": served}
            for group, served in serves.items()
        )
        return Selection("groups", state.names, groups=groups)

    def fewest(self, problem: Problem) -> int:
        """0: the answer is known."""
        return 0
