"""The tasks that a proposal really trains on: of a twin the shuffled ones, and of some only the rows kept."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from auxtune.orchestrator.record.row_files import rows_of
from auxtune.selectors.protocol import Evidence, Proposal
from auxtune.trials.encoded import EncodedTask
from auxtune.trials.variants import keep_rows, shuffle_labels


def varied(
    tasks: Mapping[str, EncodedTask], proposal: Proposal, study: Path, evidence: Evidence
) -> dict[str, EncodedTask]:
    """The proposal's tasks; ``study`` is the study's folder. Raises ``EvidenceError`` as ``rows_of`` does."""
    chosen = {name: tasks[name] for name in proposal.tasks}
    if proposal.shuffled is not None:
        chosen = {name: shuffle_labels(task, proposal.shuffled) for name, task in chosen.items()}
    for name, kept in proposal.rows.items():
        if name in chosen and kept.kept < kept.rows:
            chosen[name] = keep_rows(chosen[name], rows_of(kept, study, evidence))
    return chosen
