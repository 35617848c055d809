"""Promise (2): folding the ledger in its order and asking again gives every recorded proposal."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from auxtune.orchestrator.planning.selector import selector_of
from auxtune.orchestrator.planning.translate import Translator
from auxtune.orchestrator.record.events import SELECTORS, Event, Opened, Proposed
from auxtune.orchestrator.record.evidence import EvidenceStore, StoredEvidence
from auxtune.orchestrator.record.fold import SelectorFold, verify
from auxtune.orchestrator.study_file.paths import model_options, storage_folder
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.selectors.extensions import version_of


def differences(study: StudyFile, events: Sequence[Event]) -> Iterator[str]:
    """A line for each recorded proposal that does not follow from the events before it. Needs no data, but evidence."""
    problem = next(event.problem for event in reversed(events) if isinstance(event, Opened))
    evidence = StoredEvidence(EvidenceStore(storage_folder(study)))
    fold = SelectorFold(selector_of(study.options), problem, evidence)
    translator = Translator(study.options, model_options(study), problem)
    return verify(events, fold, translator.execute)


def not_asked_again(study: StudyFile, events: Sequence[Event]) -> str | None:
    """One line about the proposals of other versions of the selector, which never differ; ``None`` without any."""
    now = version_of(selector_of(study.options))
    version, others = now, list[int]()
    for event in events:
        if isinstance(event, Opened):
            version = event.selector_version
        elif isinstance(event, Proposed) and event.phase in SELECTORS and version != now:
            others.append(version)
    if not others:
        return None
    named = ", ".join(str(each) for each in sorted(set(others)))
    return f"not asked again: {len(others)} proposals of version {named} of the selector, which is at version {now} now"
