"""A causal decoder is found by what it does, and read at the last token of each row; others are as they were."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from random_encoders import make_task
from saved_models import ENCODERS, SPECIAL, WORDS, write_tasks
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import (
    AutoModel,
    BertConfig,
    GPT2Config,
    LlamaConfig,
    PretrainedConfig,
    PreTrainedTokenizerFast,
    Qwen2Config,
)

from auxtune.trials import load_model
from auxtune.trials.batches import Collate
from auxtune.trials.data import IGNORED
from auxtune.trials.data.tasks import load_tasks
from auxtune.trials.encoder import build_encoder, load_base
from auxtune.trials.model import pool
from auxtune.trials.model_folder import read_model
from auxtune.trials.recipe import ModelOptions, Recipe
from auxtune.trials.tokens import encode_tasks
from auxtune.trials.training import TrainingRun

pytestmark = pytest.mark.arithmetic

SIZE = len(SPECIAL) + len(WORDS)
LLAMA: dict[str, Any] = {
    "vocab_size": SIZE,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "bos_token_id": 2,
    "eos_token_id": 3,
}
DECODERS: dict[str, PretrainedConfig] = {
    "gpt2": GPT2Config(vocab_size=SIZE, n_embd=16, n_layer=2, n_head=2, n_positions=64, bos_token_id=2, eos_token_id=3),
    "llama": LlamaConfig(**LLAMA),
    "qwen2": Qwen2Config(**LLAMA),
    "bert as a decoder": BertConfig(**{**ENCODERS["bert"].to_dict(), "is_decoder": True}),
}


def write_encoder(folder: Path, config: PretrainedConfig) -> ModelOptions:
    """A random encoder and its tokenizer, which, like GPT-2's, has no token to fill rows up with."""
    torch.manual_seed(0)
    AutoModel.from_config(copy.deepcopy(config)).save_pretrained(folder)
    words = models.WordLevel({word: number for number, word in enumerate((*SPECIAL, *WORDS))}, unk_token="[UNK]")
    rust = Tokenizer(words)
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    PreTrainedTokenizerFast(tokenizer_object=rust, unk_token="[UNK]").save_pretrained(folder)
    return ModelOptions(name=str(folder), max_length=24)


@pytest.mark.parametrize("name", DECODERS)
def test_a_decoder_is_found_by_what_it_does_and_the_user_is_told(tmp_path: Path, name: str) -> None:
    options = write_encoder(tmp_path, DECODERS[name])
    base = load_base(options)
    assert base.causal
    assert build_encoder(base, 0).reading("cls") == "last" and build_encoder(base, 0).reading("mean") == "mean"
    assert ["last token" in note for note in base.notes] == [True]
    mean = load_base(ModelOptions(name=options.name, max_length=24, pooling="mean"))
    assert mean.causal and mean.notes == ()


@pytest.mark.parametrize("name", ENCODERS)
def test_an_encoder_that_looks_both_ways_is_read_as_before(tmp_path: Path, name: str) -> None:
    base = load_base(write_encoder(tmp_path, ENCODERS[name]))
    assert not base.causal and base.notes == ()
    assert build_encoder(base, 0).reading("cls") == "cls"


@pytest.mark.parametrize("name", DECODERS)
def test_the_vector_of_a_text_depends_on_all_of_it_and_not_on_padding(tmp_path: Path, name: str) -> None:
    encoder = build_encoder(load_base(write_encoder(tmp_path, DECODERS[name])), 0).eval()
    short, long = [10, 11, 12], [10, 20, 21, 22, 23, 24]
    filled = torch.tensor([[*short, *[encoder.pad] * 3], long])
    mask = torch.tensor([[1, 1, 1, 0, 0, 0], [1] * 6])
    with torch.no_grad():
        together = pool(encoder(filled, torch.zeros_like(filled), mask), mask, encoder.reading("cls"))
        alone = [
            pool(encoder(row, torch.zeros_like(row), None), None, encoder.reading("cls"))[0]
            for row in (torch.tensor([short]), torch.tensor([long]))
        ]
        other = torch.tensor([[10, 20, 21, 22, 25, 24]])
        changed = pool(encoder(other, torch.zeros_like(other), None), None, encoder.reading("cls"))[0]
    assert torch.allclose(together, torch.stack(alone), atol=1e-5)
    assert (alone[1] - changed).abs().max() > 1e-3, "a word in the middle is seen"


@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_a_decoder_is_trained_saved_and_predicts_by_the_same_token(tmp_path: Path, pooling: Any) -> None:
    options = replace(write_encoder(tmp_path / "gpt2", DECODERS["gpt2"]), pooling=pooling)
    sources = {source.name: source for source in write_tasks(tmp_path)}
    rows = load_tasks([sources["single"], sources["tags"]])
    tasks = encode_tasks(rows, options, tmp_path / "tokens")
    recipe = Recipe(
        tasks=tuple(tasks),
        shares=dict.fromkeys(tasks, 0.5),
        cycle=dict.fromkeys(tasks, 1),
        evaluate=tuple(tasks),
        test=tuple(tasks),
        model=options,
        steps=6,
        batch_size=8,
        evaluate_every=6,
        learning_rate=1e-3,
    )
    run = TrainingRun(recipe, tasks, load_base(options), tmp_path / "run")
    run.advance()
    run.result()
    (tmp_path / "model").mkdir()
    run.save_model(tmp_path / "model", {name: task.text for name, task in rows.items()}, {})
    assert read_model(tmp_path / "model")[0].pooling == ("last" if pooling == "cls" else "mean")
    model = load_model(tmp_path / "model", "cpu")
    with np.load(tmp_path / "run" / "predictions.npz") as trained:
        for name in tasks:
            answers = model.answers(name, rows[name].splits["test"])
            assert np.array_equal(answers.predictions, trained[f"{name}/predictions"])
    one, other = (list(each.probabilities.values()) for each in model.predict("single", ["w1 w2 w3", "w1 w2 w29"]))
    assert np.abs(np.subtract(one, other)).max() > 1e-5, "texts that begin alike are told apart"


def test_what_is_read_is_part_of_what_an_encoder_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else evidence that was measured at the first token would be taken for that at the last."""
    options = write_encoder(tmp_path, DECODERS["gpt2"])
    found = load_base(options)
    monkeypatch.setattr("auxtune.trials.encoder.is_causal", lambda *arguments: False)
    assert load_base(options).digest != found.digest


def test_rows_filled_up_by_the_collate_keep_their_tokens_first() -> None:
    """Which is what the last token is found by."""
    batch = Collate(0, 40, torch.device("cpu"), 8)(make_task("token"), "train", np.arange(5))
    assert batch.mask is not None
    lengths = batch.mask.sum(1)
    assert all(batch.mask[row, :length].all() for row, length in enumerate(lengths))
    assert (batch.labels[batch.mask == 0] == IGNORED).all()
