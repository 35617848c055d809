"""What each task's outputs would do if the shared encoder moved a little: gradients of margins, row by row, projected.

Source: Li, Sharma and Zhang, "Scalable Multitask Learning Using Gradient-based Estimation of Task Affinity", KDD 2024:
near the weights θ* that all tasks were trained to together, a model's output is about linear in its weights, so what
training on any subset of tasks would come to can be computed from these gradients without training anything.

Of each row there is one number, its *margin*, and its gradient with respect to the encoder. Heads stay as they are, as
they are not shared, and so do matrices that align a task's embeddings.

    classes       log-odds of the row's class against all others together; its cross-entropy is log(1 + exp(-margin))
    tags, sets    the same of one labelled token, or of one label of the set, drawn for each row: a mean over them would
                  be no margin whose loss is the task's
    regression    what the prediction lacks of the standardised label; the loss is the margin squared

Rows are drawn by the run's seed and by their inputs: tasks with the same inputs are asked about the same rows. The
projection is a count sketch (``sketch.py``) and not the paper's dense matrix of signs: it keeps inner products with the
same error and costs one addition per weight, not ``size`` of them. It is a hash, so there is nothing to store.

Costs a backward pass per row, twice ``rows`` of them for each task, and memory as ``row_gradients.py`` says.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch

from auxtune.trials.encoded import IGNORED, EncodedSplit, EncodedTask
from auxtune.trials.failures import NonFiniteError
from auxtune.trials.model import RegressionHead
from auxtune.trials.probes.measuring import hash_inputs, leave_undisturbed
from auxtune.trials.probes.probe import Arrays, Options, OutputGradientsOptions, ProbeError, Subject, read_options
from auxtune.trials.probes.row_gradients import RowGradients, Said

PARTS = ("train", "probe")


def output_gradients(subject: Subject, options: Options) -> Arrays:
    """Projected gradients of margins, and the margins, of rows of the splits train and probe, in the tasks' order.

    ``tasks`` (n,) names and ``kinds`` (n,), and of each split ``<split>_gradients`` (rows, size) float32,
    projected, ``<split>_margins`` (rows,) float32, and ``<split>_task`` (rows,) int, each row's place in ``tasks``. At
    most the option ``rows`` are of one task and split. Raises ``ProbeError`` for a split without a labelled row,
    ``NonFiniteError`` for outputs or gradients that are not finite.
    """
    wanted, device = read_options(OutputGradientsOptions, options), subject.collate.device
    gradients = RowGradients(subject.model, f"output gradients {subject.recipe.seed}", wanted.size, device)
    arrays = {
        "tasks": np.array(list(subject.tasks), np.str_),
        "kinds": np.array([task.kind for task in subject.tasks.values()], np.str_),
    }
    with leave_undisturbed(subject.model, device):
        for part in PARTS:
            found = [
                _measure_task(
                    subject,
                    task,
                    part,
                    draw_rows(task, part, wanted.rows, subject.recipe.seed),
                    gradients,
                )
                for task in subject.tasks.values()
            ]
            arrays[f"{part}_margins"] = np.concatenate([margins for margins, _ in found])
            arrays[f"{part}_gradients"] = np.concatenate([sketches for _, sketches in found])
            arrays[f"{part}_task"] = np.repeat(np.arange(len(found)), [len(margins) for margins, _ in found])
    return arrays


@dataclasses.dataclass(frozen=True)
class Drawn:
    """Rows of a split in rising order, and what is asked of each: a token's or label's place, and what is true of it.

    ``place`` is 0 where a row has one label only. ``label`` is a class or tag, 1 or 0 of a set, or a value.
    """

    rows: np.ndarray  # (rows,)
    place: np.ndarray  # (rows,) int64
    label: np.ndarray  # (rows,) int64 or float32


def draw_rows(task: EncodedTask, part: str, count: int, seed: int) -> Drawn:
    """At most ``count`` rows of a split that have a label. Raises ``ProbeError`` where there is none."""
    split = task.splits[part]
    key = hashlib.sha256(f"output gradients {hash_inputs(split)}".encode()).digest()[:8]
    rng = np.random.default_rng([seed, int.from_bytes(key, "big")])
    order, spots = rng.permutation(len(split)), rng.random(len(split))
    labels = _list_labels(task, split)
    rows = np.sort(np.array([row for row in order if len(labels[row])][:count], np.int64))
    if not len(rows):
        raise ProbeError(f"task {task.name}: no row of its {part} split has a label; give it more rows")
    place, label = zip(*(labels[row][int(spots[row] * len(labels[row]))] for row in rows), strict=True)
    return Drawn(rows, np.array(place, np.int64), np.array(label))


def _list_labels(task: EncodedTask, split: EncodedSplit) -> list[list[tuple[int, Any]]]:
    """The labels of each row, with their places: of its tokens, of its set, or the one it has."""
    if task.kind != "token":
        return [list(enumerate(row)) for row in split.labels.reshape(len(split), -1)]
    rows = np.split(split.labels, split.offsets[1:-1])
    return [[(at, tag) for at, tag in enumerate(row) if tag != IGNORED] for row in rows]


def _measure_task(
    subject: Subject,
    task: EncodedTask,
    part: str,
    drawn: Drawn,
    gradients: RowGradients,
) -> tuple[np.ndarray, np.ndarray]:
    """Margins (rows,) and sketches (rows, size), float32, in the order of ``drawn``."""
    # Rounding lengths up would need a mask.
    collate = dataclasses.replace(subject.collate, multiple=1)
    margins, sketches = [], []
    order = list(_split_by_length(task.splits[part], drawn.rows, gradients.most))
    said = _choose_margin(subject, task)
    for places in order:
        batch = collate(task, part, drawn.rows[places])
        asked = (torch.from_numpy(each[places]).to(collate.device) for each in (drawn.place, drawn.label))
        found = gradients(task.name, said, batch.tokens, batch.segments, *asked)
        margins.append(found[0])
        sketches.append(found[1])
    back = np.argsort(np.concatenate(order))
    both = torch.cat(margins).numpy()[back], torch.cat(sketches).numpy()[back]
    if not all(np.isfinite(each).all() for each in both):
        raise NonFiniteError(f"task {task.name}: an output or its gradient on the {part} split is not finite")
    return both[0].astype(np.float32), both[1].astype(np.float32)


def _split_by_length(split: EncodedSplit, rows: np.ndarray, most: int) -> Iterator[np.ndarray]:
    """Places in ``rows`` whose rows are equally long, at most ``most`` at a time."""
    lengths = split.lengths[rows]
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        yield from (places[start : start + most] for start in range(0, len(places), most))


def _choose_margin(subject: Subject, task: EncodedTask) -> Said:
    """The margin of a row's outputs, (outputs,) or (length, outputs), for the place and the label asked about."""
    head = subject.model.head(task.name)
    if isinstance(head, RegressionHead):
        mean, deviation = head.mean, head.deviation
        return lambda outputs, place, label: (label - mean) / deviation - outputs[0]
    if task.kind == "multi_label":
        return lambda outputs, place, label: (2 * label.float() - 1) * _select(outputs, place)
    if task.kind == "token":
        return lambda outputs, place, label: _compute_log_odds(_select(outputs, place), label)
    return lambda outputs, place, label: _compute_log_odds(outputs, label)


def _select(values: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
    return values.index_select(0, place[None])[0]


def _compute_log_odds(outputs: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
    """Of class ``label`` against all others together."""
    own = torch.arange(len(outputs), device=outputs.device) == label
    return _select(outputs, label) - outputs.masked_fill(own, -torch.inf).logsumexp(0)
