"""Token ids of tasks: their alignment with labels, their length, and the cache they are kept in."""

from __future__ import annotations

import doctest
import os
import pickle
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

from auxtune.trials import tokenizer as tokenizer_module
from auxtune.trials.data import IGNORED, SPLITS, Kind
from auxtune.trials.data.examples import Examples, Label
from auxtune.trials.data.tasks import Task
from auxtune.trials.errors import DataError
from auxtune.trials.pretrained_tokenizer import PretrainedTokenizer
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.tokenizer import CLS, PAD, RESERVED, SEP, VOCABULARY, HashedWords, hash_word, hash_words
from auxtune.trials.tokenizer import Tokenizer as AnyTokenizer
from auxtune.trials.tokens import EncodedSplit, EncodedTask, encode_rows, encode_tasks, load_tokenizer

LINES = ["the cat sat on the mat", "a dog ran after the cat", "unbelievable running dogs and cats are sitting"]


def examples(first: Sequence[Any], labels: Sequence[Label], second: Sequence[str] | None = None) -> Examples:
    keys = np.arange(len(labels), dtype=np.uint64)
    return Examples(tuple(first), None if second is None else tuple(second), tuple(labels), keys)


def task(kind: Kind, rows: Examples, digest: str = "0" * 64) -> Task:
    pair = rows.second is not None
    return Task("one", kind, ("no", "yes"), ("accuracy",), pair, dict.fromkeys(SPLITS, rows), digest, {})


SINGLE = task("classification", examples(LINES, [0, 1, 1]), "1" * 64)
PAIR = task("regression", examples(LINES, [0.5, 1.0, 2.5], LINES[::-1]), "2" * 64)
TAGGED = task("token", examples([("unbelievable", "dogs", "ran"), ("the", "cat")], [(0, 1, 0), (1, 0)]), "3" * 64)
TASKS = {"single": SINGLE, "pair": PAIR, "tagged": TAGGED}


def save(tokenizer: Tokenizer, folder: Path, **special: str) -> str:
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_max_length=512, **special).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def wordpiece(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small BERT tokenizer, trained on a few lines: most words are several pieces."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
    tokenizer.train_from_iterator(LINES, trainers.WordPieceTrainer(vocab_size=45, special_tokens=special))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    tokenizer.enable_truncation(5)  # settings of the file must not show through
    tokenizer.enable_padding(length=9)
    return save(tokenizer, tmp_path_factory.mktemp("wordpiece"), unk_token="[UNK]", pad_token="[PAD]")


@pytest.fixture(scope="module")
def bytelevel(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small byte-level tokenizer, for which `cat` and ` cat` are different words."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    tokenizer.train_from_iterator(LINES, trainers.BpeTrainer(vocab_size=290, initial_alphabet=alphabet))
    return save(tokenizer, tmp_path_factory.mktemp("bytelevel"))


@pytest.fixture(params=["tiny", "wordpiece"])
def tokenizer(request: pytest.FixtureRequest) -> AnyTokenizer:
    encoder = "tiny" if request.param == "tiny" else request.getfixturevalue("wordpiece")
    return load_tokenizer(ModelOptions(name=encoder))


def row(split: EncodedSplit, index: int) -> slice:
    return slice(int(split.offsets[index]), int(split.offsets[index + 1]))


def encode(task: Task, tokenizer: AnyTokenizer, max_length: int = 64) -> EncodedSplit:
    return encode_rows(task.splits["train"], task.kind, tokenizer, max_length)


def test_the_id_of_a_word_never_changes() -> None:
    """Fixed numbers: encoders trained on them must go on working with later versions."""
    assert hash_words("The cat") == [hash_word("the"), hash_word("cat")] == [3338, 2792]
    assert [PAD, CLS, SEP, RESERVED, VOCABULARY] == [0, 1, 2, 3, 4096]
    ids = {hash_word(f"word{i}") for i in range(20_000)}
    assert min(ids) >= RESERVED and max(ids) < VOCABULARY
    assert len(ids) > 0.98 * (VOCABULARY - RESERVED)


def test_hashed_words_ignore_case_and_form_and_split_signs() -> None:
    assert hash_words("ＤＯＮ'T stop") == hash_words("don ' t stop")
    assert hash_words("naïve") != hash_words("naive")


def test_single_sentences_are_framed_and_their_labels_kept(tokenizer: AnyTokenizer) -> None:
    split = encode(SINGLE, tokenizer)
    assert (split.tokens.dtype, split.segments.dtype, split.offsets.dtype) == (np.int32, np.uint8, np.int64)
    assert len(split) == 3
    assert split.labels.tolist() == [0, 1, 1]
    assert not split.segments.any()
    assert split.offsets[-1] == len(split.tokens) == len(split.segments)


def test_hashed_words_stand_between_signs_of_their_own() -> None:
    first, second = hash_words("the cat"), hash_words("a dog ran")
    split = encode(task("classification", examples(["the cat"], [0], ["a dog ran"])), HashedWords())
    assert split.tokens.tolist() == [CLS, *first, SEP, *second, SEP]
    assert split.segments.tolist() == [0, 0, 0, 0, 1, 1, 1, 1]


@pytest.mark.parametrize("max_length", [6, 9, 64])
def test_ids_and_segments_are_those_of_transformers(wordpiece: str, max_length: int) -> None:
    theirs = PreTrainedTokenizerFast.from_pretrained(wordpiece)(
        LINES, LINES[::-1], truncation="longest_first", max_length=max_length, return_token_type_ids=True, padding=False
    )
    split = encode(PAIR, load_tokenizer(ModelOptions(name=wordpiece)), max_length)
    for index in range(3):
        assert split.tokens[row(split, index)].tolist() == theirs["input_ids"][index]
        assert split.segments[row(split, index)].tolist() == theirs["token_type_ids"][index]


def test_pairs_have_two_segments(tokenizer: AnyTokenizer) -> None:
    split = encode(PAIR, tokenizer)
    alone = encode(SINGLE, tokenizer)
    assert split.labels.dtype == np.float32
    assert split.labels.tolist() == [0.5, 1.0, 2.5]
    for index in range(3):
        segments = split.segments[row(split, index)]
        assert (segments == 0).sum() == alone.lengths[index]
        assert (segments == 1).sum() == alone.lengths[2 - index] - 1
        assert (np.diff(segments.astype(int)) >= 0).all()


def test_only_the_first_piece_of_a_word_is_labelled(tokenizer: AnyTokenizer) -> None:
    split = encode(TAGGED, tokenizer)
    assert len(split.labels) == len(split.tokens)
    for index, tags in enumerate(TAGGED.splits["train"].labels):
        labels = split.labels[row(split, index)]
        assert labels[0] == labels[-1] == IGNORED
        assert tuple(labels[labels != IGNORED]) == tags


def test_pieces_of_words_are_where_the_tokenizer_puts_them(wordpiece: str) -> None:
    tokenizer = load_tokenizer(ModelOptions(name=wordpiece))
    split = encode(TAGGED, tokenizer)
    vocabulary = PreTrainedTokenizerFast.from_pretrained(wordpiece)
    pieces = vocabulary.convert_ids_to_tokens(split.tokens[row(split, 0)].tolist())
    labels = split.labels[row(split, 0)]
    assert len(pieces) > 5  # some word is more than one piece
    for piece, label in zip(pieces, labels, strict=True):
        assert (label == IGNORED) == (piece.startswith(("##", "[")))


def test_a_word_of_several_signs_is_labelled_once() -> None:
    split = encode(task("token", examples([("don't", "stop")], [(1, 0)])), HashedWords())
    assert split.labels.tolist() == [IGNORED, 1, IGNORED, IGNORED, 0, IGNORED]


def test_byte_level_words_are_read_with_the_space_before_them(bytelevel: str) -> None:
    tokenizer = load_tokenizer(ModelOptions(name=bytelevel))
    words = encode(task("token", examples([("the", "cat", "sat")], [(0, 1, 0)])), tokenizer)
    text = encode(task("classification", examples([" the cat sat"], [0])), tokenizer)
    assert words.tokens.tolist() == text.tokens.tolist()
    assert words.labels[words.labels != IGNORED].tolist() == [0, 1, 0]


@pytest.mark.parametrize("max_length", [4, 7, 10])
def test_long_inputs_are_cut_at_the_end_the_longer_sentence_first(tokenizer: AnyTokenizer, max_length: int) -> None:
    long, short = " ".join(["cat"] * 50), "the mat"
    for first, second in ((long, short), (short, long), (long, long)):
        split = encode(task("classification", examples([first], [0], [second])), tokenizer, max_length)
        assert split.lengths.tolist() == [max_length]
    single = encode(task("classification", examples([long], [0])), tokenizer, max_length)
    assert single.lengths.tolist() == [max_length]
    kept = encode(task("classification", examples([long], [0], ["mat"])), tokenizer, 12)
    whole = encode(task("classification", examples(["mat"], [0])), tokenizer)
    assert kept.segments.sum() == whole.lengths[0] - 1  # the short sentence is whole, with its end sign


def test_a_row_may_lose_labels_even_all_to_its_length(wordpiece: str) -> None:
    rows = examples([("unbelievable", "cats"), ("\u200b", "cat")], [(1, 0), (1, 0)])
    split = encode(task("token", rows), load_tokenizer(ModelOptions(name=wordpiece)), 4)
    assert split.lengths.max() == 4
    assert split.labels[row(split, 0)].tolist() == [IGNORED, 1, IGNORED, IGNORED]
    assert split.labels[row(split, 1)].tolist()[1] == 0  # the first word has no piece, its tag goes with it
    nothing = encode(task("token", rows), HashedWords(), 2)
    assert nothing.labels.tolist() == [IGNORED] * 4


def test_a_row_is_encoded_alike_whatever_stands_beside_it(wordpiece: str) -> None:
    tokenizer = load_tokenizer(ModelOptions(name=wordpiece))
    many = task("classification", examples([f"{LINES[i % 3]} {i}" for i in range(2500)], [0] * 2500))
    split = encode(many, tokenizer)
    for index in (0, 999, 1000, 2499):
        alone = encode(task("classification", many.splits["train"].at(np.array([index]))), tokenizer)
        assert split.tokens[row(split, index)].tolist() == alone.tokens.tolist()


def assert_same(one: EncodedTask, other: EncodedTask) -> None:
    for part in SPLITS:
        for name in ("tokens", "segments", "offsets", "labels"):
            mine, its = getattr(one.splits[part], name), getattr(other.splits[part], name)
            assert mine.dtype == its.dtype
            assert np.array_equal(mine, its)


def fresh(name: str, cache: Path) -> EncodedTask:
    return encode_tasks({name: TASKS[name]}, ModelOptions(), cache)[name]


@pytest.mark.parametrize("name", TASKS)
def test_the_cache_gives_what_was_encoded_memory_mapped_and_read_only(tmp_path: Path, name: str) -> None:
    first, again = fresh(name, tmp_path), fresh(name, tmp_path)
    assert_same(first, again)
    assert isinstance(again.splits["train"].tokens.base, np.memmap)
    assert len(list(tmp_path.iterdir())) == 1
    with pytest.raises(ValueError, match="read-only"):
        again.splits["train"].tokens[0] = 0
    assert_same(again, pickle.loads(pickle.dumps(again)))  # our own bytes
    assert (again.kind, again.digest, again.metrics) == (TASKS[name].kind, TASKS[name].digest, ("accuracy",))


def test_the_cache_is_read_and_not_written_again(tmp_path: Path) -> None:
    fresh("single", tmp_path)
    [entry] = tmp_path.iterdir()
    before = {path: path.stat().st_mtime_ns for path in entry.iterdir()}
    fresh("single", tmp_path)
    assert {path: path.stat().st_mtime_ns for path in entry.iterdir()} == before
    assert len(before) == 21  # five arrays of four splits, and what they are of


def test_rows_tokenizer_and_length_each_make_another_entry(tmp_path: Path, wordpiece: str) -> None:
    for model in (ModelOptions(), ModelOptions(max_length=64), ModelOptions(name=wordpiece)):
        encode_tasks({"single": SINGLE, "pair": PAIR}, model, tmp_path)
    assert len(list(tmp_path.iterdir())) == 6
    encode_tasks({"other name": SINGLE}, ModelOptions(layers=1, pooling="mean"), tmp_path)
    assert len(list(tmp_path.iterdir())) == 6


DAMAGE = {
    "a file is gone": lambda entry: (entry / "train.tokens.npy").unlink(),
    "a file is cut": lambda entry: os.truncate(entry / "train.tokens.npy", 130),
    "a file is empty": lambda entry: (entry / "train.labels.npy").write_bytes(b""),
    "a bit is wrong": lambda entry: flip(entry / "train.tokens.npy"),
    "the sums are gone": lambda entry: (entry / "sha256.json").unlink(),
    "the sums are cut": lambda entry: os.truncate(entry / "sha256.json", 20),
    "the sums are no sums": lambda entry: (entry / "sha256.json").write_text("[]"),
    "all is gone": lambda entry: [path.unlink() for path in entry.iterdir()],
}


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(bytes(content))


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_made_anew(tmp_path: Path, damage: str) -> None:
    whole = fresh("single", tmp_path / "whole")
    fresh("single", tmp_path / "cache")
    [entry] = (tmp_path / "cache").iterdir()
    DAMAGE[damage](entry)
    assert_same(fresh("single", tmp_path / "cache"), whole)
    assert_same(fresh("single", tmp_path / "cache"), whole)
    assert list((tmp_path / "cache").iterdir()) == [entry]


def test_an_entry_in_use_survives_its_replacement(tmp_path: Path) -> None:
    used, whole = fresh("single", tmp_path / "cache"), fresh("single", tmp_path / "whole")
    [entry] = (tmp_path / "cache").iterdir()
    (entry / "sha256.json").unlink()
    fresh("single", tmp_path / "cache")
    assert_same(used, whole)


def test_processes_that_race_all_get_the_same_arrays_and_leave_one_entry(tmp_path: Path) -> None:
    whole = fresh("pair", tmp_path / "whole")
    cache = tmp_path / "cache"
    with ProcessPoolExecutor(4, mp_context=get_context("fork")) as pool:
        for _ in range(3):
            results = list(pool.map(fresh, ["pair"] * 8, [cache] * 8))
            assert len(results) == 8
            for result in results:
                assert_same(result, whole)
            [entry] = cache.iterdir()
            (entry / "train.tokens.npy").write_bytes(b"")  # the next round races to mend it


def test_the_example_in_the_docstring_runs() -> None:
    assert doctest.testmod(tokenizer_module) == (0, 1)


def test_a_cache_that_cannot_be_written_says_so(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        fresh("single", tmp_path / "file" / "cache")


def test_an_encoder_without_a_tokenizer_is_named(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"encoder .*nowhere: its tokenizer cannot be loaded"):
        load_tokenizer(ModelOptions(name=str(tmp_path / "nowhere")))


def test_the_digest_of_a_tokenizer_is_its_content(wordpiece: str, bytelevel: str) -> None:
    one, again = (PretrainedTokenizer(ModelOptions(name=wordpiece)) for _ in range(2))
    list(one.texts(LINES, None, 5))  # use does not change it
    assert one.digest == again.digest == PretrainedTokenizer(ModelOptions(name=wordpiece)).digest
    assert len({one.digest, PretrainedTokenizer(ModelOptions(name=bytelevel)).digest, HashedWords.digest}) == 3


@pytest.mark.skipif("AUXTUNE_ENCODER" not in os.environ, reason="AUXTUNE_ENCODER names no encoder folder")
def test_a_real_encoder_gives_its_own_ids() -> None:
    encoder = os.environ["AUXTUNE_ENCODER"]
    expected = PreTrainedTokenizerFast.from_pretrained(encoder)(LINES)["input_ids"]
    split = encode(SINGLE, load_tokenizer(ModelOptions(name=encoder)))
    assert [split.tokens[row(split, i)].tolist() for i in range(3)] == expected
