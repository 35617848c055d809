"""The answer of a study: what ``selection.json`` holds, typed. Written from here, and read nowhere else."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import Annotated, Any, Literal, TypeAlias

from pydantic import BeforeValidator, Discriminator, Tag, TypeAdapter, ValidationError

from auxtune.orchestrator.answer.cost import PhaseCost, StudyCost
from auxtune.orchestrator.answer.lift import Lift, MeanLift
from auxtune.orchestrator.answer.recommendation import Recommendation, recommend, widen_to
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import quote_path, store_of
from auxtune.selectors.protocol import Selection
from auxtune.trials.plain_json import parse_json

FORMAT = 1
_NOTHING = PhaseCost(0, 0, 0, 0, None)
_NO_COST = StudyCost(**vars(_NOTHING), wall_hours=0, cluster_usd=None, nodes=None, phases={}, reused=_NOTHING)


@dataclass(frozen=True)
class Group:
    """A model of an answer in groups."""

    tasks: tuple[str, ...]
    """The tasks it is trained on."""
    serves: tuple[str, ...]
    """The tasks it is the best model for; none where all its tasks do better elsewhere."""


@dataclass(frozen=True)
class RankedTask:
    """A task in the selector's ranking, the best first."""

    task: str
    score: int | float


@dataclass(frozen=True)
class KeptRows:
    """Which training rows of a task are trained on, where not all are."""

    rule: Mapping[str, Any]
    rows: int
    kept: int


@dataclass(frozen=True)
class Contribution:
    """The selection's gain over itself without one auxiliary, on the test split; an interval as of a ``Lift``."""

    mean: float
    low: float | None
    high: float | None
    seeds: int

    @property
    def same_training(self) -> bool:
        """Whether the gain is exactly 0, because leaving the auxiliary out changes no training."""
        return self.mean == self.low == self.high == 0


def _complete_lift(lift: Any) -> Any:
    """Add to a lift as JSON the keys that an earlier version did not write; it wrote an interval of no width."""
    if not isinstance(lift, Mapping):
        return lift
    tasks = {task: _complete_lift(own) for task, own in (lift.get("tasks") or {}).items()}
    same = lift.get("mean") == lift.get("low") == lift.get("high") == 0
    return {"same_training": same, **lift, **({"tasks": tasks} if "tasks" in lift else {})}


def _tell_kind(lift: Any) -> str:
    several = isinstance(lift, MeanLift) or (isinstance(lift, Mapping) and "tasks" in lift)
    return "mean" if several else "single"


StoredLift: TypeAlias = Annotated[
    Annotated[Lift, Tag("single")] | Annotated[MeanLift, Tag("mean")],
    Discriminator(_tell_kind),
    BeforeValidator(_complete_lift),
]


@dataclass(frozen=True)
class Answer:
    """The selection with its controls and its price; fields in the order of ``selection.json``.

    Unknown values are ``None``. Fields that an earlier version did not write have a default.
    """

    format: int = FORMAT
    study: str = ""
    kind: Literal["mixture", "groups", "ranking"] = "mixture"
    primary: str | None = None
    """``None`` in a study of groups."""
    weights: Mapping[str, float] | None = None
    """Task -> its executed share, in [0, 1] with sum 1; by ``weighting`` of steps or of the loss."""
    weighting: Literal["sampling", "loss"] = "sampling"
    groups: tuple[Group, ...] | None = None
    ranking: tuple[RankedTask, ...] | None = None
    instances: Mapping[str, KeptRows] | None = None
    """Task -> the rows it keeps; tasks that are not named keep all."""
    models: int | None = None
    """The most models that may be served."""
    recommended: Recommendation | None = None
    """The arm to train. ``recommendation`` has it also of an answer that an earlier version wrote."""
    lift: Mapping[str, StoredLift | None] = field(default_factory=dict)
    """Control -> by how much the selection is better on the test split; ``None``: not measured."""
    report: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """Task -> metric -> mean over the seeds of confirm, on the test split; the main metric first."""
    contribution: Mapping[str, Contribution | None] | None = None
    """Auxiliary -> what it contributes; ``None`` unless leaving one out was asked for."""
    stability: Mapping[str, float] | None = None
    """Task -> the share of the searches that chose it; ``None`` of a single search."""
    belief: Mapping[str, Any] = field(default_factory=dict)
    """The selector's belief, in its own words."""
    cost: StudyCost = _NO_COST

    @classmethod
    def from_json(cls, content: Mapping[str, Any]) -> Answer:
        """The answer in the content of ``selection.json``. Raises ``pydantic.ValidationError``."""
        return _ADAPTER.validate_python(content)

    def as_json(self) -> dict[str, Any]:
        """The content of ``selection.json``. Raises ``ValueError`` where a number is not finite."""
        content: dict[str, Any] = json.loads(json.dumps(asdict(self), allow_nan=False))  # tuples become lists
        return content

    @cached_property
    def recommendation(self) -> Recommendation:
        """Which arm is best; of an answer that an earlier version wrote, by its intervals (``widen_to``)."""
        if self.recommended is not None:
            return self.recommended
        models = len(self.served_groups) if self.primary is None else None
        return recommend(widen_to(self.lift), models)

    @property
    def served_groups(self) -> list[Group]:
        """The groups that serve a task."""
        return [group for group in self.groups or () if group.serves]

    @property
    def auxiliaries(self) -> list[str]:
        """The tasks that were chosen beside the primary."""
        return [task for task in self.weights or {} if task != self.primary]

    @property
    def measured_lifts(self) -> dict[str, Lift]:
        """The lifts over controls that were trained and are another training than the selection."""
        return {name: lift for name, lift in self.lift.items() if lift is not None and not lift.same_training}

    @property
    def main_metrics(self) -> dict[str, str]:
        """Each task's main metric: the first of its measured metrics."""
        return {task: next(iter(metrics)) for task, metrics in self.report.items()}


_ADAPTER = TypeAdapter(Answer)


def list_groups(selection: Selection) -> tuple[Group, ...]:
    """The groups of what a selector chose; with a primary, those from which it took the primary's."""
    return tuple(Group(tuple(group["tasks"]), tuple(group["serves"])) for group in selection.groups or ())


def write_answer(folder: StoredPath, answer: Answer) -> StoredPath:
    """Write ``selection.json``, whole or not at all, and return its path."""
    path = folder / "selection.json"
    text = json.dumps(answer.as_json(), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    store_of(path).replace(path, lambda file: file.write(text.encode()))
    return path


def read_answer(folder: StoredPath) -> Answer | None:
    """The answer in ``selection.json``, ``None`` where there is none. Raises ``AuxtuneError`` where it is damaged."""
    path, again = folder / "selection.json", f"`auxtune resume {quote_path(folder)}` writes it again"
    try:
        content = parse_json(path.read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        raise AuxtuneError(f"{path}: expected the answer as JSON, found {error}; {again}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        raise AuxtuneError(f"{path}: expected an answer of format {FORMAT}, found another; {again}")
    try:
        return Answer.from_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
        raise AuxtuneError(f"{path}: expected an answer of format {FORMAT}, found {found}; {again}") from error
