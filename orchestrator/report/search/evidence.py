"""The evidence of runs of one task each, found by what the ledger says of them."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from auxtune.orchestrator.report.material import Material


def evidence_by_task(material: Material, probe: str) -> dict[str, Mapping[str, np.ndarray]]:
    """Task -> what ``probe`` measured of its own run, without label-shuffled twins; of several runs the last.

    Raises ``EvidenceError`` where it is gone.
    """
    found = {}
    for trial in material.accounts.of_selector:
        proposal, told = trial.proposal, trial.told
        if told is None or len(proposal.tasks) > 1 or proposal.shuffled is not None:
            continue
        if key := told.outcome.evidence.get(probe):
            found[proposal.tasks[0]] = material.evidence[key]
    return found
