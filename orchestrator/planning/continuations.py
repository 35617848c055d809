"""Where a continued training's weights are: what a trial starts from, and what nothing will start from any more."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from auxtune.orchestrator.record.accounts import Accounts, Trial
from auxtune.orchestrator.record.results import weights_folder


def start_of(folder: Path, accounts: Accounts, trial: Trial) -> Path | None:
    """The weights of another trial that ``trial`` begins with, if it continues one.

    ``folder`` is the study's.
    """
    continued = trial.proposal.continuation
    if continued is None or continued.start is None:
        return None
    former = accounts.of_selector[continued.start]
    return weights_folder(folder, former.id, len(former.attempts))


def useless_weights(folder: Path, accounts: Accounts, held: Collection[int]) -> list[Path]:
    """Weights on disk of ended trials, but for those of the attempts that count of the trials in ``held``."""
    left = [
        weights_folder(folder, trial.id, attempt.number)
        for trial in accounts.trials.values()
        for attempt in trial.attempts
        if trial.proposal.continuation is not None
        and trial.told is not None
        and not (trial.id in held and attempt.number == trial.told.attempt)
    ]
    return [path for path in left if path.exists()]
