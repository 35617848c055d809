"""Promise (2): folding the ledger in its order and asking again gives every recorded proposal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from auxtune.orchestrator.planning.selector import selector_of
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.events import Event, Opened
from auxtune.orchestrator.record.fold import SelectorFold, verify
from auxtune.orchestrator.study_file.paths import model_options
from auxtune.orchestrator.study_file.reading import StudyFile


def differences(study: StudyFile, events: Sequence[Event]) -> Iterator[str]:
    """A line for each recorded proposal that does not follow from the events before it. Needs no data."""
    problem = next(event.problem for event in reversed(events) if isinstance(event, Opened))
    fold = SelectorFold(selector_of(study.options), problem, {})
    translator = Translator(study.options, model_options(study), problem)
    return verify(events, fold, translator.execute)
