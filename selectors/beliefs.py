"""The beliefs of a selector, as values that reports and live views draw without knowing the selector.

``Selection.belief`` is JSON in the selector's own words, stored with the answer. A selector that also has ``beliefs``
(``extensions.Believes``) reads those words back as the values below, and reports draw them:

    Ranking       a number for each task                    dots, the chosen ones filled; the first few in a line
    Utilities     a bandit's rewards, and how sure they are   the same, with intervals; a table
    PairTable     a number for each (recipient, source)     a heat map beside the groups; the largest in a line
    Prefixes      scores of ever longer lists of tasks      a curve; the best in a line
    Filters       scores of filters of the training rows    a table; the best in a line
    Leaders       what a model expects of the best mixtures   a table
    Expectation   what a model expects of the answer        in a line
    BestDrawn     no belief, but the best of what was drawn   in a line
    Skill, Reliability, PredictionQuality                   a sentence: how far the above can be trusted
    Remark, Caution                                         a sentence of the selector's own: in the line, on the page
    Repeats       the answers of several searches           a table

They are read from JSON and never computed again, so an answer is drawn as it was when it was recorded. Scores are the
selector's: higher is better.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias, get_args

from auxtune.selectors.kit.affinity import Reliability
from auxtune.selectors.kit.skill import Skill
from auxtune.selectors.protocol import JSON


@dataclass(frozen=True)
class Ranking:
    """A number for each task."""

    name: str
    """Unique among the rankings of one belief."""
    meaning: str
    """The meaning and unit of the numbers: the label of an axis."""
    in_short: str
    """The same in the few words that go before the numbers in a line."""
    values: Mapping[str, float]
    """Task -> number, higher is better."""
    reference: float | None = None
    """A number to compare them with, drawn as a line."""
    reference_is: str = ""
    """The meaning of that line, where it needs words."""
    twins: tuple[float, ...] = ()
    """The numbers of twins that learned shuffled labels: what chance alone comes to."""


@dataclass(frozen=True)
class CountedRewards:
    """The certainty of each task's utility, by counted rounds."""

    interval: Mapping[str, tuple[float, float]]
    """The ends of its 95 % interval."""
    better: Mapping[str, float]
    """The probability that it is above that of all other tasks' rounds together."""
    rounds: Mapping[str, int]
    """The number of rounds, rewarded or not."""
    overall: float
    """The share of all rounds that were rewarded."""
    level: float
    """The least ``better`` at which a task is kept, beyond those that always are."""


@dataclass(frozen=True)
class Utilities:
    """A bandit's belief that a round of each task does not hurt the primary, in [0, 1]."""

    values: Mapping[str, float]
    counted: CountedRewards | None = None
    """How sure that is, where all rewards count; ``None`` of a posterior that forgets."""


@dataclass(frozen=True)
class PairTable:
    """A number for each pair of tasks."""

    name: str
    """Unique among the tables of one belief."""
    measured: str
    """The meaning of the numbers."""
    tasks: tuple[str, ...]
    rows: tuple[tuple[float | None, ...], ...]
    """A row per recipient, a column per source, both in the order of ``tasks``; ``None`` where it is not known."""


@dataclass(frozen=True)
class Prefix:
    """Tasks that were trained together, the primary among them, with their score."""

    tasks: tuple[str, ...]
    score: float


@dataclass(frozen=True)
class Prefixes:
    """Ever longer lists of tasks, each holding the shorter ones."""

    name: str
    """Unique among the lists of one belief."""
    in_short: str
    """The plural noun for a line: "3 ``in_short`` tried"."""
    tried: tuple[Prefix, ...]


@dataclass(frozen=True)
class Filter:
    """One filter of training rows: its threshold, task -> (rows kept, of how many), and the score with it."""

    threshold: float
    kept: Mapping[str, tuple[int, int]]
    score: float | None


@dataclass(frozen=True)
class Filters:
    """Filters of training rows, in the order in which they were asked for."""

    tried: tuple[Filter, ...]


@dataclass(frozen=True)
class Leader:
    """One of the best mixtures that were trained, by what a model expects of it."""

    weights: Mapping[str, float]
    """Task -> share of the steps."""
    mean: float
    """The score that is expected of it."""
    deviation: float
    """The standard deviation of that mean, not of a single training."""
    seen: float
    """The mean score of the trainings of just this mixture."""
    runs: int
    """How many they were."""


@dataclass(frozen=True)
class Leaders:
    """The best mixtures that were trained, the answer first."""

    mixtures: tuple[Leader, ...]


@dataclass(frozen=True)
class Expectation:
    """The mean that a model expects of the answer's score, and the score it had when it was trained."""

    mean: float
    seen: float | None


@dataclass(frozen=True)
class BestDrawn:
    """The best score of what was drawn at random; ``None`` while nothing has one."""

    score: float | None


@dataclass(frozen=True)
class PredictionQuality:
    """The quality of predictions of the unseen, by measure; empty where it is not known."""

    measures: Mapping[str, float]


@dataclass(frozen=True)
class Remark:
    """Why the answer is what it is, or how far the method has come, in a few words for a line."""

    text: str


@dataclass(frozen=True)
class Caution:
    """A sentence that a reader of the whole page should not miss."""

    text: str


@dataclass(frozen=True)
class Search:
    """The answer of one of several searches; its best score is ``None`` while it has none."""

    tasks: tuple[str, ...]
    best_score: float | None


@dataclass(frozen=True)
class Repeats:
    """The same search several times; ``winner`` is the place of the one that answers."""

    searches: tuple[Search, ...]
    winner: int


Belief: TypeAlias = (
    Ranking
    | Utilities
    | PairTable
    | Prefixes
    | Filters
    | Leaders
    | Expectation
    | BestDrawn
    | Skill
    | Reliability
    | PredictionQuality
    | Remark
    | Caution
    | Repeats
)

BELIEFS = get_args(Belief)


def read_why(belief: Mapping[str, JSON]) -> Iterator[Remark]:
    """The reason under ``why``, if there is one."""
    if why := belief.get("why"):
        yield Remark(str(why))


def read_pairs(name: str, table: Mapping[str, JSON] | None) -> Iterator[PairTable | Remark]:
    """The table that ``Affinity.as_json`` wrote, or a remark that there is none yet."""
    if table is None:
        yield Remark("nothing measured yet")
    else:
        yield PairTable(name, table["measured"], tuple(table["tasks"]), tuple(map(tuple, table["recipient_by_source"])))


def read_prefixes(name: str, in_short: str, tried: list[JSON] | None) -> Iterator[Prefixes]:
    """The lists in a belief, given as ``tasks`` and ``score`` each, if there are any."""
    if tried:
        yield Prefixes(name, in_short, tuple(Prefix(tuple(each["tasks"]), each["score"]) for each in tried))


def read_onto_primary(belief: Mapping[str, JSON]) -> Iterator[Ranking]:
    """The primary's row of an affinity table, where ``onto_primary`` holds it."""
    if row := belief.get("onto_primary"):
        yield Ranking("onto_primary", "affinity onto the primary", "does for the primary", row, reference=0.0)
