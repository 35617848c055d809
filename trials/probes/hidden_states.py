"""What each layer of a trained encoder makes of texts that all tasks of a study share.

Representations of two models can be compared only on the same inputs: Sehanobish et al. (NAACL 2022,
https://arxiv.org/abs/2205.02979) compare task-specific models layer by layer; the shared texts are ours. It costs one
forward pass over them.
"""

from __future__ import annotations

import numpy as np
import torch

from auxtune.trials.model import pool
from auxtune.trials.probes.measuring import iterate_batches, leave_undisturbed
from auxtune.trials.probes.probe import Arrays, HiddenStatesOptions, Options, ProbeError, Subject, read_options


def hidden_states(subject: Subject, options: Options) -> Arrays:
    """``hidden`` (layers + 1, texts, width) float32, pooled as the model pools, embeddings first; ``texts``.

    ``texts`` is the digest of the texts. Raises ``ProbeError`` where there are none, and for an encoder that does not
    show its layers.
    """
    read_options(HiddenStatesOptions, options)
    texts, encoder = subject.texts, subject.model.encoder
    if texts is None:
        raise ProbeError("probes.hidden_states: expected texts that all tasks share, found none")
    # Of a run of several tasks there is no one matrix by which shared texts would be aligned.
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
