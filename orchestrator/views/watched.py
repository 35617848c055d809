"""A study that is being watched: its ledger's events folded as they come, and what there is to see of it at a moment.

The same whether this process runs the study or another does. What the selector believes may take it long to say; then
it is asked less often, so that watching never takes more than a small part of a processor from the trials.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from auxtune.orchestrator.answer.answer import cost_of
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.planning.budget import price_of
from auxtune.orchestrator.planning.context import StudyContext
from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.events import Event, Opened
from auxtune.orchestrator.record.fold import SelectorFold
from auxtune.orchestrator.record.results import attempt_folder, steps_done
from auxtune.orchestrator.record.scores import shown_score, shown_value, sign_in
from auxtune.orchestrator.record.standing import counted, is_alive, state_of
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.views.belief import belief_line
from auxtune.orchestrator.views.confirmed import answer_in, confirmed, confirmed_so_far
from auxtune.orchestrator.views.progress import mixture
from auxtune.orchestrator.views.remaining_work import remaining_work
from auxtune.orchestrator.views.scene import RunningTrial, Scene, Spent
from auxtune.orchestrator.views.trouble import troubles

_REST = 20  # times what something took passes before it is done again


class Sparing:
    """Keeps what is done again and again to a twentieth of the time."""

    def __init__(self) -> None:
        self._due = 0.0

    @property
    def seconds(self) -> float:
        """How long it has to wait."""
        return max(0.0, self._due - time.monotonic())

    @contextmanager
    def at_work(self) -> Iterator[None]:
        """While entered, it is done."""
        began = time.monotonic()
        try:
            yield
        finally:
            ended = time.monotonic()
            self._due = ended + _REST * (ended - began)


class Watched:
    """The study in ``folder``. ``hear`` it the events of its ledger from the first on; then it has a ``scene``."""

    def __init__(self, study: StudyFile, folder: Path) -> None:
        self._study, self._options, self._folder = study, study.options, folder
        self._accounts = Accounts()
        self._heard: list[Event] = []
        self._fold: SelectorFold | None = None
        self._belief, self._asked, self._asking = "", -1, Sparing()
        self._scene: Scene | None = None  # of the last event
        self._answer = answer_in(self._folder)

    def hear(self, events: Sequence[Event]) -> None:
        """Fold what is new."""
        for event in events:
            self._accounts.add(event)
            self._heard.append(event)
        if any(isinstance(event, Opened) for event in events):  # perhaps another question than the last session's
            self._begin()
        elif self._fold is not None:
            for event in events:
                self._fold.add(event)
        if events:
            self._scene = None

    @property
    def state(self) -> str:
        """``running``, ``done``, ``interrupted`` or ``failed``, of a study that another process runs."""
        return state_of(self._accounts, is_alive(self._folder, self._accounts))

    def closed(self) -> None:
        """The session is over: it may have left an answer."""
        self._answer, self._scene = answer_in(self._folder), None

    def scene(self, state: str, now: float) -> Scene | None:
        """What there is to see at ``now``, in seconds since the epoch; ``None`` before a session has begun."""
        if self._fold is None:
            return None
        # What follows from events alone is told once, and what the clock changes at every look.
        scene = self._scene
        if scene is None or scene.state != state:
            scene = self._told(state, self._fold)
        if self._asked != self._fold.after and not self._asking.seconds:
            scene = replace(scene, belief=self._ask(self._fold))
        self._scene = scene
        running = tuple(self._running(t) for t in self._accounts.trials.values() if t.status == "running")
        cost = cost_of(self._accounts, price_of(self._options), now if state == "running" else None)
        limits = self._options.budget.model_dump(exclude_none=True)
        budget = tuple(Spent(key, cost[key], limit) for key, limit in limits.items())
        return replace(scene, running=running, budget=budget)

    def _begin(self) -> None:
        context = StudyContext.from_accounts(self._study, self._accounts, self._folder)
        self._translator, self._confirmation = context.translator, context.confirmation
        self._selector, self._evidence = context.selector, context.evidence
        self._fold = context.fold(self._heard)

    def _told(self, state: str, fold: SelectorFold) -> Scene:
        accounts = self._accounts
        settled = accounts.selected_under(self._options.budget) is not None
        return Scene(
            study=self._options.study,
            state=state,
            selector=self._options.selector.name,
            counts=counted(accounts),
            running=(),
            best=self._best(),
            answer=self._shown(state, settled),
            belief=self._belief,
            budget=(),
            coming=""
            if state == "done"
            else remaining_work(accounts, self._confirmation, self._options.budget, self._translator),
            trouble=tuple(troubles(accounts, self._options, state)),
        )

    def _best(self) -> str:
        if self._accounts.sessions[-1].opened.problem.primary is None:
            return "none: scores of models of different tasks do not compare; confirm does that"
        best = self._accounts.best
        if best is None:
            return "no search trial has a score yet"
        scored = sum(trial.score is not None for trial in self._accounts.in_phase("search"))
        luck = f" of {scored}, so luck is in it" if scored > 1 else ""
        told_of = self._accounts.search_score
        shown = shown_value(shown_score(best, told_of) or 0.0, told_of)
        return f"{shown}, the best search score{luck}: trial {best.id:04d}, {mixture(best.proposal)}"

    def _ask(self, fold: SelectorFold) -> str:
        with self._asking.at_work():
            self._asked = fold.after
            try:
                self._belief = belief_line(
                    self._selector, fold.state, self._evidence, sign_in(self._accounts), self._accounts.search_score
                )
            except AuxtuneError as error:  # evidence that is gone, say: the study itself will tell
                self._belief = f"cannot be told: {error}"
            except Exception as error:  # a selector from elsewhere may raise, or say, anything
                self._belief = f"cannot be told: {type(error).__name__}: {error}"
        return self._belief

    def _running(self, trial: Trial) -> RunningTrial:
        attempt = trial.attempts[-1]
        return RunningTrial(
            id=trial.id,
            phase=trial.phase,
            tasks=mixture(trial.proposal),
            attempt=attempt.number,
            started=attempt.started,
            step=steps_done(attempt_folder(self._folder, trial.id, attempt.number)),
            steps=self._translator.steps(trial.proposal),
        )

    def _shown(self, state: str, settled: bool) -> tuple[str, ...]:
        """What confirm has shown: of this selection so far, or as the last answer has it."""
        partial = tuple(confirmed_so_far(self._accounts, self._confirmation)) if settled and state != "done" else ()
        if partial or self._answer is None:
            return partial
        said, *lifts = confirmed(self._answer)
        return (said if state == "done" else f"before this session went on: {said}", *lifts)
