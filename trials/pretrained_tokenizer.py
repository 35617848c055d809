"""The tokenizer of a pretrained encoder: any fast tokenizer from the Hugging Face hub or a folder.

Its Rust part is used directly, a thousand rows at a time; the Python class around it would only repack the
result. Byte-level tokenizers distinguish "word" from " word", so sentences already split into words are read with the
space that stood before each word, as in pretraining.
"""

from __future__ import annotations

import copy
import hashlib
import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxtune.trials.data.cells import Words
from auxtune.trials.errors import DataError, DataProblem
from auxtune.trials.recipe import ModelOptions, ModelPackageError, locate_model
from auxtune.trials.tokenizer import Pieces

if TYPE_CHECKING:
    from tokenizers import Tokenizer as RustTokenizer
    from transformers import PreTrainedTokenizerBase

# Patterns of files that hold a tokenizer's vocabulary, whether or not its class names them.
_VOCABULARIES = ("tokenizer.json", "tokenizer.*.json", "vocab*", "merges.txt", "*.model", "*.tiktoken", "tekken.json")
# The same as names: the hub's cache can only be searched by name.
_NAMES = ("tokenizer.json", "tokenizer.model", "vocab.txt", "vocab.json", "spiece.model", "sentencepiece.bpe.model")
BATCH = 1000  # rows at a time: bounds the memory of the Rust encodings


class PretrainedTokenizer:
    """Special tokens, sentence ids and normalisation as the encoder's own files say.

    ``size`` counts its tokens, ``largest`` is the largest of their ids, ``unknown`` the id for unknown words, if it has
    one, and ``special`` are the ids of the other tokens that are not words.
    """

    def __init__(self, options: ModelOptions) -> None:
        """Raise ``DataError`` if ``options.name`` has no fast tokenizer that can be loaded."""
        os.environ["TOKENIZERS_PARALLELISM"] = "false"  # processes are forked and cores are shared
        loaded = _load_tokenizer(options)
        backend = copy.deepcopy(loaded.backend_tokenizer)
        backend.no_padding()
        backend.no_truncation()
        vocabulary = backend.get_vocab(with_added_tokens=True)
        self.size, self.largest = len(vocabulary), max(vocabulary.values(), default=-1)
        self.unknown: int | None = loaded.unk_token_id
        self.special = frozenset(loaded.all_special_ids) - {self.unknown}
        # A tokenizer without special tokens gives nothing for a wholly unknown text, but a row needs a token.
        known = (loaded.eos_token_id, loaded.bos_token_id, loaded.unk_token_id, loaded.pad_token_id, 0)
        self._blank = Pieces((next(each for each in known if each is not None),), (0,), (None,))
        self.digest = hashlib.sha256(backend.to_str().encode()).hexdigest()
        self._texts = backend
        self._words = _add_prefix_space(backend)

    def texts(self, first: Sequence[str], second: Sequence[str] | None, max_length: int) -> Iterator[Pieces]:
        """See ``Tokenizer``."""
        rows: Sequence[Any] = first if second is None else list(zip(first, second, strict=True))
        self._texts.enable_truncation(max_length, strategy="longest_first")
        for start in range(0, len(rows), BATCH):
            for row in self._texts.encode_batch(rows[start : start + BATCH]):
                yield Pieces(row.ids, row.type_ids, ()) if row.ids else self._blank

    def words(self, rows: Sequence[Words], max_length: int) -> Iterator[Pieces]:
        """See ``Tokenizer``."""
        self._words.enable_truncation(max_length, strategy="longest_first")
        for start in range(0, len(rows), BATCH):
            for row in self._words.encode_batch(rows[start : start + BATCH], is_pretokenized=True):
                yield Pieces(row.ids, row.type_ids, row.word_ids) if row.ids else self._blank

    def token(self, token_id: int) -> str:
        """The token with this id, as the tokenizer's files write it."""
        return str(self._texts.id_to_token(token_id))


def save_tokenizer(options: ModelOptions, folder: Path, segments: bool) -> None:
    """Write the encoder's tokenizer into ``folder``, for ``from_pretrained``; with ``segments`` it returns these too.

    Raises ``DataError`` if it cannot be loaded.
    """
    loaded = _load_tokenizer(options)
    if segments:  # not every tokenizer that knows them returns them
        loaded.model_input_names = ["input_ids", "token_type_ids", "attention_mask"]
        loaded.init_kwargs["model_input_names"] = loaded.model_input_names  # only these are saved
    loaded.model_max_length = options.max_length  # where rows were cut in training
    loaded.save_pretrained(folder)


def _load_tokenizer(options: ModelOptions) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    from auxtune.trials.hub import explain_refusal, use_cache_if_offline

    try:
        options = replace(options, name=locate_model(options.name))
    except ModelPackageError as error:
        raise DataError([f"encoder {options.name}: {error}"]) from error
    use_cache_if_offline(options.name)
    try:
        loaded: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            options.name, trust_remote_code=options.trust_remote_code
        )
    except Exception as error:  # network, file, code and format errors: no common class
        if Path(options.name).is_dir() and not _has_vocabulary(options.name, ()):
            raise _explain_missing_vocabulary(options) from error
        problem = f"its tokenizer cannot be loaded: {explain_refusal(error)}"
        raise DataError([DataProblem(problem, encoder=options.name)]) from error
    if not (loaded.init_kwargs.get("auto_map") or _has_vocabulary(options.name, loaded.vocab_files_names.values())):
        raise _explain_missing_vocabulary(options)
    if not loaded.is_fast:
        problem = f"expected a fast tokenizer, found {type(loaded).__name__}; use an encoder that has a tokenizer.json"
        raise DataError([DataProblem(problem, encoder=options.name)])
    return loaded


def _has_vocabulary(encoder: str, besides: Iterable[str]) -> bool:
    """Whether there is a file with the tokenizer's vocabulary: without one transformers makes up a few words.

    ``besides``: further names of such files, from its class.
    """
    from huggingface_hub import try_to_load_from_cache

    if Path(encoder).is_dir():
        return any(path.is_file() for name in {*_VOCABULARIES, *besides} for path in Path(encoder).glob(name))
    return any(isinstance(try_to_load_from_cache(encoder, name), str) for name in {*_NAMES, *besides})


def _explain_missing_vocabulary(options: ModelOptions) -> DataError:
    problem = (
        "expected a tokenizer with its vocabulary (tokenizer.json, or files such as vocab.txt), found none; save it "
        "there too, by `AutoTokenizer.from_pretrained(…).save_pretrained(…)` from the source of the encoder, or name "
        "another encoder"
    )
    return DataError([DataProblem(problem, encoder=options.name)])


def _add_prefix_space(backend: RustTokenizer) -> RustTokenizer:
    """The same tokenizer, for words that have lost the space before them."""
    from tokenizers.pre_tokenizers import ByteLevel

    spaced = copy.deepcopy(backend)
    if isinstance(spaced.pre_tokenizer, ByteLevel):
        spaced.pre_tokenizer.add_prefix_space = True
    return spaced
