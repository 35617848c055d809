"""The product of a task's inputs and labels, Xᵀ Y: which directions of the inputs its labels ask for.

Source: Wu, Zhang and Ré, ICLR 2020 (https://arxiv.org/abs/2005.00944), whose SVD reweighting compares these products
for tasks that have the *same* inputs with different labels. Their X are fixed features; here they are the pooled
vectors of the encoder as it came. Y are centred, which is ours: how common a label is does not count as a direction. It
costs one forward pass over the train split and no training. Tasks with other inputs must not be compared by it:
``inputs`` tells them apart.
"""

from __future__ import annotations

import numpy as np

from auxtune.trials.encoded import EncodedTask
from auxtune.trials.encoder import build_encoder
from auxtune.trials.probes.measuring import compute_pooled_features, hash_inputs, leave_undisturbed, require_one_task
from auxtune.trials.probes.probe import Arrays, LabelMomentsOptions, Options, ProbeError, Subject, read_options


def label_moments(subject: Subject, options: Options) -> Arrays:
    """``moments`` (width, label columns) float64 = Xᵀ Y / rows, ``inputs``, a digest of the ordered inputs, ``rows``.

    Raises ``ProbeError`` for a run of several tasks and for a task whose labels are of tokens.
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

    Of two classes one column of -1 and 1, of more a column of 0 and 1 for each; of a multi-label task a column of -1
    and 1 for each label; of regression the standardised value. Raises ``ProbeError`` for tags of tokens.
    """
    require_row_labels(task)
    labels = task.splits["train"].labels
    if task.kind == "classification" and len(task.labels) > 2:
        columns = (labels[:, None] == np.arange(len(task.labels))).astype(np.float64)
    elif task.kind == "regression":
        columns = labels[:, None].astype(np.float64)
        # Labels that are all the same have no scale to divide by.
        columns = columns / (columns.std() or 1.0)
    else:
        columns = 2.0 * labels.reshape(len(labels), -1) - 1.0
    centred: np.ndarray = columns - columns.mean(axis=0)
    return centred


def require_row_labels(task: EncodedTask) -> None:
    """Raise ``ProbeError`` for a task whose labels are of tokens."""
    if task.kind == "token":
        raise ProbeError(
            f"probes.label_moments: expected labels of rows, found tags of tokens in task {task.name}; "
            "leave the task out"
        )
