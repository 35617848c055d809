"""The selector that a study file asks for: one method, stages in turn, and as many searches as wanted."""

from __future__ import annotations

from collections.abc import Sequence

from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.selectors.kit.pipeline import Pipeline
from auxtune.selectors.kit.searches import Searches
from auxtune.selectors.protocol import Selector
from auxtune.selectors.registry import make


def selector_of(options: StudyOptions) -> Selector:
    """Made anew; the file's rules have checked its names and options. Raises what the registry raises."""
    chosen = options.selector
    named = _apart([stage.name for stage in chosen.stages])
    stages = tuple((n, make(stage.name, stage.options)) for n, stage in zip(named, chosen.stages, strict=True))
    selector: Selector = Pipeline(stages) if stages else make(chosen.name, chosen.options)
    return Searches(selector, options.search_seeds) if options.search_seeds > 1 else selector


def unread_options(options: StudyOptions) -> tuple[str, ...]:
    """A sentence for each option that the file sets and its selector, in this version, does not read (``unread``).

    Such options are still taken, so that older studies can be read. Raises what the registry raises.
    """
    chosen = options.selector
    asked = [(stage.name, stage.options) for stage in chosen.stages] or [(chosen.name, chosen.options)]
    unread = [(name, given, getattr(type(make(name, given)), "unread", {})) for name, given in asked]
    return tuple(
        f"selector {name}: the option {option} is not read: {why[option]}; remove it"
        for name, given, why in unread
        for option in given
        if option in why
    )


def _apart(names: Sequence[str]) -> list[str]:
    """The names, a number behind each that came before: two stages of one method must be told apart."""
    return [f"{name}{n}" if (n := 1 + names[:i].count(name)) > 1 else name for i, name in enumerate(names)]
