"""The model card: README.md of an exported model, with the front matter that the Hugging Face hub reads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from auxtune.orchestrator.answer.answer import Answer
from auxtune.orchestrator.answer.verdict import describe_lift, write_verdict
from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.planning.budget import HOUR
from auxtune.orchestrator.report.blocks import Block, Listing, Paragraph, Points, Table
from auxtune.orchestrator.report.markdown import render_markdown
from auxtune.orchestrator.study_file.paths import resolve_model
from auxtune.orchestrator.study_file.reading import StudyFile
from auxtune.orchestrator.views.inspected import describe_splits
from auxtune.trials.data import SPLITS
from auxtune.trials.data.tasks import Task
from auxtune.trials.model_folder import SavedModel
from auxtune.trials.recipe import Recipe, is_packaged

UNKNOWN = "unknown"
# The name of each kind among the task names by which the Hugging Face hub sorts models.
_HUB_TASKS = {
    "classification": "text-classification",
    "multi_label": "text-classification",
    "regression": "text-classification",
    "token": "token-classification",
}


@dataclass(frozen=True)
class CardData:
    """The contents of a card: ``answer`` is the study's, ``saved`` the model's auxtune.json.

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
        """The export's notes on the training."""
        return self.saved.about


def write_card(data: CardData) -> str:
    """The whole README.md."""
    parts = (
        ("", _list_answer(data)),
        ("Scores", _list_scores(data)),
        ("Cost", _list_cost(data)),
        ("Data", _list_data(data)),
        ("Limits", [Points(tuple(_list_limits(data)))]),
        ("Use", _list_uses(data)),
    )
    sections = (render_markdown(title, blocks) for title, blocks in parts)
    return "\n\n".join([f"{_write_front_matter(data)}\n# {data.name}", *sections]) + "\n"


def _write_front_matter(data: CardData) -> str:
    from huggingface_hub import EvalResult, ModelCardData

    options, about = data.study.options, data.about
    hub = sorted({name for task in data.recipe.tasks if (name := options.tasks[task].hub)})
    front = ModelCardData(
        license=UNKNOWN,
        library_name="transformers",
        pipeline_tag="feature-extraction",
        tags=["auxtune", "multi-task-learning"],
        base_model=_find_hub_encoder(data.study),
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


def _list_answer(data: CardData) -> Iterator[Block]:
    answer, about = data.answer, data.about
    arm, best = about["arm"], answer.recommendation.arm
    yield Paragraph(f"A model of the auxtune study `{about['study']}`. It answered: {write_verdict(answer)}")
    what = "what the study's selector chose" if arm == SELECTION else f"the study's control `{arm}`"
    other = "" if arm == best else f", **not the arm that the study recommends**, which is {_name_arm(best)}"
    yield Paragraph(f"This is {what}{other}.")
    served = ", ".join(f"`{task}`" for task in about["serves"])
    yield Paragraph(f"This model is for {served}. It was trained on")
    by_loss = about["weighting"] == "loss"
    rows = []
    for task in data.recipe.tasks:
        factor, share = (data.recipe.loss_weights or {}).get(task, 1.0), about["weights"][task]
        kept = about["rows"].get(task)
        trained_on = f"{kept['kept']} of {kept['rows']}" if kept else f"{len(data.tasks[task].splits['train'])}"
        rows.append((task, format(factor, ".2f") if by_loss else format(share, ".1%"), trained_on))
    yield Table("", ("task", "factor of the loss" if by_loss else "share of the steps", "training rows"), tuple(rows))
    best_step = f"of {about['steps']} steps the weights at step {about['best_step']} did best on the validation split"
    yield Paragraph(f"with seed {about['seed']}; {best_step} and are these.")
    measured = "What the study measured of its selection, on rows that its search never saw"
    yield Paragraph(f"{measured}, over the seeds of its trials:")
    lifts = [(control, *describe_lift(lift, lift.metric if lift else "")) for control, lift in answer.lift.items()]
    yield Table("", ("over", "lift", "95 % interval", "seeds"), tuple(lifts))


def _list_scores(data: CardData) -> Iterator[Block]:
    yield Paragraph("On the test split: of this model, and the mean over the seeds of the study's trials.")
    rows = []
    for name, scores in data.about["test"].items():
        task, ours = data.tasks[name], _join_scores(scores)
        theirs = _join_scores(data.measured.get(name, {})) or "–"
        rows.append((name, task.kind, _list_labels(task), ", ".join(task.text), ours, theirs))
    yield Table("", ("task", "kind", "answers with", "read from", "this model", "the study"), tuple(rows))
    again = "After saving, the model was loaded again and scored on the same rows, from their texts"
    yield Paragraph(f"{again}: {_describe_difference(data.largest)}.")


def _join_scores(scores: Mapping[str, float]) -> str:
    return ", ".join(f"{metric} {value:.4f}" for metric, value in scores.items())


def _list_cost(data: CardData) -> Iterator[Block]:
    cost, search = data.about["cost"], data.answer.cost
    own = [cost[key] / HOUR for key in ("wall_seconds", "cpu_seconds", "gpu_seconds")]
    spent = [search.wall_hours, search.cpu_hours, search.gpu_hours]
    rows = (
        ("training this model", "–", *(f"{hours:.3g}" for hours in own), _format_money(cost["usd"])),
        (
            "the study that chose the tasks",
            str(search.trials),
            *(f"{hours:.3g}" for hours in spent),
            _format_money(search.usd),
        ),
    )
    yield Table("", ("", "trials", "hours", "CPU hours", "GPU hours", "USD"), rows)


def _list_data(data: CardData) -> Iterator[Block]:
    rows = []
    for name in data.recipe.tasks:
        task = data.tasks[name]
        counts = ", ".join(str(len(task.splits[part])) for part in SPLITS)
        rows.append((name, _name_source(data.study, name), counts, f"`{task.digest[:16]}`", UNKNOWN))
    yield Table("", ("task", "from", f"{', '.join(SPLITS)} rows", "digest", "licence"), tuple(rows))
    yield Paragraph("Held-out rows, and where they are from:")
    yield Points(tuple(f"{name}: {describe_splits(data.tasks[name].origins)}" for name in data.recipe.tasks))
    if data.recipe.model.name == "tiny":
        encoder = "`tiny`, trained from scratch"
    else:
        model = data.recipe.model.name
        folder = f"`{model}`" if is_packaged(model) else f"a folder called `{Path(model).name}`"
        encoder = _find_hub_encoder(data.study) or folder
    digest = data.about["encoder"][:16]
    yield Paragraph(f"Encoder: {encoder}, digest `{digest}`. Digests are the first 16 digits of a SHA-256.")
    if drift := data.about["drift"]:
        changed = f"**Changed since the study:** {', '.join(drift)}."
        yield Paragraph(f"{changed} Its scores are not of what this was trained on.")


def _list_limits(data: CardData) -> Iterator[str]:
    options, others = data.recipe.model, [task for task in data.recipe.tasks if task not in data.about["serves"]]
    yield "auxtune knows no licences: whether this model may be passed on depends on those of its data and encoder."
    yield "Scores are of rows from the same sources as the training rows; of other texts they say nothing."
    yield f"Input beyond {options.max_length} tokens is cut off."
    if others:
        yield (
            f"It also has heads for {', '.join(others)}, which were trained beside; the weights were chosen for "
            f"{', '.join(data.recipe.evaluate)} and may not be the best for them."
        )
    if data.recipe.source_tasks:
        sources = ", ".join(data.recipe.source_tasks)
        yield f"{sources} came first; after their heads were trained the encoder moved on."
    if options.alignment == "covariance":
        yield (
            "Each aligned task has a matrix (`alignments/…` in heads.safetensors) that multiplies the encoder's "
            "embeddings before its first layer; transformers alone does not apply it, auxtune does."
        )
    if options.name == "tiny":
        yield (
            "Its tokenizer is auxtune's own: words by a hash of each, without a vocabulary. No Hugging Face "
            "tokenizer can say that, so `AutoTokenizer` has nothing to load here; `AutoModel` has."
        )


def _list_uses(data: CardData) -> Iterator[Block]:
    task = data.about["serves"][0]
    known, trusted = data.tasks[task], data.recipe.model.trust_remote_code
    example = '("One text", "another")' if known.pair else '["Some", "words"]' if known.kind == "token" else '"A text"'
    leave = ", trust_remote_code=True" if trusted else ""
    yield Paragraph("With auxtune, in Python or as `auxtune predict` on the command line:")
    lines = [
        "from auxtune.trials import load_model",
        "",
        f'model = load_model("{data.name}"{leave})',
        f'for prediction in model.predict("{task}", [{example}]):',
        "    print(prediction.value, prediction.probabilities)",
    ]
    yield Listing("", "\n".join(lines), language="python")
    yield Paragraph("Without auxtune, the encoder and the head of a task:")
    besides = "".join(f", {key}={value}" for key, value in data.saved.automodel.items()) + leave
    has_tokenizer = data.recipe.model.name != "tiny"
    lines = [
        "from safetensors.torch import load_file",
        f"from transformers import AutoModel{', AutoTokenizer' if has_tokenizer else ''}",
        "",
        f'encoder = AutoModel.from_pretrained("{data.name}"{besides})',
        *([f'tokenizer = AutoTokenizer.from_pretrained("{data.name}"{leave})'] if has_tokenizer else []),
        f'heads = load_file("{data.name}/heads.safetensors")   # "heads/{task}/linear.weight" and so on',
    ]
    yield Listing("", "\n".join(lines), language="python")
    pooled = "of each token" if known.kind == "token" else f"by pooling `{data.saved.pooling}`"
    yield Paragraph(
        f"A head is a linear layer on the encoder's last hidden state, {pooled}; {_describe_reading(known)}"
    )


def _describe_reading(task: Task) -> str:
    if task.kind == "regression":
        return "what it gives, times `deviation`, plus `mean`, is the value."
    if task.kind == "multi_label":
        return f"what is above 0 is a label of the row, in the order {', '.join(task.labels)}."
    return f"the largest of what it gives is the label, in the order {', '.join(task.labels)}."


def _name_arm(name: str) -> str:
    return "what was chosen" if name == SELECTION else f"`{name}`"


def _describe_difference(largest: float) -> str:
    return f"no score differed by more than {largest:.2g}" if largest else "every score was the same"


def _list_labels(task: Task) -> str:
    shown = ", ".join(task.labels[:8])
    return f"{shown} and {len(task.labels) - 8} more" if len(task.labels) > 8 else shown or "a value"


def _name_source(study: StudyFile, name: str) -> str:
    """A task's rows by what others know them by: the hub's name, or the name of a file without its folder."""
    task = study.options.tasks[name]
    if task.hub:
        return "/".join(filter(None, (task.hub, task.config))) + (f" at {task.revision}" if task.revision else "")
    if task.builtin:
        return f"the built-in task `{task.builtin}`"
    paths = [task.path] if task.path else list(task.files.model_dump(exclude_none=True).values()) if task.files else []
    return ", ".join(f"`{Path(path).name}`" for path in paths)


def _find_hub_encoder(study: StudyFile) -> str | None:
    """The encoder's name on the hub; ``None`` for a folder, also of a Python package, and for ``tiny``."""
    encoder = resolve_model(study).name
    return None if encoder == "tiny" or is_packaged(encoder) or Path(encoder).is_absolute() else encoder


def _format_money(usd: float | None) -> str:
    return UNKNOWN if usd is None else f"{usd:.2f}"
