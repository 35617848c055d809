"""A trained model as a folder that others can use: its content, how it is written and how it is read.

    config.json, model.safetensors     the encoder, as ``AutoModel.from_pretrained`` expects it
    tokenizer.json, …                  its tokenizer, as ``AutoTokenizer.from_pretrained`` expects it; none for ``tiny``
    heads.safetensors                  each task's head and, if it is aligned, its matrix
    auxtune.json                       tasks with kind, labels, metrics and columns, pooling; SHA-256 of the other files

auxtune.json is written last, so a folder that has it is whole. Nothing is pickled. ``name: tiny`` reads words by a
hash of each and has no vocabulary, which no file of a Hugging Face tokenizer can express.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any, Literal, get_args

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from auxtune.trials.data import Kind
from auxtune.trials.durable import sync, write_durably
from auxtune.trials.encoder import save_encoder
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.plain_json import parse_json
from auxtune.trials.pretrained_tokenizer import save_tokenizer
from auxtune.trials.recipe import LONGEST_INPUT, ModelOptions, Pooling, Precision, Recipe
from auxtune.trials.tokens import EncodedTask

ABOUT, HEADS = "auxtune.json", "heads.safetensors"
FORMAT = 1


class ModelFolderError(ValueError):
    """The folder holds no model that can be used."""


@dataclass(frozen=True)
class SavedTask:
    """The answers of a saved head, and the columns that held the input in its training rows.

    ``labels`` are the classes, tags or labels in the order of their ids, empty for regression. ``aligned``: the task
    has a matrix that multiplies the encoder's embeddings. The weights are those that did best on the tasks that are
    ``served``; the others were trained alongside them.
    """

    kind: Kind
    labels: tuple[str, ...]
    metrics: tuple[str, ...]
    text: tuple[str, ...]
    aligned: bool
    served: bool


@dataclass(frozen=True)
class SavedModel:
    """The content of auxtune.json. ``about`` says, for people and programs, where the model comes from."""

    tasks: Mapping[str, SavedTask]
    tokenizer: Literal["pretrained", "hashed words"]
    pooling: Pooling
    max_length: int
    precision: Precision
    own_code: bool  # the encoder needs Python code that comes with it
    automodel: Mapping[str, bool]  # arguments of AutoModel.from_pretrained besides the folder
    auxtune: str
    files: Mapping[str, str]  # name -> SHA-256
    about: Mapping[str, Any] = field(default_factory=dict)
    format: int = FORMAT


def save_model(
    folder: Path,
    model: MultiTaskModel,
    tasks: Mapping[str, EncodedTask],
    recipe: Recipe,
    columns: Mapping[str, tuple[str, ...]],
    own_code: bool,
    about: Mapping[str, Any],
) -> SavedModel:
    """Write ``model``, trained by ``recipe``, into the empty ``folder``. ``columns`` are each task's text columns.

    Raises ``OSError`` if it cannot be written, and ``DataError`` if the encoder's tokenizer can no longer be loaded.
    """
    options = recipe.model
    automodel = save_encoder(model.encoder, folder)
    if options.name != "tiny":
        save_tokenizer(options, folder, model.encoder.segments)
    _save_heads(model, folder)
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in files:
        path.chmod((folder / "config.json").stat().st_mode)  # safetensors writes files that only their owner can read
        sync(path)
    saved = SavedModel(
        tasks={name: _describe_task(task, tuple(columns[name]), model, recipe) for name, task in tasks.items()},
        tokenizer="hashed words" if options.name == "tiny" else "pretrained",
        pooling=model.encoder.reading(options.pooling),
        max_length=options.max_length,
        precision=recipe.precision,
        own_code=own_code,
        automodel=automodel,
        auxtune=version("auxtune"),
        files={path.name: _hash_file(path) for path in files},
        about=about,
    )
    text = json.dumps(asdict(saved), indent=2, ensure_ascii=False, allow_nan=False) + "\n"
    write_durably(folder / ABOUT, lambda file: file.write(text.encode()))
    return saved


def _save_heads(model: MultiTaskModel, folder: Path) -> None:
    state = model.state_dict()
    own = {
        stored: state[name].cpu().contiguous()
        for name, stored in model.stored_names().items()
        if not name.startswith("encoder.")
    }
    save_file(own, folder / HEADS, metadata={"format": "pt"})


def _describe_task(task: EncodedTask, text: tuple[str, ...], model: MultiTaskModel, recipe: Recipe) -> SavedTask:
    is_aligned = model.alignment(task.name) is not None
    return SavedTask(task.kind, task.labels, task.metrics, text, is_aligned, task.name in recipe.evaluate)


def read_model(folder: Path) -> tuple[SavedModel, dict[str, torch.Tensor]]:
    """The description of the model in ``folder``, and its heads by stored name, after checking every file's SHA-256.

    Raises ``ModelFolderError``.
    """
    path = folder / ABOUT
    if not path.is_file():
        inner = sorted(each.parent.name for each in folder.glob(f"*/{ABOUT}")) if folder.is_dir() else []
        hint = f"; its models are in {', '.join(inner)}" if inner else ""
        raise ModelFolderError(f"{folder}: expected a folder that `auxtune export` wrote, found no {ABOUT} in it{hint}")
    saved = _parse_about(path)
    for name, digest in saved.files.items():
        file = folder / name
        if not file.is_file():
            raise ModelFolderError(f"{file}: there is no such file; restore it from a copy, or export the model again")
        if _hash_file(file) != digest:
            raise ModelFolderError(
                f"{file}: its content is not what {ABOUT} says (SHA-256); restore it from a copy, "
                "or export the model again"
            )
    try:
        return saved, load_file(folder / HEADS)
    except (OSError, SafetensorError) as error:
        raise ModelFolderError(f"{folder / HEADS}: cannot be read: {error}; export the model again") from error


def restore_options(saved: SavedModel, folder: Path, trust_remote_code: bool) -> ModelOptions:
    """The encoder in ``folder`` as training would name it."""
    aligned = any(task.aligned for task in saved.tasks.values())
    return ModelOptions(
        name=str(folder.resolve()),
        max_length=saved.max_length,
        pooling="mean" if saved.pooling == "mean" else "cls",
        trust_remote_code=trust_remote_code,
        alignment="covariance" if aligned else "none",
    )


def _parse_about(path: Path) -> SavedModel:
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict) or "format" not in content:
            raise ValueError("it has no `format`")
        if content["format"] != FORMAT:
            raise ModelFolderError(
                f"{path}: expected format {FORMAT}, found {content['format']!r}; use the version of "
                f"auxtune that wrote it ({content.get('auxtune', 'unknown')}) or a newer one"
            )
        length = content["max_length"]
        if not isinstance(length, int) or not 1 <= length <= LONGEST_INPUT:
            raise ValueError(f"max_length: expected a whole number of at most {LONGEST_INPUT}, found {length!r:.40}")
        tasks = {name: _parse_task(task) for name, task in content.pop("tasks").items()}
        return SavedModel(tasks=tasks, **content)
    except ModelFolderError:
        raise
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise ModelFolderError(f"{path}: not what `auxtune export` wrote: {error}; export the model again") from error


def _parse_task(content: Mapping[str, Any]) -> SavedTask:
    if content["kind"] not in get_args(Kind):
        raise ValueError(f"expected one of the kinds {', '.join(get_args(Kind))}, found {content['kind']!r}")
    lists = {key: tuple(content[key]) for key in ("labels", "metrics", "text")}
    return SavedTask(**{**content, **lists})


def _hash_file(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
