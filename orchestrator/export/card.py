"""The model card: README.md of an exported model, with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.verdict import lift_words, verdict
from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.budget import HOUR
from auxtune.orchestrator.study_file.paths import resolve_model
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.views.inspected import splits_line
from auxtune.trials.data.tasks import Task
from auxtune.trials.encoded import SPLITS
from auxtune.trials.model_folder import SavedModel
from auxtune.trials.model_package import is_packaged
from auxtune.trials.recipe import Recipe

UNKNOWN = "unknown"
# What a program that sorts models by what they do would call a task of each kind.
_HUB_TASKS = {
    "classification": "text-classification",
    "multi_label": "text-classification",
    "regression": "text-classification",
    "token": "token-classification",
}


@dataclass(frozen=True)
class CardData:
    """What a card tells of: ``answer`` is the study's, ``saved`` the model's auxtune.json.

    ``largest`` is the largest difference of a score once the model was loaded again, ``measured`` what the study's
    trials of the same arm came to on the test split.
    """

    study: StudyFile
    answer: Answer
    saved: SavedModel
    tasks: Mapping[str, Task]  # of the study, those trained and others
    recipe: Recipe
    name: str
    largest: float
    measured: Mapping[str, Mapping[str, float]]

    @property
    def about(self) -> Mapping[str, Any]:
        """What the export noted of the training."""
        return self.saved.about


def card(data: CardData) -> str:
    """The whole README.md."""
    parts = (_front_matter(data), *_answer(data), *_heads(data), *_cost(data), *_data(data), *_limits(data))
    return "\n".join([*parts, *_loading(data)]) + "\n"


def _front_matter(data: CardData) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    options, about = data.study.options, data.about
    hub = sorted({name for task in data.recipe.tasks if (name := options.tasks[task].hub)})
    front = ModelCardData(
        license=UNKNOWN,
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["auxtune", "multi-task-learning"],
        base_model=_hub_encoder(data.study),
        datasets=hub or None,
        metrics=sorted({metric for scores in about["test"].values() for metric in scores}),
        model_name=data.name,
        eval_results=[
            EvalResult(
                task_type=_HUB_TASKS[data.tasks[task].kind],
                dataset_type=options.tasks[task].hub or task,
                dataset_name=task,
                dataset_split="test",
                metric_type=metric,
                metric_value=round(value, 6),
            )
            for task, scores in about["test"].items()
            for metric, value in scores.items()
        ],
    )
    return f"---\n{front.to_yaml()}\n---\n"


def _answer(data: CardData) -> Iterator[str]:
    answer, about = data.answer, data.about
    yield f"# {data.name}\n"
    arm, best = about["arm"], answer.recommendation.arm
    yield f"A model of the auxtune study `{about['study']}`. It answered: {verdict(answer)}\n"
    what = "what the study's selector chose" if arm == SELECTION else f"the study's control `{arm}`"
    other = "" if arm == best else f", **not the arm that the study recommends**, which is {_arm(best)}"
    yield f"This is {what}{other}.\n"
    served = ", ".join(f"`{task}`" for task in about["serves"])
    yield f"This model is for {served}. It was trained on\n"
    by_loss = about["weighting"] == "loss"
    yield f"| task | {'factor of the loss' if by_loss else 'share of the steps'} | training rows |\n|---|---|---|"
    for task in data.recipe.tasks:
        factor, share = (data.recipe.loss_weights or {}).get(task, 1.0), about["weights"][task]
        rows = about["rows"].get(task)
        kept = f"{rows['kept']} of {rows['rows']}" if rows else f"{len(data.tasks[task].splits['train'])}"
        yield f"| {task} | {format(factor, '.2f') if by_loss else format(share, '.1%')} | {kept} |"
    best = f"of {about['steps']} steps the weights at step {about['best_step']} did best on the validation split"
    yield f"\nwith seed {about['seed']}; {best} and are these.\n"
    yield "What the study measured of its selection, on rows that its search never saw, over the seeds of its trials:\n"
    yield "| over | lift | 95 % interval | seeds |\n|---|---|---|---|"
    for control, lift in answer.lift.items():
        yield f"| {' | '.join((control, *lift_words(lift, lift.metric if lift else '')))} |"


def _heads(data: CardData) -> Iterator[str]:
    about = data.about
    yield "\n## Scores\n\nOn the test split: of this model, and the mean over the seeds of the study's trials.\n"
    yield "| task | kind | answers with | read from | this model | the study |\n|---|---|---|---|---|---|"
    for name, scores in about["test"].items():
        task = data.tasks[name]
        ours = ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items())
        means = data.measured.get(name, {})
        theirs = ", ".join(f"{metric} {value:.4f}" for metric, value in means.items()) or "–"
        yield f"| {name} | {task.kind} | {_labels(task)} | {', '.join(task.text)} | {ours} | {theirs} |"
    again = "After saving, the model was loaded again and scored on the same rows, from their texts"
    yield f"\n{again}: {_differed(data.largest)}."


def _cost(data: CardData) -> Iterator[str]:
    cost, search = data.about["cost"], data.answer.cost
    yield "\n## Cost\n\n| | trials | hours | CPU hours | GPU hours | USD |\n|---|---|---|---|---|---|"
    hours, cpu, gpu = (cost[key] / HOUR for key in ("wall_seconds", "cpu_seconds", "gpu_seconds"))
    yield f"| training this model | – | {hours:.3g} | {cpu:.3g} | {gpu:.3g} | {_money(cost['usd'])} |"
    spent = " | ".join(f"{hours:.3g}" for hours in (search.wall_hours, search.cpu_hours, search.gpu_hours))
    yield f"| the study that chose the tasks | {search.trials} | {spent} | {_money(search.usd)} |"


def _data(data: CardData) -> Iterator[str]:
    yield f"\n## Data\n\n| task | from | {', '.join(SPLITS)} rows | digest | licence |\n|---|---|---|---|---|"
    for name in data.recipe.tasks:
        task = data.tasks[name]
        rows = ", ".join(str(len(task.splits[part])) for part in SPLITS)
        yield f"| {name} | {_source(data.study, name)} | {rows} | `{task.digest[:16]}` | {UNKNOWN} |"
    yield "\nHeld-out rows, and where they are from:\n"
    yield from (f"- {name}: {splits_line(data.tasks[name].origins)}" for name in data.recipe.tasks)
    encoder = _hub_encoder(data.study)
    if data.recipe.model.name == "tiny":
        named = "`tiny`, trained from scratch"
    else:
        model = data.recipe.model.name
        named = encoder or (f"`{model}`" if is_packaged(model) else f"a folder called `{Path(model).name}`")
    yield f"\nEncoder: {named}, digest `{data.about['encoder'][:16]}`. Digests are the first 16 digits of a SHA-256."
    if drift := data.about["drift"]:
        yield f"\n**Changed since the study:** {', '.join(drift)}. Its scores are not of what this was trained on."


def _limits(data: CardData) -> Iterator[str]:
    options, others = data.recipe.model, [t for t in data.recipe.tasks if t not in data.about["serves"]]
    yield "\n## Limits\n"
    yield "- auxtune knows no licences: whether this model may be passed on depends on those of its data and encoder."
    yield "- Scores are of rows from the same sources as the training rows; of other texts they say nothing."
    yield f"- Input beyond {options.max_length} tokens is cut off."
    if others:
        yield (
            f"- It also has heads for {', '.join(others)}, which were trained beside; the weights were chosen for "
            f"{', '.join(data.recipe.evaluate)} and may not be the best for them."
        )
    if data.recipe.source_tasks:
        sources = ", ".join(data.recipe.source_tasks)
        yield f"- {sources} came first; after their heads were trained the encoder moved on."
    if options.alignment == "covariance":
        yield (
            "- Each aligned task has a matrix (`alignments/…` in heads.safetensors) that multiplies the encoder's "
            "embeddings before its first layer; transformers alone does not apply it, auxtune does."
        )
    if options.name == "tiny":
        yield (
            "- Its tokenizer is auxtune's own: words by a hash of each, without a vocabulary. No Hugging Face "
            "tokenizer can say that, so `AutoTokenizer` has nothing to load here; `AutoModel` has."
        )


def _loading(data: CardData) -> Iterator[str]:
    task = data.about["serves"][0]
    known, trusted = data.tasks[task], data.recipe.model.trust_remote_code
    example = '("One text", "another")' if known.pair else '["Some", "words"]' if known.kind == "token" else '"A text"'
    leave = ", trust_remote_code=True" if trusted else ""
    yield "\n## Use\n\nWith auxtune, in Python or as `auxtune predict` on the command line:\n"
    yield "```python\nfrom auxtune.trials import load_model\n"
    yield f'model = load_model("{data.name}"{leave})'
    yield f'for prediction in model.predict("{task}", [{example}]):'
    yield "    print(prediction.value, prediction.probabilities)\n```"
    besides = "".join(f", {key}={value}" for key, value in data.saved.automodel.items()) + leave
    yield "\nWithout auxtune, the encoder and the head of a task:\n"
    tokenizer = "" if data.recipe.model.name == "tiny" else ", AutoTokenizer"
    yield f"```python\nfrom safetensors.torch import load_file\nfrom transformers import AutoModel{tokenizer}\n"
    yield f'encoder = AutoModel.from_pretrained("{data.name}"{besides})'
    if tokenizer:
        yield f'tokenizer = AutoTokenizer.from_pretrained("{data.name}"{leave})'
    yield f'heads = load_file("{data.name}/heads.safetensors")   # "heads/{task}/linear.weight" and so on\n```'
    pooled = "of each token" if known.kind == "token" else f"by pooling `{data.saved.pooling}`"
    yield f"\nA head is a linear layer on the encoder's last hidden state, {pooled}; {_reading(known)}"


def _reading(task: Task) -> str:
    if task.kind == "regression":
        return "what it gives, times `deviation`, plus `mean`, is the value."
    if task.kind == "multi_label":
        return f"what is above 0 is a label of the row, in the order {', '.join(task.labels)}."
    return f"the largest of what it gives is the label, in the order {', '.join(task.labels)}."


def _arm(name: str) -> str:
    return "what was chosen" if name == SELECTION else f"`{name}`"


def _differed(largest: float) -> str:
    return f"no score differed by more than {largest:.2g}" if largest else "every score was the same"


def _labels(task: Task) -> str:
    shown = ", ".join(task.labels[:8])
    return f"{shown} and {len(task.labels) - 8} more" if len(task.labels) > 8 else shown or "a value"


def _source(study: StudyFile, name: str) -> str:
    """A task's rows by what others know them by: the hub's name, or the name of a file without its folder."""
    task = study.options.tasks[name]
    if task.hub:
        return "/".join(filter(None, (task.hub, task.config))) + (f" at {task.revision}" if task.revision else "")
    if task.builtin:
        return f"the built-in task `{task.builtin}`"
    paths = [task.path] if task.path else list(task.files.model_dump(exclude_none=True).values()) if task.files else []
    return ", ".join(f"`{Path(path).name}`" for path in paths)


def _hub_encoder(study: StudyFile) -> str | None:
    """The encoder's name on the hub; ``None`` for a folder, also of a Python package, and for ``tiny``."""
    encoder = resolve_model(study).name
    return None if encoder == "tiny" or is_packaged(encoder) or Path(encoder).is_absolute() else encoder


def _money(usd: float | None) -> str:
    return UNKNOWN if usd is None else f"{usd:.2f}"
