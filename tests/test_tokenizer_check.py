"""A tokenizer that does not belong to its encoder is found before any trial: none, a foreign one, ids too large."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from saved_models import SPECIAL, WORDS, write_encoder, write_tasks
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from auxtune.orchestrator import cli
from auxtune.trials import load_model
from auxtune.trials.data.tasks import Task, load_tasks
from auxtune.trials.encoder import load_base
from auxtune.trials.encoder_checks import check_tokenizer
from auxtune.trials.errors import DataError
from auxtune.trials.recipe import ModelOptions, Recipe
from auxtune.trials.tokens import encode_tasks, load_tokenizer
from auxtune.trials.training import TrainingRun

STUDY = """\
study: odd
primary: single
tasks:
  single: {path: single.jsonl, text: [said], label: label}
  pair: {path: pair.jsonl, text: [a, b], label: label}
model: {name: encoder, max_length: 16}
selector: random_subset
confirm: {seeds: 1, controls: [single_task]}
budget: {trials: 10}
"""


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Tasks, an encoder and a study file."""
    home = tmp_path_factory.mktemp("home")
    write_tasks(home)
    write_encoder(home / "encoder", "bert")
    (home / "study.yaml").write_text(STUDY)
    return home


@pytest.fixture
def mine(home: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return shutil.copytree(home, tmp_path / "mine")


def validate(home: Path, *changes: str) -> Result:
    settings = [part for change in changes for part in ("--set", change)]
    return CliRunner().invoke(cli.main, ["validate", str(home / "study.yaml"), *settings])


def words_of(folder: Path, words: tuple[str, ...]) -> None:
    """Give the encoder in ``folder`` a tokenizer that knows these words."""
    rust = Tokenizer(models.WordLevel({word: number for number, word in enumerate(words)}, unk_token="[UNK]"))
    rust.pre_tokenizer = pre_tokenizers.Whitespace()
    fast = PreTrainedTokenizerFast(tokenizer_object=rust, unk_token="[UNK]", pad_token="[PAD]")
    fast.save_pretrained(folder)


def tasks_of(home: Path) -> dict[str, Task]:
    return load_tasks(write_tasks(home)[:2])


def test_an_encoder_with_its_own_tokenizer_passes_without_a_word(home: Path) -> None:
    said = validate(home)
    assert said.exit_code == 0, said.output
    assert "encoder" not in said.output


@pytest.mark.parametrize("left", [(), ("tokenizer_config.json",)])
def test_a_folder_without_a_vocabulary_is_refused_by_name(mine: Path, left: tuple[str, ...]) -> None:
    for file in (mine / "encoder").glob("tokenizer*"):
        if file.name not in left:
            file.unlink()
    said = validate(mine)
    assert said.exit_code == 2
    assert "study.yaml:6: model.name" in said.output and str(mine / "encoder") in said.output
    assert "found none" in said.output and "save_pretrained" in said.output


def test_a_tokenizer_that_knows_no_word_is_refused(mine: Path) -> None:
    words_of(mine / "encoder", (*SPECIAL, *(f"other{number}" for number in range(30))))
    said = validate(mine)
    assert said.exit_code == 2
    assert "knows no word of any task" in said.output


def test_a_tokenizer_that_knows_some_words_only_is_warned_of(mine: Path) -> None:
    words_of(mine / "encoder", (*SPECIAL, *WORDS[:8], *(f"other{number}" for number in range(22))))
    said = validate(mine)
    assert said.exit_code == 0, said.output
    assert "warning: model.name 'encoder': task single: 7" in said.output.replace("\n", " ")
    assert "are unknown to the encoder's tokenizer" in said.output


def test_a_tokenizer_with_far_fewer_entries_than_the_encoder_is_warned_of(mine: Path) -> None:
    words_of(mine / "encoder", (*SPECIAL, *WORDS[:12]))
    assert "its tokenizer has 16 entries and the encoder 34 embeddings" in validate(mine).output


def test_a_token_without_embedding_is_refused_where_a_row_has_it_and_else_warned_of(mine: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(mine / "encoder")
    tokenizer.add_tokens(["[nobody]", "[user]"])
    tokenizer.save_pretrained(mine / "encoder")
    said = validate(mine)
    assert said.exit_code == 0, said.output
    assert "ids up to 35 and the encoder 34 embeddings" in said.output
    lines = (mine / "pair.jsonl").read_text().splitlines()
    (mine / "pair.jsonl").write_text("\n".join([*lines[:-1], lines[-1].replace('"b": "', '"b": "[user] ')]) + "\n")
    said = validate(mine)
    assert said.exit_code == 2
    assert "task pair: row" in said.output and "'[user]' with the id 35" in said.output
    assert "34 embeddings" in said.output and "resize_token_embeddings" in said.output


def test_every_split_of_every_task_is_looked_at(mine: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(mine / "encoder")
    tokenizer.add_tokens(["[user]"])
    tokenizer.save_pretrained(mine / "encoder")
    options, tasks = ModelOptions(name=str(mine / "encoder"), max_length=16), tasks_of(mine)
    base = load_base(options)
    for part, rows in tasks["single"].splits.items():
        first = (*rows.first[:-1], "w1 [user]")
        changed = replace(tasks["single"], splits={**tasks["single"].splits, part: replace(rows, first=first)})
        with pytest.raises(DataError, match=rf"task single: row {len(rows)} of its {part} rows has .*34"):
            check_tokenizer(options, base, {"single": changed})


def test_a_text_to_predict_with_such_a_token_is_refused_by_its_number(mine: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(mine / "encoder")
    tokenizer.add_tokens(["[user]"])
    tokenizer.save_pretrained(mine / "encoder")
    options, rows = ModelOptions(name=str(mine / "encoder"), max_length=16), load_tasks(write_tasks(mine)[:1])
    recipe = Recipe(("single",), {"single": 1.0}, evaluate=("single",), model=options, steps=1, batch_size=8)
    run = TrainingRun(recipe, encode_tasks(rows, options, mine / "tokens"), load_base(options), mine / "run")
    run.advance()
    (mine / "model").mkdir()
    run.save_model(mine / "model", {"single": ("said",)}, {})
    model = load_model(mine / "model", "cpu")
    with pytest.raises(DataError, match=r"input 2: its token '\[user\]' has the id 34, .* 34 embeddings"):
        list(model.predict("single", ["w1 w2", "w3 [user]"]))


def test_a_text_of_which_the_tokenizer_makes_nothing_still_is_a_row(tmp_path: Path) -> None:
    """A tokenizer without special tokens and without one for the unknown drops what it does not know."""
    write_encoder(tmp_path, "bert")
    rust = Tokenizer(models.BPE({"[PAD]": 0, "[SEP]": 1, "w": 2, "1": 3}, []))
    PreTrainedTokenizerFast(tokenizer_object=rust, pad_token="[PAD]", eos_token="[SEP]").save_pretrained(tmp_path)
    tokenizer = load_tokenizer(ModelOptions(name=str(tmp_path), max_length=16))
    assert [list(row.ids) for row in tokenizer.texts(["???", "w1"], None, 16)] == [[1], [2, 3]]
    [row] = tokenizer.words([("???", "!")], 16)
    assert (list(row.ids), list(row.words)) == ([1], [None])
