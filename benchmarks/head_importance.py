"""Does keeping rows apart in a batch pay? Rows per second of the head importance probe and of a loop over rows.

    python benchmarks/head_importance.py --out benchmarks/results/head_importance.json

The encoder is a random BERT of six layers with 12 heads and width 384, the size of the small MiniLMs, in float32; rows
have 8 to 64 tokens and two classes. The loop is the obvious computation: a row, a forward pass, a backward pass through
all weights, |gradient|. Probe and loop take turns ``--repeats`` times in one process, and each speed is the best of
its turns: on a machine with other work the slower ones measure that work. Under two minutes on one core.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import BertConfig

from auxtune.trials.batches import Collate
from auxtune.trials.encoder import BaseEncoder, build_encoder
from auxtune.trials.model import MultiTaskModel
from auxtune.trials.probes.head_importance import measure_instance_importance
from auxtune.trials.probes.heads import AttentionHeads, Projection, find_heads
from auxtune.trials.probes.probe import Subject
from auxtune.trials.recipe import Recipe
from auxtune.trials.tokens import EncodedSplit, EncodedTask

CONFIG = BertConfig(
    vocab_size=2000,
    hidden_size=384,
    num_hidden_layers=6,
    num_attention_heads=12,
    intermediate_size=1536,
    max_position_embeddings=64,
)
ROWS = 128


def main() -> None:
    """Measure both forms and write and print the speeds."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=3, help="turns of probe and loop")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where to write the rows, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    subject = random_subject()
    heads = find_heads(subject.model.encoder)
    results = []
    for form, loop in (("mask", loop_by_mask), ("key_value", loop_by_weights)):
        probe = partial(measure_instance_importance, subject, {"form": form})
        results.append({"form": form, "rows": ROWS, "threads": arguments.threads})
        results[-1] |= compared(lambda probe=probe: probe()["importance"], partial(loop, subject, heads), arguments)
        print(json.dumps(results[-1]), flush=True)
    if arguments.out:
        arguments.out.parent.mkdir(parents=True, exist_ok=True)
        arguments.out.write_text(json.dumps(results, indent=1) + "\n")


def random_subject() -> Subject:
    """A run of one task that has ended before it began."""
    rng = np.random.default_rng(0)
    offsets = np.concatenate([[0], np.cumsum(rng.integers(8, 65, ROWS))])
    tokens = rng.integers(5, CONFIG.vocab_size, offsets[-1]).astype(np.int32)
    split = EncodedSplit(tokens, np.zeros(len(tokens), np.uint8), offsets, rng.integers(0, 2, ROWS))
    task = EncodedTask("one", "classification", ("no", "yes"), ("accuracy",), {"train": split}, "one")
    base = BaseEncoder(json.loads(CONFIG.to_json_string(use_diff=False)), None, "random")
    model = MultiTaskModel(build_encoder(base, 0), [task], "mean", seed=0).eval()
    recipe = Recipe(tasks=("one",), shares={"one": 1.0}, cycle={"one": 1}, evaluate=("one",), test=(), steps=1)
    return Subject(model, {"one": task}, Collate(model.encoder.pad, 64, torch.device("cpu")), base, recipe)


def compared(
    probe: Callable[[], np.ndarray], loop: Callable[[], np.ndarray], arguments: argparse.Namespace
) -> dict[str, Any]:
    """The best speeds of both, and how far apart their results are."""
    seconds: dict[str, list[float]] = {"probe": [], "loop": []}
    found: dict[str, np.ndarray] = {}
    for _ in range(arguments.repeats):
        for name, measure in (("probe", probe), ("loop", loop)):
            began = time.perf_counter()
            found[name] = measure()
            seconds[name].append(time.perf_counter() - began)
    best = {name: ROWS / min(each) for name, each in seconds.items()}
    return {
        "probe_rows_per_second": round(best["probe"], 1),
        "loop_rows_per_second": round(best["loop"], 1),
        "ratio": round(best["probe"] / best["loop"], 2),
        "largest_relative_difference": float((abs(found["probe"] - found["loop"]) / found["loop"].max()).max()),
    }


def loop_by_mask(subject: Subject, heads: AttentionHeads) -> np.ndarray:
    """A mask for all rows, whose gradient is that of the one row."""
    mask = torch.ones(len(heads.layers), heads.heads, requires_grad=True)
    width = CONFIG.hidden_size // heads.heads

    def multiply(layer: int, _: nn.Module, inputs: tuple[torch.Tensor]) -> torch.Tensor:
        return inputs[0] * mask[layer].repeat_interleave(width)

    rows = []
    with ExitStack() as hooks:
        for number, layer in enumerate(heads.layers):
            hooks.enter_context(layer.output.register_forward_pre_hook(partial(multiply, number)))
        for row in range(ROWS):
            mask.grad = None
            backward(subject, row)
            rows.append(mask.grad.abs().numpy())
    return np.stack(rows)


def loop_by_weights(subject: Subject, heads: AttentionHeads) -> np.ndarray:
    """The gradients that a backward pass leaves in the weights."""

    def blocks(projection: Projection) -> torch.Tensor:
        return projection.linear.weight.grad.abs().unflatten(0, (heads.heads, -1)).mean((1, 2))

    rows = []
    for row in range(ROWS):
        backward(subject, row)
        rows.append(torch.stack([blocks(layer.key) + blocks(layer.value) for layer in heads.layers]).numpy())
    return np.stack(rows)


def backward(subject: Subject, row: int) -> None:
    """The gradients of one row."""
    subject.model.zero_grad()
    batch = subject.collate(subject.tasks["one"], "train", np.array([row]))
    [task] = subject.model.tasks
    torch.autograd.backward(subject.model.head(task).loss(subject.model(task, batch), batch.labels))


if __name__ == "__main__":
    main()
