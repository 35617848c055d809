"""The selector that a study file asks for: one method, stages in turn, and as many searches as wanted."""

from __future__ import annotations

from auxtune.orchestrator.study_file.models import StudyOptions
from auxtune.selectors.pipeline import Pipeline
from auxtune.selectors.protocol import Selector
from auxtune.selectors.registry import make
from auxtune.selectors.searches import Searches


def selector_of(options: StudyOptions) -> Selector:
    """Made anew; the file's rules have checked its names and options. Raises what the registry raises."""
    chosen = options.selector
    stages = tuple((stage.name, make(stage.name, stage.options)) for stage in chosen.stages)
    selector: Selector = Pipeline(stages) if stages else make(chosen.name, chosen.options)
    return Searches(selector, options.search_seeds) if options.search_seeds > 1 else selector
