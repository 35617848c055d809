"""A method's parts: the stages of a pipeline, the searches side by side, each with what it holds true."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from auxtune.orchestrator.record.accounts import Trial
from auxtune.orchestrator.report.material import Material
from auxtune.selectors.kit.pipeline import PipelineState, Staged
from auxtune.selectors.kit.searches import Searches, SearchesState
from auxtune.selectors.protocol import Selector


@dataclass(frozen=True)
class UnderWay:
    """A selector that is nobody's wrapper, with its present state; ``stage`` begins the stages of its proposals."""

    stage: str
    selector: Selector
    state: Any

    def asked(self, trial: Trial) -> bool:
        """Whether it is its own trial."""
        stage = trial.proposal.stage
        return not self.stage or stage == self.stage or stage.startswith(f"{self.stage}.")


def under_way(selector: Selector, state: Any, stage: str = "") -> Iterator[UnderWay]:
    """Each search's selector, in the stage that it has come to."""
    if isinstance(selector, Searches) and isinstance(state, SearchesState):
        for number, inner in enumerate(state.inner):
            yield from under_way(selector.selector, inner, f"search{number}")
    elif isinstance(selector, Staged) and isinstance(state, PipelineState):
        name, present = selector.stages[state.stage]
        yield from under_way(present, state.inner, f"{stage}.{name}" if stage else name)
    else:
        yield UnderWay(stage, selector, state)


def answering(material: Material) -> UnderWay:
    """The one whose answer counts: of several searches the winner."""
    each = list(under_way(material.selector, material.fold.state))
    return each[int(material.belief.get("winner", 0))]


def beliefs(material: Material) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """What each stage holds true, under its name; a method without stages has the empty one."""
    selector = material.selector.selector if isinstance(material.selector, Searches) else material.selector
    if not isinstance(selector, Staged):
        yield "", material.belief
        return
    for name, _ in selector.stages:
        if isinstance(believed := material.belief.get(name), Mapping):
            yield name, believed


def handed_on(material: Material) -> dict[str, set[str]]:
    """The tasks that each stage that is over left to the next one; of several searches those of the winner."""
    selector, winner = material.selector, material.belief.get("winner", 0)
    several = isinstance(selector, Searches)
    inner = selector.selector if isinstance(selector, Searches) else selector
    if not isinstance(inner, Staged):
        return {}
    notes = [trial.proposal.notes for trial in material.accounts.of_selector]
    own = [each["notes"] for each in notes if each["search"] == winner] if several else notes
    left = [handed for each in own for handed in each["entered"]]
    return {name: set(handed["tasks"]) for (name, _), handed in zip(inner.stages, left, strict=False)}


def called(name: str, stage: str) -> str:
    """A name for a drawing that no other stage's has: letters, digits and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", f"{name} {stage}".lower()).strip("-")


def of_stage(stage: str) -> str:
    """What to put behind a caption."""
    return f" (stage {stage})" if stage else ""
