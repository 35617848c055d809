"""Small random encoders of every family whose attention heads can be found, each with a task of five rows."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import torch
from synthetic_tasks import RECIPE
from torch import nn
from transformers import (
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    PretrainedConfig,
    RobertaConfig,
)

from auxtune.trials.batches import Collate
from auxtune.trials.data import IGNORED, Kind
from auxtune.trials.encoder import BaseEncoder, build_encoder
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.probes.probe import Subject
from auxtune.trials.tokens import EncodedSplit, EncodedTask

HEADS, LAYERS, WIDTH = 4, 2, 16
# Weights large enough that heads attend to different tokens.
SIZES: dict[str, Any] = {
    "vocab_size": 50,
    "hidden_size": WIDTH,
    "num_hidden_layers": LAYERS,
    "num_attention_heads": HEADS,
    "intermediate_size": 24,
    "initializer_range": 0.4,
}
# As in DeBERTa v3: keys and queries are made of the relative positions too.
RELATIVE = {
    "max_position_embeddings": 40,
    "type_vocab_size": 0,
    "pad_token_id": 0,
    "relative_attention": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_buckets": 8,
    "norm_rel_ebd": "layer_norm",
}
CONFIGS = {
    "bert": BertConfig(**SIZES, max_position_embeddings=40),
    "roberta": RobertaConfig(**SIZES, max_position_embeddings=42, type_vocab_size=1),
    "distilbert": DistilBertConfig(
        vocab_size=50,
        dim=WIDTH,
        n_layers=LAYERS,
        n_heads=HEADS,
        hidden_dim=24,
        initializer_range=0.4,
        max_position_embeddings=40,
    ),
    "electra": ElectraConfig(**SIZES, embedding_size=8, max_position_embeddings=40),
    "mpnet": MPNetConfig(**SIZES, max_position_embeddings=42),
    "deberta": DebertaV2Config(**SIZES, **RELATIVE, share_att_key=True),
    "deberta apart": DebertaV2Config(**SIZES, **RELATIVE, share_att_key=False),
    "modernbert": ModernBertConfig(**SIZES, max_position_embeddings=40, pad_token_id=0, local_attention=4),
}
# Where transformers keeps a layer's key, value and output projection.
OF_BERT = (
    "encoder.layer.{}.attention.self.key",
    "encoder.layer.{}.attention.self.value",
    "encoder.layer.{}.attention.output.dense",
)
OF_DEBERTA = (OF_BERT[0] + "_proj", OF_BERT[1] + "_proj", OF_BERT[2])
NAMES = {
    "bert": OF_BERT,
    "roberta": OF_BERT,
    "distilbert": tuple(f"transformer.layer.{{}}.attention.{name}_lin" for name in ("k", "v", "out")),
    "electra": OF_BERT,
    "mpnet": tuple(f"encoder.layer.{{}}.attention.attn.{name}" for name in "kvo"),
    "deberta": OF_DEBERTA,
    "deberta apart": OF_DEBERTA,
    "modernbert": ("layers.{}.attn.Wqkv", "layers.{}.attn.Wqkv", "layers.{}.attn.Wo"),
}
LENGTHS = (4, 11, 7, 11, 5)
KINDS: tuple[Kind, ...] = ("classification", "regression", "token", "multi_label")


def make_task(kind: Kind) -> EncodedTask:
    """Five rows of four lengths; in the token task the fourth has no scored token."""
    rng = np.random.default_rng(3)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    tokens = rng.integers(5, 50, offsets[-1]).astype(np.int32)
    tags = np.where(tokens % 3 == 0, IGNORED, tokens % 4).astype(np.int64)
    tags[offsets[3] : offsets[4]] = IGNORED
    labels: dict[Kind, np.ndarray] = {
        "classification": np.array([0, 3, 2, 1, 0]),
        "regression": np.array([0.5, 3.0, 5.0, 1.0, 2.5], np.float32),
        "token": tags,
        "multi_label": rng.integers(0, 2, (len(LENGTHS), 4)).astype(np.uint8),
    }
    split = EncodedSplit(tokens, np.zeros(len(tokens), np.uint8), offsets, labels[kind])
    names = () if kind == "regression" else tuple("abcd")
    return EncodedTask("one", kind, names, ("accuracy",), dict.fromkeys(("train", "probe"), split), "one")


def base_of(config: PretrainedConfig) -> BaseEncoder:
    return BaseEncoder(json.loads(config.to_json_string(use_diff=False)), None, "random")


def make_subject(family: str = "bert", kind: Kind = "classification", dtype: torch.dtype = torch.float64) -> Subject:
    base, task = base_of(CONFIGS[family]), make_task(kind)
    model = MultiTaskModel(build_encoder(base, 1), [task], "mean", seed=0).to(dtype).eval()
    model.head(task.name).linear.weight.data.normal_(generator=torch.Generator().manual_seed(2))
    collate = Collate(model.encoder.pad, 40, torch.device("cpu"))
    return Subject(model, {"one": task}, collate, base, RECIPE)


def named(subject: Subject, family: str, which: int) -> list[nn.Linear]:
    return [subject.model.encoder.module.get_submodule(NAMES[family][which].format(i)) for i in range(LAYERS)]
