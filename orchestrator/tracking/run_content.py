"""What is written to a study's runs in MLflow: names and notes, metrics (curves, final scores, costs), and datasets.

A dataset is a task's, by which runs can be searched and their data looked up. Its digest is that of the ledger's
fingerprint: of the rows that are left after all splits and drops.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.planning.budget import Price
from auxtune.orchestrator.record.accounts import Accounts, Trial, describe_unanswered
from auxtune.orchestrator.record.scores import describe_value, show_score
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import quote_path
from auxtune.orchestrator.study_file.paths import list_task_sources
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.trials.data.sources import TaskSource
from auxtune.trials.plain_json import parse_json

if TYPE_CHECKING:  # MLflow is imported by the mirror's thread
    from mlflow.entities import DatasetInput

NOTE = "mlflow.note.content"  # what MLflow's page shows as a run's description
POINTS = 200  # most points of a curve
_CONTEXT = "mlflow.data.context"
_NAMED = 3  # tasks in a name

Reason: TypeAlias = Literal["done", "interrupted", "failed"]


@dataclass(frozen=True)
class Ending:
    """``reason`` is the session's, ``done``, ``interrupted`` or ``failed``.

    ``note`` is the run's description of the ``answer`` in Markdown, empty where there is none. ``files`` are kept under
    their names, ``drawings`` (path in the run -> SVG) under theirs.
    """

    reason: Reason
    answer: Answer | None = None
    note: str = ""
    files: Sequence[StoredPath] = ()
    drawings: Mapping[str, str] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """The same in MLflow's words."""
        return {"done": "FINISHED", "interrupted": "KILLED", "failed": "FAILED"}[self.reason]


def name_trial(trial: Trial, primary: str | None) -> str:
    """Phase and number, so that sorting by name is sorting by time, and what is trained beside the primary.

    As much of it as a column has room for; the primary itself where it is alone.
    """
    tasks = [task for task in trial.proposal.tasks if task != primary] or trial.proposal.tasks
    more = [f"{len(tasks) - _NAMED} more"] if len(tasks) > _NAMED else []
    return f"{trial.phase} {trial.id:04d} {' + '.join([*tasks[:_NAMED], *more])}"


def describe_trial(trial: Trial) -> str:
    """A sentence on what is trained, with its shares where they are known beforehand."""
    proposal = trial.proposal
    if not proposal.trains:
        return f"Measures the encoder as it came, on {', '.join(proposal.tasks)}."
    if proposal.inner is not None:
        return f"Trains {', '.join(proposal.tasks)}; {proposal.inner.name} chooses among them as it goes."
    if proposal.weighting == "loss":
        count = len(proposal.shares)
        return f"Trains {', '.join(f'{task} (loss x {share * count:.2f})' for task, share in proposal.shares.items())}."
    return f"Trains {', '.join(f'{task} {share:.1%}' for task, share in proposal.shares.items())}."


def write_status_note(accounts: Accounts, folder: StoredPath, ended: Ending | None) -> str:
    """The note of a study without an answer: its status, the best trial so far, and the command to use next."""
    return "\n\n".join(_list_note_lines(accounts, folder, ended.reason if ended else "running"))


def _list_note_lines(accounts: Accounts, folder: StoredPath, state: str) -> Iterator[str]:
    if any(session.closed and session.closed.reason == "done" for session in accounts.sessions[:-1]):
        yield f"The study has gone on since its last answer, which is in `selection.json`, and is {state}."
    else:
        yield describe_unanswered(accounts, state)
    if (best := accounts.best) is not None:
        with_a = describe_value(show_score(best, accounts.search_score) or 0.0, accounts.search_score)
        yield f"Best so far: trial {best.id:04d} with a {with_a}. {describe_trial(best)}"
    command, what = ("status", "tells more") if state == "running" else ("resume", "resumes it")
    yield f"The study is in `{folder}`; `auxtune {command} {quote_path(folder)}` {what}."


def list_trained_shares(trial: Trial, tasks: Iterable[str]) -> dict[str, float]:
    """``weight/<task>`` for all ``tasks`` of the study: 0 for those that the trial does not train.

    The shares of a trial that is steered inside are known once it has been told: its rounds, by task. Until then the
    weights of its own tasks are left out. Four digits are what a column of MLflow's table has room for; the ledger has
    the shares as they were executed.
    """
    proposal, told = trial.proposal, trial.told
    own: Mapping[str, float] | None = proposal.shares if proposal.trains else {}
    if proposal.inner is not None:
        rounds = Counter(task for task, _ in told.outcome.rounds) if told else Counter()
        own = {task: rounds[task] / rounds.total() for task in proposal.tasks} if rounds else None
    known = tasks if own is not None else [task for task in tasks if task not in proposal.tasks]
    return {f"weight/{task}": float(f"{(own or {}).get(task, 0.0):.4g}") for task in known}


def read_curve(path: StoredPath, steps: int) -> list[dict[str, Any]]:
    """The evaluations of ``metrics.jsonl`` that a run of ``steps`` steps shows: every n-th where they are too many.

    Which ones depends on the distance between evaluations alone, so a file that still grows gives the first of them.
    There is room for one more point, the final score.
    """
    lines = _read_whole_lines(path)
    if not lines or lines[0]["step"] == 0:  # nothing was trained, only measured
        return lines
    evaluations = -(-steps // lines[0]["step"])
    return lines[:: -(-evaluations // (POINTS - 1))]


def _read_whole_lines(path: StoredPath) -> list[dict[str, Any]]:
    """The complete lines; the worker may be in the middle of the next."""
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        return []
    return [parse_json(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]


def list_line_metrics(line: Mapping[str, Any]) -> dict[str, float]:
    """The metrics of one evaluation. Older lines have no losses on the validation split."""
    values = {f"train/{task}/loss": loss for task, loss in line["loss"].items()}
    for task, metrics in line["validation"].items():
        values |= {f"validation/{task}/{name}": value for name, value in metrics.items()}
    values |= {f"validation/{task}/loss": loss for task, loss in line.get("validation_loss", {}).items()}
    return values | {"score": line["score"]}


def list_final_metrics(trial: Trial, price: Price) -> dict[str, float]:
    """Costs so far and, once the trial is told, its score and what it reached on the test split."""
    values = sum_cost_metrics([trial], price)
    if trial.told is None:
        return values
    for task, metrics in trial.told.test.items():
        values |= {f"test/{task}/{name}": value for name, value in metrics.items()}
    return values if trial.score is None else values | {"score": trial.score}


def sum_cost_metrics(trials: Iterable[Trial], price: Price) -> dict[str, float]:
    """``cost/*`` over every ended attempt of some trials; unknown is left out.

    Money is unknown as soon as that of one attempt is. Examples and tokens are what attempts say: one that was
    lost is charged for its time, but what it trained on is unknown. So trials always add up to their study.
    """
    costs = [cost for trial in trials for cost in trial.costs]
    values: dict[str, list[float | None]] = {
        "cost/wall_seconds": [cost.wall_seconds for cost in costs],
        "cost/gpu_seconds": [cost.gpu_seconds for cost in costs],
        "cost/cpu_seconds": [cost.cpu_seconds for cost in costs],
        "cost/examples": [cost.examples for cost in costs if cost.examples is not None],
        "cost/tokens": [cost.tokens for cost in costs if cost.tokens is not None],
        "cost/usd": [price.usd(cost) for cost in costs],
    }
    sums = {key: sum(filter(None, each)) for key, each in values.items() if each and None not in each}
    peaks = [cost.peak_gpu_bytes for cost in costs if cost.peak_gpu_bytes is not None]
    return sums | ({"cost/peak_gpu_bytes": float(max(peaks))} if peaks else {})


def list_answer_metrics(answer: Answer) -> dict[str, float]:
    """The numbers of an answer; unknown ones are left out.

    ``test/<task>/<metric>`` and, for each control, ``lift/<control>`` with the bounds of its interval; of one that
    is the same training 0 without bounds.
    """
    values = {f"test/{task}/{name}": value for task, each in answer.report.items() for name, value in each.items()}
    for control, lift in answer.lift.items():
        if lift is not None:
            ends = {f"lift/{control}/low": lift.low, f"lift/{control}/high": lift.high}
            bounds = {key: end for key, end in ends.items() if end is not None}
            values |= {f"lift/{control}": lift.mean, **bounds}
    return values


@dataclass(frozen=True)
class TaskData:
    """A task's dataset in MLflow's words: ``source`` and ``profile``, the rows of each split, are JSON."""

    name: str
    digest: str
    source_type: str
    source: str
    profile: str


def describe_datasets(
    study: StudyFile, rows: Mapping[str, Mapping[str, int]], fingerprint: Mapping[str, str]
) -> dict[str, TaskData]:
    """Task -> its dataset, with the number of rows of each split; ``fingerprint`` is that of a session."""
    found = {}
    for source in list_task_sources(study):
        kind, place = _describe_place(source)
        found[source.name] = TaskData(
            name=source.name,
            digest=fingerprint[f"tasks.{source.name}"],
            source_type=kind,
            source=json.dumps(place),
            profile=json.dumps(dict(rows[source.name])),
        )
    return found


def _describe_place(source: TaskSource) -> tuple[str, dict[str, Any]]:
    """MLflow's word for where rows come from, and the place in the form that it has for that."""
    if source.hub is not None:
        place = {"path": source.hub, "config_name": source.config, "split": source.split, "revision": source.revision}
        return "hugging_face", {key: value for key, value in place.items() if value is not None}
    if source.builtin is not None:
        return "builtin", {"builtin": source.builtin}
    if source.path is not None:
        return "local", {"uri": str(source.path)}
    files = {part: str(file) for part, file in source.files.items()}
    return "local", {"uri": files["train"], "files": files}


def build_inputs(datasets: Mapping[str, TaskData], context: str) -> list[DatasetInput]:
    """The datasets as inputs of a run, in a ``context`` such as ``training``."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    return [DatasetInput(Dataset(**asdict(each)), [InputTag(_CONTEXT, context)]) for each in datasets.values()]
