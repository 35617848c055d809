"""The hidden states of each layer of a trained encoder, on texts that all tasks of a study share.

Representations of two models can be compared only on the same inputs: A. Sehanobish et al., NAACL 2022,
https://arxiv.org/abs/2205.02979, compare task-specific models layer by layer. The shared texts are ours: some of each
task's probe split, without labels. They are chosen once and kept, so that a task that joins later is measured on the
same texts as those before it. The probe costs one forward pass over them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from auxtune.trials.durable import write_durably
from auxtune.trials.model import pool
from auxtune.trials.probes.measuring import iterate_batches, leave_undisturbed
from auxtune.trials.probes.probe import Arrays, HiddenStatesOptions, Options, ProbeError, Subject, read_options
from auxtune.trials.tokens import EncodedSplit, EncodedTask, hash_inputs


def measure_hidden_states(subject: Subject, options: Options) -> Arrays:
    """``hidden`` (layers + 1, texts, width) float32, pooled as the model pools, embeddings first; ``texts``.

    ``texts`` is the digest of the texts. Raises ``ProbeError`` if there are none, and for an encoder that does not
    return its hidden states.
    """
    read_options(HiddenStatesOptions, options)
    texts, encoder = subject.texts, subject.model.encoder
    if texts is None:
        raise ProbeError("probes.hidden_states: expected texts that all tasks share, found none")
    # A run of several tasks has no single matrix by which shared texts could be aligned.
    alignment = subject.model.alignment(next(iter(subject.tasks))) if len(subject.tasks) == 1 else None
    layers = encoder.module.config.num_hidden_layers
    hidden = np.empty((layers + 1, len(texts.splits["probe"]), encoder.width), np.float32)
    pooling = encoder.reading(subject.recipe.model.pooling)
    with leave_undisturbed(subject.model, subject.collate.device), torch.no_grad():
        for rows, batch in iterate_batches(texts, "probe", subject.collate):
            states = encoder.hidden_states(batch.tokens, batch.segments, batch.mask, alignment)
            if len(states) != layers + 1:
                raise ProbeError(
                    f"probes.hidden_states: expected {layers + 1} hidden states of the encoder, found "
                    f"{len(states)}; choose an encoder that can output them"
                )
            pooled = [pool(state, batch.mask, pooling) for state in states]
            hidden[:, rows] = torch.stack(pooled).float().cpu().numpy()
    return {"hidden": hidden, "texts": np.array(texts.digest, np.str_)}


ROWS = 512
FILE = "texts.npz"


def choose_shared_texts(tasks: Mapping[str, EncodedTask], rows: int = ROWS) -> EncodedTask:
    """The first texts of each task's probe split, equally many per task and about ``rows`` in all.

    A task with a smaller split gives all its texts. The result is a task of one class whose only split is ``probe``,
    and whose digest is that of these rows.
    """
    share = max(1, rows // len(tasks))
    firsts = [_take_first(task.splits["probe"], share) for task in tasks.values()]
    lengths = np.concatenate([split.lengths for split in firsts])
    return _build_task(
        np.concatenate([split.tokens for split in firsts]),
        np.concatenate([split.segments for split in firsts]),
        np.concatenate([[0], np.cumsum(lengths)]),
    )


def save_texts(folder: Path, texts: EncodedTask) -> None:
    """Write ``texts`` into ``folder``. Raises ``OSError`` if they cannot be written."""
    split = texts.splits["probe"]
    arrays = {"tokens": split.tokens, "segments": split.segments, "offsets": split.offsets}
    folder.mkdir(parents=True, exist_ok=True)
    write_durably(folder / FILE, lambda file: np.savez(file, allow_pickle=False, **arrays))


def load_texts(folder: Path) -> EncodedTask:
    """The texts that ``save_texts`` wrote. Raises ``FileNotFoundError`` if there are none."""
    with np.load(folder / FILE, allow_pickle=False) as file:
        return _build_task(file["tokens"], file["segments"], file["offsets"])


def _take_first(split: EncodedSplit, rows: int) -> EncodedSplit:
    offsets = split.offsets[: rows + 1]
    end = int(offsets[-1])
    return EncodedSplit(split.tokens[:end], split.segments[:end], offsets, split.labels[:0])


def _build_task(tokens: np.ndarray, segments: np.ndarray, offsets: np.ndarray) -> EncodedTask:
    labels = np.zeros(len(offsets) - 1, np.int64)
    split = EncodedSplit(tokens.astype(np.int32), segments.astype(np.uint8), offsets.astype(np.int64), labels)
    return EncodedTask("texts", "classification", ("text",), (), {"probe": split}, hash_inputs(split))
