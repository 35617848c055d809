"""Encoders are built in float32 whatever type their files are in, and refused where their numbers are none."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from saved_models import ENCODERS, SPECIAL, WORDS, write_tasks
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoModel, PreTrainedTokenizerFast

from auxtune.trials import load_model
from auxtune.trials.data.tasks import load_tasks
from auxtune.trials.encoder import EncoderError, build_encoder, load_base, save_encoder
from auxtune.trials.recipe import ModelOptions, Recipe
from auxtune.trials.tokens import encode_tasks
from auxtune.trials.training import TrainingRun

FLOAT = np.dtype(np.float32)
HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}


def saved_half(folder: Path, dtype: torch.dtype, key: str = "dtype") -> ModelOptions:
    """An encoder with its tokenizer whose files are in half precision, and say so under ``key``."""
    torch.manual_seed(0)
    AutoModel.from_config(copy.deepcopy(ENCODERS["bert"])).to(dtype).save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    config[key] = config.pop("dtype")
    (folder / "config.json").write_text(json.dumps(config))
    words = models.WordLevel({word: number for number, word in enumerate((*SPECIAL, *WORDS))}, unk_token="[UNK]")
    rust = Tokenizer(words)
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=rust, unk_token="[UNK]", pad_token="[PAD]").save_pretrained(folder)
    return ModelOptions(name=str(folder), max_length=24)


@pytest.mark.parametrize("key", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("name", HALF)
def test_half_precision_files_are_trained_in_float32(tmp_path: Path, name: str, key: str) -> None:
    options = saved_half(tmp_path / "half", HALF[name], key)
    base = load_base(options)
    assert base.weights is not None
    assert {array.dtype for array in base.weights.values()} == {FLOAT}
    module = build_encoder(base, 0).module
    assert {weight.dtype for weight in module.state_dict().values()} <= {torch.float32, torch.int64}
    # No value was changed on the way.
    stored = AutoModel.from_pretrained(options.name, dtype=HALF[name]).state_dict()
    assert all(torch.equal(weight, stored[name].float()) for name, weight in module.named_parameters())


def test_what_was_trained_from_half_precision_is_saved_and_loaded_in_float32(tmp_path: Path) -> None:
    options = saved_half(tmp_path / "half", torch.float16)
    rows = load_tasks(write_tasks(tmp_path)[:1])
    tasks = encode_tasks(rows, options, tmp_path / "tokens")
    recipe = Recipe(
        tasks=("single",),
        shares={"single": 1.0},
        evaluate=("single",),
        test=("single",),
        model=options,
        steps=4,
        batch_size=8,
        evaluate_every=4,
        learning_rate=1e-3,
    )
    run = TrainingRun(recipe, tasks, load_base(options), tmp_path / "run")
    run.advance()
    run.result()
    (tmp_path / "model").mkdir()
    run.save_model(tmp_path / "model", {"single": ("said",)}, {})
    assert json.loads((tmp_path / "model" / "config.json").read_text())["dtype"] == "float32"
    assert {array.dtype for array in load_file(tmp_path / "model" / "model.safetensors").values()} == {FLOAT}
    model = load_model(tmp_path / "model", "cpu")
    with np.load(tmp_path / "run" / "predictions.npz") as trained:
        answers = model.answers("single", rows["single"].splits["test"])
        assert np.array_equal(answers.predictions, trained["single/predictions"])


def broken(folder: Path, change: Any) -> ModelOptions:
    torch.manual_seed(0)
    module = AutoModel.from_config(copy.deepcopy(ENCODERS["bert"]))
    with torch.no_grad():
        change(module)
    module.save_pretrained(folder)
    return ModelOptions(name=str(folder), max_length=24)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused_by_name(tmp_path: Path, value: float) -> None:
    options = broken(tmp_path, lambda module: module.encoder.layer[1].output.dense.weight[0, 0].fill_(value))
    with pytest.raises(EncoderError, match=r"'encoder\.layer\.1\.output\.dense\.weight' hold .* not finite"):
        load_base(options)


def test_vectors_that_are_not_finite_are_refused(tmp_path: Path) -> None:
    options = broken(tmp_path, lambda module: module.encoder.layer[0].intermediate.dense.weight.fill_(3e38))
    with pytest.raises(EncoderError, match="its vectors are not finite"):
        load_base(options)


def test_a_saved_encoder_says_float32(tmp_path: Path) -> None:
    base = load_base(saved_half(tmp_path / "half", torch.bfloat16))
    save_encoder(build_encoder(base, 0), tmp_path / "again")
    assert json.loads((tmp_path / "again" / "config.json").read_text())["dtype"] == "float32"
