"""The tasks that a proposal really trains on: of a twin the shuffled ones, and of some only the rows kept."""

from __future__ import annotations

from collections.abc import Mapping

from auxtune.selectors.kept_rows import kept_rows
from auxtune.selectors.protocol import Evidence, Proposal
from auxtune.trials.encoded import EncodedTask
from auxtune.trials.variants import shuffled, with_rows


def varied(tasks: Mapping[str, EncodedTask], proposal: Proposal, evidence: Evidence) -> dict[str, EncodedTask]:
    """The proposal's tasks. Raises what ``kept_rows`` raises where the evidence of a rule is not there."""
    chosen = {name: tasks[name] for name in proposal.tasks}
    if proposal.shuffled is not None:
        chosen = {name: shuffled(task, proposal.shuffled) for name, task in chosen.items()}
    for name, kept in proposal.rows.items():
        if name in chosen and kept.kept < kept.rows:
            chosen[name] = with_rows(chosen[name], kept_rows(kept.rule, evidence))
    return chosen
