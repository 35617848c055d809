"""``auxtune show``: one trial of a study."""

from __future__ import annotations

import json

import click

from auxtune.orchestrator.commands.place import StudyPlace, complete_trials
from auxtune.orchestrator.storage.protocol import StoredPath


@click.command("show", epilog="Example: auxtune show studies/quickstart 3 --lines 50")
@click.argument("study_dir", type=StudyPlace())
@click.argument("trial", type=int, shell_complete=complete_trials)
@click.option(
    "--lines", type=click.IntRange(min=0), default=20, show_default=True, metavar="N", help="How much of its log."
)
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of lines.")
def command(study_dir: StoredPath, trial: int, lines: int, as_json: bool) -> None:
    """Show the trial number TRIAL of the study in the folder STUDY_DIR.

    What was proposed, every attempt with its end and cost, the outcome, why it failed, the end of the log of the
    attempt that counts (or of the last one), and where its files are.
    """
    from auxtune.orchestrator.record.accounts import read_accounts
    from auxtune.orchestrator.views.terminal import print_blocks
    from auxtune.orchestrator.views.trial import trial_blocks, trial_of

    folder = study_dir.resolve()
    shown = trial_of(folder, read_accounts(folder), trial, lines)
    if as_json:
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    print_blocks(trial_blocks(shown))
