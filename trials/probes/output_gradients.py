"""The change of each task's outputs if the shared encoder moved a little: gradients of margins, row by row, projected.

Source: D. Li, A. Sharma, H. Zhang, "Scalable Multitask Learning Using Gradient-based Estimation of Task Affinity", KDD
2024, https://arxiv.org/abs/2409.06091: near the weights θ* to which all tasks were trained together, a model's output
is nearly linear in its weights, so the result of training any subset of tasks can be computed from these gradients
without training anything.

Each row has one number, its *margin*, and the margin's gradient with respect to the encoder. Heads stay fixed because
they are not shared, and so do the matrices that align a task's embeddings.

    classes       log-odds of the row's class against all others together; its cross-entropy is log(1 + exp(-margin))
    tags, sets    the same of one labelled token, or of one label of the set, drawn for each row: the loss of a mean
                  over them would not be a function of one margin
    regression    the standardised label less the prediction; the loss is the margin squared

Rows are drawn by the run's seed and by their inputs: tasks with the same inputs get the same rows. The projection is a
count sketch (``sketch.py``) and not the paper's dense matrix of signs: it preserves inner products with the same error
and costs one addition per weight, not ``size`` of them. It is a hash, so nothing is stored.

How rows are differentiated (``RowGradients``). ``torch.func`` differentiates all rows of a batch at once. It cannot
trace code that branches on the values of a tensor, as transformers does where it makes masks; so a batch has rows of
one length and needs no mask. DeBERTa makes its own mask if none is given, so it is given a mask of ones. A model that
can be traced in neither way is differentiated row by row, which is slow. Attention is computed in its plain form,
because fused forms have no rule for many rows at once.

It costs a backward pass per row, twice ``rows`` of them for each task. ``most`` bounds the rows of a batch, so that
their gradients take 256 MiB on a CPU and 2 GiB on a GPU, or those of one row. Only sketches are kept.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Iterator
from typing import Any, TypeAlias

import numpy as np
import torch
from torch.func import functional_call, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from auxtune.trials.batches import Batch
from auxtune.trials.data import IGNORED
from auxtune.trials.failures import NonFiniteError
from auxtune.trials.model import MultiTaskModel, RegressionHead
from auxtune.trials.probes.measuring import convert_to_double, leave_undisturbed
from auxtune.trials.probes.probe import Arrays, Options, OutputGradientsOptions, ProbeError, Subject, read_options
from auxtune.trials.probes.sketch import RowSketch
from auxtune.trials.tokens import EncodedSplit, EncodedTask, hash_inputs

# Numbers of the gradients held at once, 4 bytes each.
CPU_NUMBERS, GPU_NUMBERS = 2**26, 2**29
Said: TypeAlias = Callable[..., torch.Tensor]
Inputs: TypeAlias = tuple[torch.Tensor, ...]  # a row each along the first axis
Found: TypeAlias = tuple[dict[str, torch.Tensor], torch.Tensor]


class RowGradients:
    """Gradients of ``model`` by its encoder's parameters, sketched to ``size`` numbers by the projection ``name``."""

    def __init__(self, model: MultiTaskModel, name: str, size: int, device: torch.device) -> None:
        self._model = model
        self._parameters = {
            name: parameter.detach()
            for name, parameter in model.named_parameters()
            if name.startswith("encoder.") and parameter.requires_grad
        }
        length = sum(parameter.numel() for parameter in self._parameters.values())
        self.most = max(1, (CPU_NUMBERS if device.type == "cpu" else GPU_NUMBERS) // length)
        self._sketch = RowSketch(name, length, size, device)
        self._way = 0

    def __call__(
        self, task: str, said: Said, tokens: torch.Tensor, segments: torch.Tensor, *asked: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The numbers (rows,) and their gradients' sketches (rows, size), both float64 on the host.

        ``said`` computes a number from the outputs of a row, (outputs,) or (length, outputs), and its ``asked``.
        ``tokens`` and ``segments`` are (rows, length), without padding.
        """
        gradients, values = self._found(self._number(task, said), (tokens, segments, *asked))
        sketches = self._sketch(gradients[name].flatten(1) for name in self._parameters)
        return convert_to_double(values).cpu(), sketches

    def _number(self, task: str, said: Said) -> Said:
        """A function from the parameters, whether to give a mask, and one row's inputs, to the number of that row."""

        def number(
            parameters: dict[str, torch.Tensor],
            masked: bool,
            tokens: torch.Tensor,
            segments: torch.Tensor,
            *asked: torch.Tensor,
        ) -> torch.Tensor:
            mask = torch.ones_like(tokens)[None] if masked else None
            # Only its tokens, segments and mask are read.
            batch = Batch(tokens[None], segments[None], mask, tokens[None], np.zeros((1, len(tokens))), scored=0)
            return said(functional_call(self._model, parameters, (task, batch))[0], *asked)

        return number

    def _found(self, number: Said, inputs: Inputs) -> Found:
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH):
            while True:
                try:
                    return _WAYS[self._way](number, self._parameters, inputs)
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError:  # it would fail for every row: try the next way, and stay with the one that works
                    if self._way == len(_WAYS) - 1:
                        raise
                    self._way += 1


def _differentiate_together(masked: bool) -> Callable[[Said, dict[str, torch.Tensor], Inputs], Found]:
    """A way to differentiate all rows at once, with a mask or without."""

    def way(number: Said, parameters: dict[str, torch.Tensor], inputs: Inputs) -> Found:
        axes = (None, None, *(0 for _ in inputs))
        found: Found = vmap(grad_and_value(number), axes)(parameters, masked, *inputs)
        return found

    return way


def _differentiate_one_by_one(number: Said, parameters: dict[str, torch.Tensor], inputs: Inputs) -> Found:
    each = [grad_and_value(number)(parameters, True, *row) for row in zip(*inputs, strict=True)]
    gradients = {name: torch.stack([gradient[name] for gradient, _ in each]) for name in parameters}
    return gradients, torch.stack([value for _, value in each])


_WAYS = (_differentiate_together(False), _differentiate_together(True), _differentiate_one_by_one)


PARTS = ("train", "probe")


def measure_output_gradients(subject: Subject, options: Options) -> Arrays:
    """Projected gradients of margins, and the margins, of rows of the splits train and probe, in the tasks' order.

    ``tasks`` (n,) names and ``kinds`` (n,), and of each split ``<split>_gradients`` (rows, size) float32,
    projected, ``<split>_margins`` (rows,) float32, and ``<split>_task`` (rows,) int, each row's position in ``tasks``.
    The option ``rows`` is the most per task and split. Raises ``ProbeError`` for a split without a labelled row,
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
    """Rows of a split, ascending, and of each the position of one token or label, and its true label.

    ``place`` is 0 for a row with a single label. ``label`` is a class or tag, 1 or 0 for a set, or a value.
    """

    rows: np.ndarray  # (rows,)
    place: np.ndarray  # (rows,) int64
    label: np.ndarray  # (rows,) int64 or float32


def draw_rows(task: EncodedTask, part: str, count: int, seed: int) -> Drawn:
    """At most ``count`` rows of a split that have a label. Raises ``ProbeError`` if there is none."""
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
    """The labels of each row with their positions: of its tokens, of its set, or its only one."""
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
    # Padding to a multiple would need a mask.
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
    """Positions in ``rows`` of rows that are equally long, at most ``most`` at a time."""
    lengths = split.lengths[rows]
    for length in np.unique(lengths):
        places = np.flatnonzero(lengths == length)
        yield from (places[start : start + most] for start in range(0, len(places), most))


def _choose_margin(subject: Subject, task: EncodedTask) -> Said:
    """The margin as a function of a row's outputs, (outputs,) or (length, outputs), of a position and a label."""
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
    """The log-odds of class ``label`` against all others together: z_label - log Σ_others exp(z)."""
    own = torch.arange(len(outputs), device=outputs.device) == label
    return _select(outputs, label) - outputs.masked_fill(own, -torch.inf).logsumexp(0)
