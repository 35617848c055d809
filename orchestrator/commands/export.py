"""``auxtune export``: a study's answer as a model to take away."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from auxtune.orchestrator.commands.place import StudyPlace
from auxtune.orchestrator.storage.protocol import StoredPath

SELECTION = "selection"  # as planning.arms has it, which takes longer to import


@click.command("export", epilog="Example: auxtune export studies/quickstart --to models/mood")
@click.argument("study_dir", type=StudyPlace())
@click.option("--to", "to", required=True, type=click.Path(path_type=Path), help="The new folder.")
@click.option(
    "--arm",
    default=SELECTION,
    show_default=True,
    metavar="ARM",
    help="What to train: the selection, or a control of the study such as all_tasks.",
)
@click.option("--seed", type=click.IntRange(min=0), metavar="N", help="The training's seed; by default the study's.")
@click.option("--group", type=click.IntRange(min=1), metavar="N", help="Of groups this one alone, counted from 1.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, as in resources.gpus=0.")
@click.option("--allow-drift", is_flag=True, help="Go on although tasks, model or recipe changed; the card says so.")
@click.option("--json", "as_json", is_flag=True, help="Print one object; no lines on the way.")
def command(
    study_dir: StoredPath,
    to: Path,
    arm: str,
    seed: int | None,
    group: int | None,
    overrides: tuple[str, ...],
    allow_drift: bool,
    as_json: bool,
) -> None:
    """Train on the selection of the finished study in the folder STUDY_DIR, and save the model.

    With `--arm` it is one of the study's controls instead; where one of them is better for sure than what was chosen,
    the answer says so, and this command how to take it. The arm is trained again on this machine, by the study's
    recipe. Its best weights on the validation split are saved: the encoder and its tokenizer for `from_pretrained`, all
    heads, and a model card. Then the model is loaded again and must score the test split as it did. With `objective:
    groups` there is a folder for each group that serves a task. Ctrl-C leaves a checkpoint, and the same command
    resumes; the folder appears only when all is done. The study is left as it is: its budget and its cost are of its
    answer.
    """
    from auxtune.orchestrator.study import Study

    study = Study.from_folder(study_dir, overrides)
    exported = study.export(to, seed, group, allow_drift, _ignore_line if as_json else _print_line, arm)
    if as_json:
        content = {**asdict(exported), "folder": str(exported.folder), "models": list(exported.models)}
        click.echo(json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False))
        return
    for model in exported.models:
        _show(model)
    click.echo(f"Arm: {_describe_arm(exported.arm)}")
    if exported.recommended != exported.arm:
        best = _describe_arm(exported.recommended)
        click.echo(f"The study recommends {best}: `{_write_command(study_dir, to, exported.recommended)}` takes that")


def _write_command(study_dir: StoredPath, to: Path, arm: str) -> str:
    """The command that exports another arm, beside what is in ``to``."""
    wanted = "" if arm == SELECTION else f" --arm {arm}"
    return f"auxtune export {study_dir} --to {to}-{arm}{wanted}"


def _show(model: Mapping[str, Any]) -> None:
    for task, scores in model["test"].items():
        served = "" if task in model["serves"] else " (trained beside)"
        shown = ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items())
        click.echo(f"{task}{served}: {shown} on the test split")
    cost = model["cost"]
    money = "money unknown (no prices)" if cost["usd"] is None else f"{cost['usd']:.2f} USD"
    spent = f"{cost['wall_seconds']:.0f} s, {cost['cpu_seconds']:.0f} CPU s, {cost['gpu_seconds']:.0f} GPU s, {money}"
    click.echo(f"Training took {spent}; that is not in the study's cost")
    click.echo(f"Model: {model['folder']}")


def _describe_arm(arm: str) -> str:
    return f"the {arm}" if arm == SELECTION else f"the control {arm}"


def _print_line(line: str) -> None:
    click.echo(f"{time.strftime('%H:%M:%S')}  {line}")


def _ignore_line(line: str) -> None:
    """Print nothing."""
