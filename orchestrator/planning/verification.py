"""Promise (2): folding the ledger in its order and asking again gives every recorded proposal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from auxtune.orchestrator.planning.selector import selector_of
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.events import Event, Opened
from auxtune.orchestrator.record.evidence import EvidenceStore, StoredEvidence
from auxtune.orchestrator.record.fold import SelectorFold, verify
from auxtune.orchestrator.study_file.paths import model_options, storage_folder
from auxtune.orchestrator.study_file.reading import StudyFile


def differences(study: StudyFile, events: Sequence[Event]) -> Iterator[str]:
    """A line for each recorded proposal that does not follow from the events before it. Needs no data, but evidence."""
    problem = next(event.problem for event in reversed(events) if isinstance(event, Opened))
    evidence = StoredEvidence(EvidenceStore(storage_folder(study)))
    fold = SelectorFold(selector_of(study.options), problem, evidence)
    translator = Translator(study.options, model_options(study), problem)
    return verify(events, fold, translator.execute)
