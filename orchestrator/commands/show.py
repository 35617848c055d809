"""``auxtune show``: one trial of a study."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click

from auxtune.orchestrator.commands import completing
from auxtune.orchestrator.commands.place import StudyPlace
from auxtune.orchestrator.commands.saying import say
from auxtune.orchestrator.record.scores import named_value


@click.command("show", epilog="Example: auxtune show studies/quickstart 3 --lines 50")
@click.argument("study_dir", type=StudyPlace())
@click.argument("trial", type=int, shell_complete=completing.trials)
@click.option(
    "--lines", type=click.IntRange(min=0), default=20, show_default=True, metavar="N", help="How much of its log."
)
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of lines.")
def command(study_dir: Path, trial: int, lines: int, as_json: bool) -> None:
    """Show the trial number TRIAL of the study in the folder STUDY_DIR.

    What was proposed, every attempt with its end and cost, the outcome, why it failed, the end of the log of the
    attempt that counts (or of the last one), and where its files are.
    """
    from auxtune.orchestrator.record.accounts import read_accounts
    from auxtune.orchestrator.views.trial import trial_of

    folder = study_dir.resolve()
    shown = trial_of(folder, read_accounts(folder), trial, lines)
    if as_json:
        click.echo(json.dumps(shown, indent=2, ensure_ascii=False))
        return
    _proposal(shown)
    for attempt in shown["attempts"]:
        _attempt(attempt)
    _outcome(shown)
    if shown["log"]:
        click.echo("the end of its log:")
        click.echo("\n".join(f"  {line}" for line in shown["log"]))


def _proposal(shown: dict[str, Any]) -> None:
    proposal = shown["proposal"]
    shares, inner = proposal["weights"] or {}, proposal["inner"]
    tasks = " + ".join(f"{task} {shares[task]:.1%}" if task in shares else task for task in proposal["tasks"])
    stage = f" of stage {shown['stage']}" if shown["stage"] else ""
    say(f"{shown['study']}, trial {shown['trial']:04d}: {shown['phase']}{stage}, {shown['status']}")
    say(f"proposed {_clock(shown['proposed'])}: {tasks}, by {proposal['weighting']}, seed {proposal['seed']}")
    if inner:
        rounds = f"{inner['rounds']} rounds of {inner['round_steps']} steps"
        say(f"steered inside by {_options(inner['name'], inner['options'])}, seed {inner['seed']}, {rounds}")
    if proposal["continuation"]:
        start = shown["goes_on_from"]
        begin = "the pretrained encoder" if start is None else f"the last weights of trial {start:04d}"
        say(f"goes on from {begin} for {proposal['continuation']['steps']} steps")
    if proposal["measure"]:
        say(f"measures {', '.join(_options(each['probe'], each['options']) for each in proposal['measure'])}")
    for task, kept in proposal["rows"].items():
        say(f"trains on {kept['kept']} of {kept['rows']} rows of {task}")


def _options(name: str, options: dict[str, Any]) -> str:
    given = ", ".join(f"{key} {value}" for key, value in options.items())
    return f"{name} ({given})" if given else name


def _attempt(attempt: dict[str, Any]) -> None:
    begin = f"attempt {attempt['attempt']}: started {_clock(attempt['started'])}"
    former = f" from the checkpoint of attempt {attempt['resume_from']}" if attempt["resume_from"] else ""
    ended = f", ended {_clock(attempt['ended'])}" if attempt["ended"] else ""
    say(f"{begin}{former}{ended}: {attempt['end']}{_cost(attempt['cost'])}")
    say(f"  {attempt['folder']}: {', '.join(attempt['files']) or 'no files'}")


def _cost(cost: dict[str, Any] | None) -> str:
    if cost is None:
        return ""
    return f"; {cost['wall_seconds']:.1f} s, {cost['cpu_seconds']:.1f} CPU s, {cost['gpu_seconds']:.1f} GPU s"


def _outcome(shown: dict[str, Any]) -> None:
    outcome = shown["outcome"]
    if shown["reused_from"]:
        say(f"nothing was trained: measured before, by {shown['reused_from']}")
    if shown["value"] is not None:
        say(f"{named_value(shown['value'], shown['search_score'])} on the validation split")
    splits = (("validation", outcome["metrics"] if outcome else {}), ("test", shown["test"]))
    for split, tasks in splits:
        for task, metrics in tasks.items():
            say(f"  {split} {task}: " + ", ".join(f"{name} {value:.4f}" for name, value in metrics.items()))
    for text in (shown["message"], shown["traceback"]):
        if text:
            click.echo(text.rstrip())


def _clock(moment: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(moment))
