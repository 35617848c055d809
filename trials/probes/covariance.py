"""The second moment of a trained encoder's vectors on a task's own inputs; labels do not enter.

Source: Wu, Zhang and Ré, "Understanding and Improving Information Transfer in Multi-Task Learning", ICLR 2020
(https://arxiv.org/abs/2005.00944): tasks whose inputs have like covariances help each other. There it is of the
embeddings and not centred: ``at: embeddings``. The mean is given too, so that it can be centred, and
``at: representation`` is of the vectors that the heads see. It costs one forward pass over the probe split.
"""

from __future__ import annotations

import numpy as np
import torch

from auxtune.trials.encoded import EncodedTask
from auxtune.trials.probes.measuring import (
    compute_pooled_features,
    convert_to_double,
    iterate_batches,
    leave_undisturbed,
    require_one_task,
)
from auxtune.trials.probes.probe import Arrays, CovarianceOptions, Options, ProbeError, Subject, read_options


def covariance(subject: Subject, options: Options) -> Arrays:
    """``covariance`` (width, width), the mean of x xᵀ, ``mean`` (width,), both float64, and ``rows``, how many x.

    With ``at: embeddings`` an x is the embedding layer's output for one token, special tokens included, with
    ``representation`` a row's pooled last hidden state. Raises ``ProbeError`` for a run of several tasks.
    """
    task, at = require_one_task(subject.tasks, "covariance"), read_options(CovarianceOptions, options).at
    with leave_undisturbed(subject.model, subject.collate.device), torch.no_grad():
        if at == "embeddings":
            moment, total, count = _sum_embeddings(subject, task)
        else:
            model, pooling = subject.model, subject.recipe.model.pooling
            features = compute_pooled_features(
                model.encoder, task, "probe", subject.collate, pooling, model.alignment(task.name)
            )
            moment, total, count = features.T @ features, features.sum(0), len(features)
    return {
        "covariance": (moment / count).cpu().numpy(),
        "mean": (total / count).cpu().numpy(),
        "rows": np.array(count),
    }


def _sum_embeddings(subject: Subject, task: EncodedTask) -> tuple[torch.Tensor, torch.Tensor, int]:
    """Sums over all tokens of the probe split: of x xᵀ, of x, and of 1."""
    encoder, alignment = subject.model.encoder, subject.model.alignment(task.name)
    width = encoder.width
    moment, total = torch.zeros(width, width, dtype=torch.float64), torch.zeros(width, dtype=torch.float64)
    count = 0
    for _, batch in iterate_batches(task, "probe", subject.collate):
        states = encoder.hidden_states(batch.tokens, batch.segments, batch.mask, alignment)
        if not states:
            raise ProbeError(
                "probes.covariance: expected the encoder to show its embeddings, found no hidden states; "
                "measure `at: representation`"
            )
        vectors = convert_to_double(states[0][torch.from_numpy(batch.positions >= 0).to(states[0].device)])
        moment += (vectors.T @ vectors).cpu()
        total += vectors.sum(0).cpu()
        count += len(vectors)
    return moment, total, count
