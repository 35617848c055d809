"""Second moments of an encoder's vectors on a task's own inputs: with themselves (XᵀX), and with the labels (XᵀY).

Source of both: S. Wu, H. R. Zhang, C. Ré, "Understanding and Improving Information Transfer in Multi-Task Learning",
ICLR 2020, https://arxiv.org/abs/2005.00944.

``measure_covariance``: tasks whose inputs have similar covariances help each other; labels do not enter. The paper uses
the embeddings, not centred: ``at: embeddings``. The mean is measured too, so that a reader can centre, and
``at: representation`` uses the vectors that the heads see. It costs one forward pass over the probe split.

``measure_label_moments``: the directions of the inputs that the labels ask for. The paper's SVD reweighting compares
these products for tasks that have the *same* inputs with different labels. Its X are fixed features; here they are the
pooled vectors of the encoder as it came. Y is centred, which is ours: the frequency of a label is not a direction. It
costs one forward pass over the train split and no training. Do not compare tasks with different inputs by it:
``inputs`` tells them apart.
"""

from __future__ import annotations

import numpy as np
import torch

from auxtune.trials.encoder import build_encoder
from auxtune.trials.probes.measuring import (
    compute_pooled_features,
    convert_to_double,
    iterate_batches,
    leave_undisturbed,
)
from auxtune.trials.probes.probe import (
    Arrays,
    CovarianceOptions,
    LabelMomentsOptions,
    Options,
    ProbeError,
    Subject,
    read_options,
    require_one_task,
    require_row_labels,
)
from auxtune.trials.tokens import EncodedTask, hash_inputs


def measure_covariance(subject: Subject, options: Options) -> Arrays:
    """``covariance`` (width, width), the mean of x xᵀ, ``mean`` (width,), both float64, and ``rows``, the number of x.

    With ``at: embeddings`` an x is the embedding layer's output for one token, special tokens included; with
    ``representation`` it is a row's pooled last hidden state. Raises ``ProbeError`` for a run of several tasks.
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
    """The sums of x xᵀ and of x over all tokens of the probe split, and the number of tokens."""
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


def measure_label_moments(subject: Subject, options: Options) -> Arrays:
    """``moments`` (width, label columns) float64 = Xᵀ Y / rows, ``inputs``, a digest of the ordered inputs, ``rows``.

    Raises ``ProbeError`` for a run of several tasks and for a token task.
    """
    read_options(LabelMomentsOptions, options)
    task = require_one_task(subject.tasks, "label_moments")
    columns, recipe = build_label_columns(task), subject.recipe
    with leave_undisturbed(subject.model, subject.collate.device):
        encoder = build_encoder(subject.base, recipe.seed).to(subject.collate.device).eval()
        features = compute_pooled_features(encoder, task, "train", subject.collate, recipe.model.pooling).numpy()
    return {
        "moments": features.T @ columns / len(columns),
        "inputs": np.array(hash_inputs(task.splits["train"]), np.str_),
        "rows": np.array(len(columns)),
    }


def build_label_columns(task: EncodedTask) -> np.ndarray:
    """The train split's labels as centred columns, (rows, columns) float64.

    Two classes give one column of -1 and 1, more classes a column of 0 and 1 each, the labels of a multi-label task a
    column of -1 and 1 each, and regression the standardised value. Raises ``ProbeError`` for a token task.
    """
    require_row_labels(task)
    labels = task.splits["train"].labels
    if task.kind == "classification" and len(task.labels) > 2:
        columns = (labels[:, None] == np.arange(len(task.labels))).astype(np.float64)
    elif task.kind == "regression":
        columns = labels[:, None].astype(np.float64)
        # Constant labels have no scale to divide by.
        columns = columns / (columns.std() or 1.0)
    else:
        columns = 2.0 * labels.reshape(len(labels), -1) - 1.0
    centred: np.ndarray = columns - columns.mean(axis=0)
    return centred
