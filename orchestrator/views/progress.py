"""A line per event of a study, with its time of day, for people who watch it run."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from rich.console import Console
from rich.text import Text

from auxtune.orchestrator.planning.translate import search_score_of
from auxtune.orchestrator.record.events import (
    ControlSelected,
    Event,
    Lost,
    Proposed,
    Remeasured,
    Retried,
    Selected,
    Started,
    Told,
    Tracked,
)
from auxtune.orchestrator.record.scores import name_value, sign_of_outcome
from auxtune.orchestrator.study_file.paths import locate_study, resolve_tracking_uri
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.tracking.store import describe_runs_place
from auxtune.orchestrator.views.terminal import fit_line, say
from auxtune.selectors.protocol import Proposal, Selection
from auxtune.trials.recipe import SearchScore


def prepare_lines(earlier: Sequence[Event], study: StudyFile, console: Console | None = None) -> EventLines:
    """A printer of a line per event, on ``console`` if there is one, that has learnt the ``earlier`` events."""
    uri, folder = resolve_tracking_uri(study), locate_study(study)
    lines = EventLines(
        print_line if console is None else lambda line, moment: _print_above(console, line, moment),
        lambda experiment: describe_runs_place(uri, folder, experiment),
        search_score_of(study.options),
    )
    for event in earlier:
        lines.learn(event)
    return lines


class EventLines:
    """Turns the events of a session into lines, given to ``write`` as they come.

    ``write`` is also told when it happened, in seconds since the epoch; ``None``: the event does not say. ``look`` says
    where the runs of an MLflow experiment are seen; without it nothing is said of them. ``search_score`` is the
    study's.
    """

    def __init__(
        self,
        write: Callable[[str, float | None], None],
        look: Callable[[str | None], str] | None = None,
        search_score: SearchScore = "metric",
    ) -> None:
        self._write, self._look, self._search_score = write, look, search_score
        self._names: dict[int, str] = {}

    def __call__(self, event: Event) -> None:
        """Say what happened, if it is worth a line."""
        if (line := self._line(event)) is not None:
            self._write(line, getattr(event, "time", None))

    def learn(self, event: Event) -> None:
        """Take note of an event of an earlier session without a line."""
        if isinstance(event, Proposed):
            self._names[event.id] = f"{event.phase} {event.id:04d} ({describe_mixture(event.proposal)})"

    def _line(self, event: Event) -> str | None:
        self.learn(event)
        match event:
            case Started(resume_from=None, attempt=1):
                return f"{self._names[event.id]} started"
            case Started(resume_from=None):
                return f"{self._names[event.id]} starts again, attempt {event.attempt}"
            case Started():
                return f"{self._names[event.id]} continues from its checkpoint, attempt {event.attempt}"
            case Lost(cause="storage"):
                return f"{self._names[event.id]} could not write (attempt {event.attempt}): {event.message}"
            case Lost():
                return f"{self._names[event.id]} was lost with its {event.cause} (attempt {event.attempt})"
            case Remeasured(message=None):
                return f"{self._names[event.id]} measured again what was gone or damaged of its evidence"
            case Remeasured():
                return f"{self._names[event.id]} could not measure its evidence again: {event.message}"
            case Told(attempt=0):
                return f"{self._names[event.id]} was measured before, by {event.source}"
            case Told() if event.outcome.ok:
                value = sign_of_outcome(event.outcome, self._search_score) * (event.outcome.score or 0.0)
                came_to = name_value(value, self._search_score)
                return f"{self._names[event.id]} {came_to} in {event.cost.wall_seconds:.0f} s"
            case Told() if event.outcome.why == "stopped":
                return f"{self._names[event.id]} {event.message}"
            case Told():
                return f"{self._names[event.id]} failed ({event.outcome.why}): {event.message}"
            case Retried():
                return f"what {len(event.ids)} failed trials tried is tried again"
            case Tracked(id=None) if self._look is not None:
                return f"MLflow: {self._look(event.experiment)}"
            case Selected():
                return f"selected {describe_choice(event.selection)}; confirming on fresh seeds and the test split"
            case ControlSelected():
                found = "nothing" if event.selection is None else describe_choice(event.selection)
                return f"the control {event.arm} came to {found}"
        return None


def print_line(line: str, moment: float | None = None) -> None:
    """Print a line behind the time of day, of ``moment`` in seconds since the epoch, or of now."""
    say(f"{_format_clock(moment)}  {line}")


def _print_above(console: Console, line: str, moment: float | None) -> None:
    clock = _format_clock(moment)
    said = fit_line(f"{clock}  {line}", console.width)
    console.print(Text.assemble((clock, "dim"), said.removeprefix(clock)), soft_wrap=True)


def _format_clock(moment: float | None) -> str:
    return time.strftime("%H:%M:%S", time.localtime(moment))


def describe_choice(selection: Selection) -> str:
    """A selection's tasks, or its groups, each a model."""
    groups = [group["tasks"] for group in selection.groups or ()] if selection.kind == "groups" else []
    return " | ".join(map(" + ".join, groups or [selection.tasks]))


def describe_mixture(proposal: Proposal) -> str:
    """A proposal's tasks, with their shares, or the factors of their losses, where these are not equal."""
    shares = proposal.weights or {}
    if len({round(share, 6) for share in shares.values()}) <= 1:
        return " + ".join(proposal.tasks)
    if proposal.weighting == "loss":
        return " + ".join(f"{task} ×{share * len(shares):.2f}" for task, share in shares.items())
    return " + ".join(f"{task} {shares[task]:.0%}" for task in proposal.tasks)
