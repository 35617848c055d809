"""Encoders of several families load, travel, keep their first layers, and do not see padding."""

from __future__ import annotations

import dataclasses
import json
import sys
import warnings
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file
from transformers import (
    AutoModel,
    BertConfig,
    DebertaV2Config,
    DistilBertConfig,
    ElectraConfig,
    ModernBertConfig,
    MPNetConfig,
    RobertaConfig,
    T5Config,
    dynamic_module_utils,
)

from auxtune.trials.batches import Collate
from auxtune.trials.data import IGNORED, SPLITS, Kind
from auxtune.trials.encoder import BaseEncoder, EncoderError, build_encoder, load_base
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.recipe import ModelOptions, Recipe
from auxtune.trials.result import Result
from auxtune.trials.tokens import EncodedSplit, EncodedTask
from auxtune.trials.training import TrainingRun

pytestmark = pytest.mark.arithmetic

SIZES = {"vocab_size": 50, "hidden_size": 16, "num_hidden_layers": 3, "num_attention_heads": 2, "intermediate_size": 32}
FAMILIES = {
    "bert": BertConfig(**SIZES, max_position_embeddings=40),
    "roberta": RobertaConfig(**SIZES, max_position_embeddings=42, type_vocab_size=1),
    "distilbert": DistilBertConfig(
        vocab_size=50, dim=16, n_layers=3, n_heads=2, hidden_dim=32, max_position_embeddings=40
    ),
    "electra": ElectraConfig(**SIZES, embedding_size=8, max_position_embeddings=40),
    "mpnet": MPNetConfig(**SIZES, max_position_embeddings=42),
    "deberta": DebertaV2Config(**SIZES, max_position_embeddings=40, type_vocab_size=0, pad_token_id=0),
    "modernbert": ModernBertConfig(**SIZES, max_position_embeddings=40, pad_token_id=0, local_attention=4),
}
LENGTHS = (3, 9, 5, 9)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A folder per family, as from_pretrained wants it."""
    torch.manual_seed(0)
    found = {}
    for name, config in FAMILIES.items():
        found[name] = tmp_path_factory.mktemp(name)
        AutoModel.from_config(config).save_pretrained(found[name])
    return found


def options(folder: Path, **changes: Any) -> ModelOptions:
    return dataclasses.replace(ModelOptions(name=str(folder), max_length=40), **changes)


def make_task(kind: Kind) -> EncodedTask:
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(LENGTHS)])
    tokens = rng.integers(5, 50, offsets[-1]).astype(np.int32)
    segments = (np.arange(len(tokens)) % 3 == 0).astype(np.uint8)
    labels = {
        "classification": np.array([0, 1, 2, 1]),
        "regression": np.array([0.5, 3.0, 5.0, 1.0], np.float32),
        "token": np.where(tokens % 4 == 0, IGNORED, tokens % 3).astype(np.int64),
    }[kind]
    metric = "spearman" if kind == "regression" else "accuracy"
    names = () if kind == "regression" else ("a", "b", "c")
    split = EncodedSplit(tokens, segments, offsets, labels)
    return EncodedTask(kind, kind, names, (metric,), dict.fromkeys(SPLITS, split), kind)


TASKS = {kind: make_task(kind) for kind in ("classification", "regression", "token")}


def three_steps(base: BaseEncoder, model: ModelOptions, folder: Path) -> Result:
    """The report of one optimisation step on a task of each kind."""
    recipe = Recipe(
        tasks=tuple(TASKS),
        shares=dict.fromkeys(TASKS, 1 / 3),
        cycle=dict.fromkeys(TASKS, 1),
        evaluate=tuple(TASKS),
        test=tuple(TASKS),
        model=model,
        steps=3,
        batch_size=4,
    )
    run = TrainingRun(recipe, TASKS, base, folder)
    run.advance()
    return run.result()


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("pooling", ["cls", "mean"])
def test_padding_changes_no_output(folders: dict[str, Path], family: str, pooling: Literal["cls", "mean"]) -> None:
    base = load_base(options(folders[family]))
    model = MultiTaskModel(build_encoder(base, 0), list(TASKS.values()), pooling, seed=0).eval()
    collate = Collate(model.encoder.pad, 40, torch.device("cpu"))
    for name, task in TASKS.items():
        together = collate(task, "train", np.arange(4))
        assert together.mask is not None
        with torch.no_grad():
            outputs = model(name, together)
            for row, length in enumerate(LENGTHS):
                alone = model(name, collate(task, "train", np.array([row])))[0]
                among = outputs[row, :length] if task.kind == "token" else outputs[row]
                torch.testing.assert_close(among, alone, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_every_family_trains_all_kinds_of_tasks(folders: dict[str, Path], family: str, tmp_path: Path) -> None:
    model = options(folders[family], pooling="mean")
    report = three_steps(load_base(model), model, tmp_path)
    assert report.score is not None
    assert set(report.test) == set(TASKS)


@pytest.mark.parametrize("family", FAMILIES)
def test_a_base_builds_the_encoder_that_was_saved(folders: dict[str, Path], family: str) -> None:
    saved = AutoModel.from_pretrained(folders[family]).eval()
    built = build_encoder(load_base(options(folders[family])), seed=1).eval()
    tokens = torch.arange(5, 17).view(2, 6)
    with torch.no_grad():
        hidden = built(tokens, torch.zeros_like(tokens), None)
        torch.testing.assert_close(hidden, saved(input_ids=tokens)[0], atol=0, rtol=0)


@pytest.mark.parametrize("family", FAMILIES)
def test_keeping_the_first_layers_gives_their_hidden_states(folders: dict[str, Path], family: str) -> None:
    whole = build_encoder(load_base(options(folders[family])), 0).eval()
    base = load_base(options(folders[family], layers=2))
    short = build_encoder(base, 0).eval()
    states = []
    for name, module in whole.module.named_modules():
        if name.endswith(("layer.1", "layers.1")):
            module.register_forward_hook(lambda _, __, output: states.append(output))
    tokens = torch.arange(5, 17).view(2, 6)
    with torch.no_grad():
        whole(tokens, torch.zeros_like(tokens), None)
        hidden = short(tokens, torch.zeros_like(tokens), None)
    expected = states[0][0] if isinstance(states[0], tuple) else states[0]
    if family == "modernbert":
        expected = whole.module.final_norm(expected)
    torch.testing.assert_close(hidden, expected.view_as(hidden), atol=1e-6, rtol=1e-5)
    assert base.digest != load_base(options(folders[family])).digest


def test_segments_reach_only_encoders_that_know_them(folders: dict[str, Path]) -> None:
    tokens = torch.arange(5, 11).view(1, 6)
    changes = {}
    for family in FAMILIES:
        encoder = build_encoder(load_base(options(folders[family])), 0).eval()
        with torch.no_grad():
            first, second = (encoder(tokens, torch.full_like(tokens, segment), None) for segment in (0, 1))
        changes[family] = not torch.equal(first, second)
    assert [family for family, changed in changes.items() if changed] == ["bert", "electra"]


def test_the_digest_is_of_content_and_not_of_the_path(folders: dict[str, Path], tmp_path: Path) -> None:
    copy = tmp_path / "elsewhere"
    copy.mkdir()
    for file in folders["bert"].iterdir():
        (copy / file.name).write_bytes(file.read_bytes())
    digest = load_base(options(folders["bert"])).digest
    assert load_base(options(copy)).digest == digest
    weights = load_file(copy / "model.safetensors")
    weights["embeddings.word_embeddings.weight"][7, 3] += 1
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    assert load_base(options(copy)).digest != digest


@pytest.mark.parametrize("options", [{}, {"layers": 1}, {"max_length": 4096}, {"alignment": "covariance"}])
def test_tiny_is_what_a_try_of_it_comes_to(options: dict[str, Any], monkeypatch: pytest.MonkeyPatch) -> None:
    untried = load_base(ModelOptions(**options))
    monkeypatch.setattr("auxtune.trials.encoder._SURE", 0)
    assert load_base(ModelOptions(**options)) == untried


def test_tiny_is_drawn_from_the_seed_alone() -> None:
    base = load_base(ModelOptions(max_length=40))
    assert base.weights is None
    torch.manual_seed(1)
    first = build_encoder(base, seed=5).state_dict()
    torch.manual_seed(2)
    before = torch.get_rng_state()
    again = build_encoder(base, seed=5).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    other = build_encoder(base, seed=6).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    name = "module.embeddings.word_embeddings.weight"
    assert not torch.equal(first[name], other[name])


def test_a_head_starts_the_same_whatever_it_is_trained_with() -> None:
    encoder = build_encoder(load_base(ModelOptions()), 0)
    alone = MultiTaskModel(encoder, [TASKS["token"]], "cls", seed=4).head("token").state_dict()
    among = MultiTaskModel(encoder, list(TASKS.values()), "cls", seed=4).head("token").state_dict()
    assert all(torch.equal(alone[name], among[name]) for name in alone)


def test_read_only_arrays_as_an_object_store_gives_them_will_do(folders: dict[str, Path], tmp_path: Path) -> None:
    model = options(folders["bert"])
    base = load_base(model)
    for array in base.weights.values():
        array.flags.writeable = False
    for task in TASKS.values():
        for array in vars(task.splits["train"]).values():
            array.flags.writeable = False
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        three_steps(base, model, tmp_path)


def test_a_model_with_its_own_code_needs_leave(
    folders: dict[str, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    folder = tmp_path / "own"
    folder.mkdir()
    for file in folders["bert"].iterdir():
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "own.py").write_text(
        "from transformers import BertConfig, BertModel\n"
        "class OwnConfig(BertConfig):\n    model_type = 'own'\n"
        "class OwnModel(BertModel):\n    config_class = OwnConfig\n"
    )
    config = json.loads((folder / "config.json").read_text())
    names = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel"}
    (folder / "config.json").write_text(json.dumps({**config, "model_type": "own", "auto_map": names}))
    with pytest.raises(EncoderError, match="custom code"):
        load_base(options(folder))
    base = load_base(options(folder, trust_remote_code=True))
    assert base.code == str(folder)
    assert type(build_encoder(base, 0).module).__name__ == "OwnModel"


def test_what_cannot_serve_is_refused_with_the_reason(folders: dict[str, Path], tmp_path: Path) -> None:
    AutoModel.from_config(T5Config(vocab_size=50, d_model=16, num_layers=1, d_ff=16, num_heads=2)).save_pretrained(
        tmp_path / "t5"
    )
    with pytest.raises(EncoderError, match=r"model.name '.*t5': t5 is an encoder-decoder"):
        load_base(options(tmp_path / "t5"))
    with pytest.raises(EncoderError, match=r"model.name '.*nowhere': expected .*, there is no such folder"):
        load_base(options(tmp_path / "nowhere"))
    (tmp_path / "file").write_text("{}")
    with pytest.raises(EncoderError, match="expected the folder of an encoder, found a file"):
        load_base(options(tmp_path / "file"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(EncoderError, match="its configuration cannot be read"):
        load_base(options(tmp_path / "empty"))
    with pytest.raises(EncoderError, match=r"model.layers: expected 1 to 3 for .*, found 4"):
        load_base(options(folders["bert"], layers=4))
    with pytest.raises(EncoderError, match=r"a row of model\.max_length 41 fails"):
        load_base(options(folders["bert"], max_length=41))


def test_missing_and_damaged_weights_are_refused(folders: dict[str, Path], tmp_path: Path) -> None:
    for file in folders["bert"].iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    del weights["encoder.layer.0.output.dense.bias"]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(EncoderError, match=r"lack 1 weights, the first is 'encoder.layer.0.output.dense.bias'"):
        load_base(options(tmp_path))
    path.write_bytes(path.read_bytes()[:-5])
    with pytest.raises(EncoderError, match="AutoModel cannot load it"):
        load_base(options(tmp_path))
    path.unlink()
    with pytest.raises(EncoderError, match="AutoModel cannot load it"):
        load_base(options(tmp_path))
