"""A task of every kind over thirty words, encoders to read them, and models of both that were trained and saved."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from tokenizers import Tokenizer, models, pre_tokenizers, processors
from transformers import AutoModel, BertConfig, DistilBertConfig, PreTrainedTokenizerFast

from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import Task, load_tasks
from auxtune.trials.encoder import load_base
from auxtune.trials.recipe import ModelOptions, Recipe
from auxtune.trials.tokens import encode_tasks
from auxtune.trials.training import TrainingRun

ROWS = 240
WORDS = [f"w{number}" for number in range(30)]
SPECIAL = ("[PAD]", "[UNK]", "[CLS]", "[SEP]")
SMALL: dict[str, Any] = {"vocab_size": len(WORDS) + len(SPECIAL), "max_position_embeddings": 24}
ENCODERS = {
    "bert": BertConfig(hidden_size=16, num_hidden_layers=2, num_attention_heads=2, intermediate_size=24, **SMALL),
    "distilbert": DistilBertConfig(dim=16, n_layers=2, n_heads=2, hidden_dim=24, **SMALL),
}


@dataclass(frozen=True)
class Saved:
    """A model folder, the tasks it was trained on, and the run's own predictions on their test rows."""

    folder: Path
    tasks: dict[str, Task]
    predictions: Path


def write_tasks(folder: Path) -> list[TaskSource]:
    """Single sentences, pairs, values, tags of words, and sets of labels, each in its file."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(0)
    rows: dict[str, list[dict[str, Any]]] = {name: [] for name in ("single", "pair", "value", "tags", "sets")}
    for _ in range(ROWS):
        words, other = rng.integers(30, size=int(rng.integers(3, 9))), rng.integers(30, size=4)
        said, heard = (" ".join(f"w{word}" for word in each) for each in (words, other))
        flags = {"low": int((words < 4).any()), "high": int((words > 25).any())}
        rows["single"].append({"said": said, "label": "few" if words.mean() < 15 else "many"})
        rows["pair"].append({"a": said, "b": heard, "label": "a" if words.mean() > other.mean() else "b"})
        rows["value"].append({"said": said, "label": float(words.mean())})
        rows["tags"].append({"tokens": said.split(), "tags": ["lo" if word < 15 else "hi" for word in words]})
        rows["sets"].append({"said": said, **flags})
    for name, each in rows.items():
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in each))
    return [
        TaskSource("single", folder / "single.jsonl", text=("said",), label="label"),
        TaskSource("pair", folder / "pair.jsonl", text=("a", "b"), label="label"),
        TaskSource("value", folder / "value.jsonl", text=("said",), label="label", kind="regression"),
        TaskSource("tags", folder / "tags.jsonl", tokens="tokens", tags="tags"),
        TaskSource("sets", folder / "sets.jsonl", text=("said",), label=("low", "high")),
    ]


def write_encoder(folder: Path, family: str) -> str:
    """A small random encoder of a family and a tokenizer of whole words, as ``from_pretrained`` wants them."""
    torch.manual_seed(0)
    AutoModel.from_config(ENCODERS[family]).save_pretrained(folder)
    tokenizer = Tokenizer(models.WordLevel({word: i for i, word in enumerate((*SPECIAL, *WORDS))}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.BertProcessing(("[SEP]", 3), ("[CLS]", 2))
    fast = PreTrainedTokenizerFast(tokenizer_object=tokenizer, unk_token="[UNK]", pad_token="[PAD]")
    fast.save_pretrained(folder)
    return str(folder)


def give_own_code(folder: Path) -> None:
    """Turn the encoder in ``folder`` into one that needs a Python file beside it."""
    (folder / "own.py").write_text(
        "from transformers import BertConfig, BertModel\n"
        "class OwnConfig(BertConfig):\n    model_type = 'own'\n"
        "class OwnModel(BertModel):\n    config_class = OwnConfig\n"
    )
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": names}))


def save_trained(
    home: Path,
    family: str,
    alignment: Literal["none", "covariance"] = "none",
    pooling: Literal["cls", "mean"] = "mean",
    own_code: bool = False,
) -> Saved:
    """Train all tasks together for a few steps under an encoder of ``family``, or ``tiny``, and save the model."""
    tasks = load_tasks(write_tasks(home / "tasks"))
    encoder = "tiny" if family == "tiny" else write_encoder(home / "encoder", family)
    if own_code:
        give_own_code(home / "encoder")
    options = ModelOptions(
        name=encoder, max_length=16, pooling=pooling, alignment=alignment, trust_remote_code=own_code
    )
    recipe = Recipe(
        tasks=tuple(tasks),
        shares=dict.fromkeys(tasks, 1 / len(tasks)),
        cycle=dict.fromkeys(tasks, 1),
        evaluate=("pair",),
        test=tuple(tasks),
        model=options,
        steps=150,
        batch_size=8,
        learning_rate=4e-3,
        evaluate_every=50,
    )
    run = TrainingRun(recipe, encode_tasks(tasks, options, home / "tokens"), load_base(options), home / "run")
    while not run.finished:
        run.advance()
    run.result()
    (home / "model").mkdir()
    run.save_model(home / "model", {name: task.text for name, task in tasks.items()}, {"made": "for a test"})
    return Saved(home / "model", tasks, home / "run" / "predictions.npz")


def inputs_of(task: Task, part: str = "test") -> Iterator[Any]:
    """The inputs of a split as ``predict`` takes them."""
    rows = task.splits[part]
    yield from rows.first if rows.second is None else zip(rows.first, rows.second, strict=True)
