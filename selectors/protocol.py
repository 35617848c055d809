"""What a selector is: its vocabulary and the functions it must have.

A selector decides what to train next. It is a frozen dataclass of options and seven pure functions; all that it has
learned is in a *state* that the caller keeps. The state is never stored: it is folded again from the ledger's events.

    state = selector.start(problem)
    ask     propose(state, evidence)      -> Proposal           (a question: it changes nothing)
    event   state = proposed(state, 0, proposal)                0 is pending
    ask     propose(state, evidence)      -> Proposal           asked while 0 still runs: the normal case
    event   state = proposed(state, 1, proposal)                0 and 1 are pending
    ask     propose(state, evidence)      -> Wait()             legal only while own proposals are pending
    event   state = told(state, 1, outcome)                     outcomes arrive in any order; some have failed
    ask     propose(state, evidence)      -> Done()
    event   state = told(state, 0, outcome)
    select(state, evidence)               -> Selection          the answer, from whatever is known

Randomness comes only from ``default_rng([seed, proposals made])``: no clock, no I/O, no globals, no stored generator.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, Literal, Protocol, TypeAlias

import numpy as np

JSON: TypeAlias = Any
Evidence: TypeAlias = Mapping[str, Mapping[str, np.ndarray]]
Answer: TypeAlias = Literal["subset", "weights", "rows", "groups", "ranking"]
Objective: TypeAlias = Literal["primary", "scored", "groups"]
Inside: TypeAlias = Literal["measure", "steer", "continue", "rows", "loss_weights"]


@dataclass(frozen=True)
class TaskInfo:
    """What a selector may know of a task: its kind and how many rows each split has.

    ``inputs`` is a digest of the training inputs in their order, equal for tasks that label the same inputs; empty if
    unknown.
    """

    name: str
    kind: str
    train_rows: int
    probe_rows: int = 0
    validation_rows: int = 0
    inputs: str = ""


@dataclass(frozen=True)
class Network:
    """One model that could be trained and served: its tasks, what serving it costs, and the name of its form.

    ``cost`` is in units of a usual model. A group may be on offer in several forms, a smaller one for half the cost.
    """

    tasks: tuple[str, ...]
    cost: float = 1.0
    name: str = ""


@dataclass(frozen=True)
class Transfer:
    """A result of an earlier study: ``target``'s score after training on ``source`` too, or alone (``None``)."""

    source: str | None
    target: str
    score: float
    seed: int = 0


@dataclass(frozen=True)
class EarlierRuns:
    """Runs that were made anywhere before the study: known beforehand, and never a confirmed result.

    ``source`` names them to people. ``shares`` has a row for each run, in the order of the problem's tasks; ``scores``
    are in units of their own, higher is better.
    """

    source: str
    shares: tuple[tuple[float, ...], ...]
    scores: tuple[float, ...]

    def keep_tasks(self, places: Sequence[int]) -> EarlierRuns:
        """The runs that trained no other tasks than those at ``places``."""
        kept = [at for at, row in enumerate(self.shares) if sum(row[place] for place in places) == sum(row)]
        shares = tuple(tuple(self.shares[at][place] for place in places) for at in kept)
        return replace(self, shares=shares, scores=tuple(self.scores[at] for at in kept))


@dataclass(frozen=True)
class Problem:
    """The question: tasks, the one to win (or ``None`` if all count), how many models may be served, seed.

    It holds no budget, slots or prices: a selector answers the same whatever runs it. ``measured_with`` is the seed of
    measured runs where it is not ``seed``: the stages of a pipeline draw differently, but share what was measured.
    If ``scored`` is given, it is what to win: not a task, but a score that any mixture of tasks has; there is then no
    primary. ``networks`` are the models on offer, empty if any group may be trained, as one model of cost 1; those that
    serve may together cost ``inference_budget``. ``earlier`` holds results of earlier studies of other targets,
    ``runs`` what mixtures of these tasks scored that were trained elsewhere. ``offered`` are the only mixtures that can
    be had, each once (a recorded table's), as shares in the order of ``tasks``; empty if any can. ``examples`` are the
    training examples that every whole training sees, repeats included; where trainings have those of the primary in
    common instead, these are ``primary_examples``. Both are ``None`` where nothing is trained.
    """

    tasks: tuple[TaskInfo, ...]
    primary: str | None
    seed: int = 0
    models: int | None = None
    measured_with: int | None = None
    scored: str | None = None
    networks: tuple[Network, ...] = ()
    inference_budget: float | None = None
    earlier: tuple[Transfer, ...] = ()
    offered: tuple[tuple[float, ...], ...] = ()
    examples: int | None = None
    primary_examples: int | None = None
    runs: tuple[EarlierRuns, ...] = ()

    @property
    def measure_seed(self) -> int:
        """The seed of runs that exist to be measured."""
        return self.seed if self.measured_with is None else self.measured_with

    @property
    def names(self) -> tuple[str, ...]:
        """All task names, in the study's order."""
        return tuple(task.name for task in self.tasks)

    @property
    def auxiliaries(self) -> tuple[str, ...]:
        """All task names but the primary, in the study's order."""
        return tuple(name for name in self.names if name != self.primary)

    def keep_tasks(self, names: Collection[str]) -> Problem:
        """The same question of some of the tasks; of what is offered, the mixtures that hold no other.

        Where none of these is offered, any mixture may be asked for, as a caller takes the nearest it has.
        """
        kept = [place for place, name in enumerate(self.names) if name in names]
        inside = [row for row in self.offered if sum(row[place] for place in kept) == sum(row)]
        return replace(
            self,
            tasks=tuple(self.tasks[place] for place in kept),
            offered=tuple(tuple(row[place] for place in kept) for row in inside),
            runs=tuple(runs.keep_tasks(kept) for runs in self.runs),
        )

    def require_primary(self) -> str:
        """The primary's name. Raises ``ValueError`` if the problem has none."""
        if self.primary is None:
            raise ValueError("the selector needs a primary task, got none; name one or choose a selector that groups")
        return self.primary


@dataclass(frozen=True)
class Inner:
    """What steers inside a run: an inner selector by name, with options and seed.

    The run lasts ``rounds * round_steps`` optimisation steps; each round trains one task and is scored on probe.
    """

    name: str
    options: Mapping[str, JSON]
    seed: int
    rounds: int
    round_steps: int


@dataclass(frozen=True)
class Continuation:
    """A training that continues another: ``steps`` optimisation steps from where that one ended.

    ``start`` is the selector's own number of that proposal, or ``None`` for the pretrained encoder. Its score
    is that of its last weights, not of its best ones, and the last ones are kept while in use (``Continues``).
    """

    steps: int
    start: int | None = None


@dataclass(frozen=True)
class Measure:
    """One thing to measure on a run: the probe's name and its options. Its arrays arrive as evidence."""

    probe: str
    options: Mapping[str, JSON] = field(default_factory=dict)


@dataclass(frozen=True)
class Kept:
    """Which of a task's training rows are trained on: named by a rule, counted, and identified by their digest.

    ``rule`` is what ``find_kept_rows`` needs to find them again in the evidence; ``sha256`` is that of the row numbers.
    """

    rule: Mapping[str, JSON]
    rows: int
    kept: int
    sha256: str


@dataclass(frozen=True)
class Proposal:
    """One thing a selector asks for: tasks trained together, with weights, what to measure, seed.

    ``weights`` are shares in ``[0, 1]`` that sum to 1; ``None`` asks for the study's sampling rule (a subset). The
    caller executes shares as an integer cycle and folds the proposal back with the *executed* shares, so what
    ``proposed`` sees may differ a little from what ``propose`` returned. ``cycle=False`` draws by share instead.
    ``measure`` makes it a probe: its measurements may be known already from another study, and are then told at once.
    A probe of one task is scored on that task. With ``trains=False`` nothing is trained, and the encoder is measured
    as it came. ``shuffled`` is the seed of a permutation of all labels: the run of a twin that can learn nothing.
    ``rows`` limits the training rows of some tasks. ``notes`` is JSON that ``proposed`` folds: the only way for costly
    results to enter the state. ``stage`` is for people: the part of the method that asks. ``params`` are values of the
    recipe by name, in place of the study file's; a study that cannot apply them refuses the proposal.
    """

    tasks: tuple[str, ...]
    weights: Mapping[str, float] | None = None
    weighting: Literal["sampling", "loss"] = "sampling"
    cycle: bool = True
    measure: tuple[Measure, ...] = ()
    seed: int = 0
    inner: Inner | None = None
    notes: Mapping[str, JSON] = field(default_factory=dict)
    stage: str = ""
    continuation: Continuation | None = None
    trains: bool = True
    shuffled: int | None = None
    rows: Mapping[str, Kept] = field(default_factory=dict)
    network: str = ""
    portion: float = 1.0
    params: Mapping[str, JSON] = field(default_factory=dict)

    @property
    def shares(self) -> Mapping[str, float]:
        """The weights; of a subset, without any, equal shares."""
        return self.weights or dict.fromkeys(self.tasks, 1 / len(self.tasks))


@dataclass(frozen=True)
class Wait:
    """Nothing to ask for until a pending proposal is told."""


@dataclass(frozen=True)
class Done:
    """Nothing more to ask for: the answer stands."""


@dataclass(frozen=True)
class Outcome:
    """What a selector is told of a trial. It holds no measured time or money.

    ``score`` (higher is better) is the mean of ``scores``, each evaluated task's own: its main metric on the selection
    split, or a score from its loss there, as the study's `search_score` says. ``metrics`` are for people. The score is
    ``None`` if the trial failed, and then ``why`` says how. A trial that was stopped early has no score either:
    ``why`` is ``stopped``, and ``censored`` the score it had, which says little about the one it would have reached.
    ``rounds`` are the steps of an inner selector, ``(task, score on probe)`` each. ``evidence`` names arrays by probe:
    the key under which the caller loads them.
    """

    score: float | None
    metrics: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    rounds: tuple[tuple[str, float], ...] = ()
    evidence: Mapping[str, str] = field(default_factory=dict)
    why: str | None = None
    censored: float | None = None
    scores: Mapping[str, float] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether the trial gave a score."""
        return self.score is not None


@dataclass(frozen=True)
class Selection:
    """The answer. ``weights`` of ``None`` in a mixture means the study's sampling rule over ``tasks``.

    A weighting of ``loss`` makes ``weights`` factors of the losses, and the steps are shared equally. ``instances``
    names the training rows kept of a task; other tasks keep all of theirs. ``belief`` says in JSON what the selector
    believes (posteriors, scores), for people to read. ``stability``, of several searches, is the share of them that
    chose each task.
    """

    kind: Literal["mixture", "groups", "ranking"]
    tasks: tuple[str, ...] = ()
    weights: Mapping[str, float] | None = None
    cycle: bool = True
    groups: tuple[Mapping[str, JSON], ...] | None = None
    ranking: tuple[tuple[str, float], ...] | None = None
    belief: Mapping[str, JSON] = field(default_factory=dict)
    stability: Mapping[str, float] | None = None
    weighting: Literal["sampling", "loss"] = "sampling"
    instances: Mapping[str, Kept] | None = None


@dataclass(frozen=True)
class Wants:
    """What a selector, with its options, can answer, and what it asks of its caller.

    Every refusal and the method table read it; the contract suite holds proposals and answers to it.
    """

    objectives: frozenset[Objective]
    """What may be asked of it: a ``primary`` to win, a mixture by a ``scored`` value that is no task, or ``groups``
    that serve every task. ``start`` refuses a problem without a primary if ``groups`` are not among them."""
    answers: Answer
    """The kind of answer: a subset of the tasks, their weights, also their rows, groups, or a ranking."""
    inside: frozenset[Inside] = frozenset()
    """What its trainings need besides the training itself: arrays that are measured (``measure``), an inner selector
    (``steer``), the weights of another trial (``continue``), chosen training rows (``rows``), factors of the losses
    (``loss_weights``)."""
    observes: bool = False
    """Whether it may be told of proposals that it did not make."""
    space: bool = False
    """Whether it also chooses values of the recipe."""
    bounds: bool = False
    """Whether it keeps to bounds on tasks' shares."""
    reads_runs: bool = False
    """Whether runs made elsewhere (``Problem.runs``) are a prior of its search for a primary."""


class Selector(Protocol):
    """The functions of a selector. Every one is pure; ``propose`` and ``select`` may be slow, the folds are cheap.

    Facts about a method are declared on its class or returned by ``wants``, so that no code branches on its name. Every
    option has a default. For people it may also say, in a few words each, what it ``needs``, what it ``costs`` in runs,
    and when to ``avoid`` it: the method table prints them. ``unread`` maps an option that is only accepted because
    older study files have it to the reason why it is no longer read; ``validate`` tells users who set it.
    """

    version: ClassVar[int]  # raised when the same state may be answered by another proposal; 1 where undeclared
    paper: ClassVar[str | None]  # authors, title, year and link; None for a control

    def wants(self) -> Wants:
        """What it can answer and what it asks of its caller; the same at every call."""

    def start(self, problem: Problem) -> Any:
        """The state before anything is known. Raises ``ValueError`` if the problem cannot be answered."""

    def propose(self, state: Any, evidence: Evidence) -> Proposal | Wait | Done:
        """What to train next, given all that was folded so far."""

    def proposed(self, state: Any, number: int, proposal: Proposal) -> Any:
        """The state after ``proposal`` was accepted under ``number``; it is pending from now on."""

    def told(self, state: Any, number: int, outcome: Outcome) -> Any:
        """The state after the pending proposal ``number`` ended."""

    def select(self, state: Any, evidence: Evidence) -> Selection:
        """The answer from whatever is known, at any time, even before the first outcome."""

    def fewest(self, problem: Problem) -> int:
        """The fewest trials from which ``select`` can answer."""
