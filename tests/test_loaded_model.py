"""A saved model comes back as it was: the same predictions, in the formats of others, or a clear refusal."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from saved_models import Saved, inputs_of, save_trained
from transformers import AutoModel, AutoTokenizer, dynamic_module_utils

from auxtune.trials import load_model
from auxtune.trials.data import Kind
from auxtune.trials.errors import DataError
from auxtune.trials.loaded_model import Prediction
from auxtune.trials.model_folder import ABOUT, HEADS, ModelFolderError

pytestmark = pytest.mark.arithmetic

KINDS: dict[str, Kind] = {
    "single": "classification",
    "pair": "classification",
    "value": "regression",
    "tags": "token",
    "sets": "multi_label",
}
FAMILIES = ("tiny", "bert", "distilbert")


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Saved]:
    return {family: save_trained(tmp_path_factory.mktemp(family), family) for family in FAMILIES}


@pytest.fixture
def folder(saved: dict[str, Saved], tmp_path: Path) -> Path:
    """A copy of a model folder, to be damaged."""
    return shutil.copytree(saved["tiny"].folder, tmp_path / "model")


def arrays(saved: Saved, task: str) -> dict[str, np.ndarray]:
    with np.load(saved.predictions, allow_pickle=False) as file:
        return {key: file[f"{task}/{key}"] for key in ("labels", "predictions", "rows")}


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", KINDS)
def test_it_answers_exactly_as_the_run_that_was_saved(saved: dict[str, Saved], family: str, task: str) -> None:
    was, model = saved[family], load_model(saved[family].folder, "cpu")
    answers = model.answers(task, was.tasks[task].splits["test"])
    trained = arrays(was, task)
    assert model.tasks[task].kind == KINDS[task]
    assert np.array_equal(answers.labels, trained["labels"]) and np.array_equal(answers.rows, trained["rows"])
    assert np.array_equal(answers.predictions, trained["predictions"])
    assert len(np.unique(trained["predictions"])) > 1, "a model that says one thing of all rows would show nothing"


@pytest.mark.parametrize("family", FAMILIES)
@pytest.mark.parametrize("task", KINDS)
def test_what_it_says_of_texts_is_what_was_scored(saved: dict[str, Saved], family: str, task: str) -> None:
    was, model = saved[family], load_model(saved[family].folder, "cpu")
    names, trained = model.tasks[task].labels, arrays(was, task)["predictions"]
    said = list(model.predict(task, inputs_of(was.tasks[task]), batch_size=7))
    assert len(said) == len(was.tasks[task].splits["test"])
    if task == "value":
        assert [one.value for one in said] == pytest.approx(trained.tolist(), abs=1e-4)
    elif task == "tags":
        tags = [tag for one in said for tag in one.value if tag is not None]
        assert tags == [names[tag] for tag in trained]
    elif task == "sets":
        assert [one.value for one in said] == [tuple(np.array(names)[row == 1].tolist()) for row in trained]
    else:
        assert [one.value for one in said] == [names[label] for label in trained]


def test_probabilities_belong_to_what_is_said(saved: dict[str, Saved]) -> None:
    was, model = saved["bert"], load_model(saved["bert"].folder, "cpu")
    said = {task: list(model.predict(task, inputs_of(was.tasks[task]))) for task in KINDS}
    for one in (*said["single"], *said["pair"]):
        assert sum(one.probabilities.values()) == pytest.approx(1, abs=1e-5)
        assert max(one.probabilities, key=one.probabilities.get) == one.value
    for one in said["sets"]:
        assert tuple(label for label, share in one.probabilities.items() if share > 0.5) == one.value
    for one in said["tags"]:
        assert tuple(max(word, key=word.get) for word in one.probabilities) == one.value
    assert {one.probabilities for one in said["value"]} == {None}


def test_words_that_were_cut_off_have_no_tag(saved: dict[str, Saved]) -> None:
    [one] = load_model(saved["bert"].folder, "cpu").predict("tags", [["w1"] * 20])
    assert len(one.value) == 20
    assert None not in one.value[:14] and set(one.value[14:]) == {None}  # 16 tokens, two of them special
    assert one.probabilities[14:] == (None,) * 6


def test_rows_are_taken_a_batch_at_a_time(saved: dict[str, Saved]) -> None:
    taken: list[int] = []

    def rows() -> Iterator[str]:
        for number in range(100):
            taken.append(number)
            yield f"w{number % 30}"

    said = load_model(saved["tiny"].folder, "cpu").predict("single", rows(), batch_size=10)
    assert isinstance(next(said), Prediction) and len(taken) == 10
    for _ in range(10):
        next(said)
    assert len(taken) == 20


@pytest.mark.parametrize("alignment", ["none", "covariance"])
def test_transformers_alone_loads_encoder_and_tokenizer(tmp_path: Path, alignment: Any) -> None:
    """The five lines of the model card, against what auxtune says."""
    was = save_trained(tmp_path, "bert", alignment, "cls")
    tokenizer = AutoTokenizer.from_pretrained(was.folder)
    encoder = AutoModel.from_pretrained(was.folder, add_pooling_layer=False).eval()
    heads = load_file(was.folder / HEADS)
    pairs = list(inputs_of(was.tasks["pair"]))
    ours = [one.value for one in load_model(was.folder, "cpu").predict("pair", pairs)]
    inputs = tokenizer([a for a, _ in pairs], [b for _, b in pairs], padding=True, truncation=True, return_tensors="pt")
    assert inputs["input_ids"].shape[1] <= tokenizer.model_max_length == 16
    with torch.no_grad():
        hidden = encoder(**inputs).last_hidden_state
        if alignment == "none":
            scores = hidden[:, 0] @ heads["heads/pair/linear.weight"].T + heads["heads/pair/linear.bias"]
            assert [("a", "b")[label] for label in scores.argmax(-1).tolist()] == ours
        else:
            assert heads["alignments/pair"].shape == (16, 16)
    trained = arrays(was, "pair")["predictions"]
    assert [("a", "b")[label] for label in trained] == ours


def test_tiny_loads_in_transformers_but_for_its_tokenizer(saved: dict[str, Saved]) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert AutoModel.from_pretrained(saved["tiny"].folder, add_pooling_layer=False).config.vocab_size == 4096
    assert json.loads((saved["tiny"].folder / ABOUT).read_text())["tokenizer"] == "hashed words"
    assert not list(saved["tiny"].folder.glob("tokenizer*"))


def test_nothing_in_the_folder_is_pickled(saved: dict[str, Saved]) -> None:
    for was in saved.values():
        assert {path.suffix for path in was.folder.iterdir()} <= {".json", ".safetensors", ".txt"}
        assert all(path.read_bytes()[:2] != b"\x80\x04" for path in was.folder.iterdir())


def test_what_it_says_of_itself(saved: dict[str, Saved]) -> None:
    about = json.loads((saved["bert"].folder / ABOUT).read_text())
    assert about["format"] == 1 and about["about"] == {"made": "for a test"}
    assert about["tasks"]["pair"] == {
        "kind": "classification",
        "labels": ["a", "b"],
        "metrics": ["accuracy"],
        "text": ["a", "b"],
        "aligned": False,
        "served": True,
    }
    assert about["tasks"]["tags"]["text"] == ["tokens"] and not about["tasks"]["tags"]["served"]
    assert {"config.json", "model.safetensors", "tokenizer.json", HEADS} <= about["files"].keys()


@pytest.mark.parametrize("name", ["model.safetensors", HEADS, "config.json"])
def test_a_changed_or_missing_file_is_named(folder: Path, name: str) -> None:
    content = bytearray((folder / name).read_bytes())
    content[len(content) // 2] ^= 1
    (folder / name).write_bytes(content)
    with pytest.raises(ModelFolderError, match=f"{name}: its content is not what auxtune.json says"):
        load_model(folder)
    (folder / name).unlink()
    with pytest.raises(ModelFolderError, match=f"{name}: there is no such file"):
        load_model(folder)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"format": 2}, "expected format 1, found 2"),
        ({"tasks": {"single": {"kind": "odd"}}}, "expected one of the kinds classification"),
        ({"tasks": [1]}, "not what `auxtune export` wrote"),
        ({"surplus": 1}, "not what `auxtune export` wrote"),
        ({"tasks": {}}, "its heads are not of the tasks that it names"),
    ],
)
def test_a_description_that_was_changed_is_refused(folder: Path, change: dict[str, Any], said: str) -> None:
    about = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps({**about, **change}))
    with pytest.raises(ModelFolderError, match=said):
        load_model(folder)


def test_heads_of_another_shape_are_refused(folder: Path) -> None:
    about = json.loads((folder / ABOUT).read_text())
    about["tasks"]["single"]["labels"].append("neither")
    (folder / ABOUT).write_text(json.dumps(about))
    with pytest.raises(ModelFolderError, match="they differ in heads/single/linear"):
        load_model(folder)


def test_a_folder_without_a_model_says_where_there_are_some(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ModelFolderError, match=r"found no auxtune\.json in it; its models are in model$"):
        load_model(tmp_path)
    with pytest.raises(ModelFolderError, match=r"found no auxtune\.json in it$"):
        load_model(tmp_path / "nowhere")


def test_an_encoder_with_code_of_its_own_brings_it_and_needs_leave(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dynamic_module_utils, "HF_MODULES_CACHE", str(tmp_path / "modules"))
    monkeypatch.setattr(sys, "path", [*sys.path])
    was = save_trained(tmp_path, "bert", own_code=True)
    shutil.rmtree(tmp_path / "encoder")
    with pytest.raises(ModelFolderError, match="needs Python code that it brings along"):
        load_model(was.folder)
    model = load_model(was.folder, "cpu", trust_remote_code=True)
    answers = model.answers("pair", was.tasks["pair"].splits["test"])
    assert np.array_equal(answers.predictions, arrays(was, "pair")["predictions"])


@pytest.mark.parametrize(
    ("task", "rows", "said"),
    [
        ("singel", ["w1"], r"no head for a task 'singel', it has single, .*; did you mean `single`\?"),
        ("single", ["w1", " "], "input 2: the text is empty"),
        ("single", [None], "input 1: the text is missing"),
        ("pair", ["w1"], "input 1: expected a pair of texts, found 'w1'"),
        ("pair", [("w1", "w2"), ("w1", "w2", "w3")], "input 2: expected a pair of texts"),
        ("tags", ["w1 w2"], "input 1: expected a list of words"),
        ("tags", [["w1"], []], "input 2: there are no words"),
    ],
)
def test_inputs_of_another_form_are_refused(saved: dict[str, Saved], task: str, rows: list[Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        list(load_model(saved["tiny"].folder, "cpu").predict(task, rows))


def test_no_rows_give_no_predictions_and_a_batch_has_a_row(saved: dict[str, Saved]) -> None:
    model = load_model(saved["tiny"].folder, "cpu")
    assert list(model.predict("tags", [])) == []
    with pytest.raises(ValueError, match="batch_size: expected at least 1, found 0"):
        list(model.predict("single", ["w1"], batch_size=0))


def test_weights_with_surplus_heads_are_refused(folder: Path) -> None:
    heads = load_file(folder / HEADS)
    save_file({**heads, "heads/more/linear.bias": torch.zeros(2)}, folder / HEADS)
    about = json.loads((folder / ABOUT).read_text())
    about["files"][HEADS] = hashlib.sha256((folder / HEADS).read_bytes()).hexdigest()
    (folder / ABOUT).write_text(json.dumps(about))
    with pytest.raises(ModelFolderError, match="they differ in heads/more/linear"):
        load_model(folder)
