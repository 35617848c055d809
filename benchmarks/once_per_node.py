"""The memory that data and base weights take on a cluster, per node or per process, and how soon a trial starts.

    python benchmarks/once_per_node.py --nodes 2 --per-node 2

The nodes are processes of this machine, each with an object store of its own. On each run ``--per-node`` worker
processes, and each starts the same trial twice, the second time in the process that already exists. Three ways:

- ``own``: what users would otherwise write. Each trial reads and tokenises the data and calls ``from_pretrained``.
- ``mapped``: tasks and weights come from the object store, the arrays of the tasks as ``numpy.memmap``, which is how
  they lie on disk. NumPy pickles those with their bytes, and every process makes a copy.
- ``shared``: as auxtune does it, by the Trainable of every study.

A start lasts until the first training step may begin, with data and model at hand. Private memory is the memory that
would be freed if the process ended (USS), less what it had once it was up with its imports, measured after all rows
were read and all weights written: it includes a trial's own copy of the weights. About two minutes on two cores.
Without ``--encoder`` the weights are random: BERT's embeddings, six layers of 384.
"""

from __future__ import annotations

import argparse
import gc
import json
import os
import tempfile
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_memory_monitor_refresh_ms", "0")  # nodes share a machine, and its memory

import datasets
import numpy as np
import psutil
import ray
import torch
from provenance import provenance
from ray import tune
from ray._private.internal_api import node_stats
from ray.cluster_utils import Cluster
from ray.experimental import get_object_locations
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from transformers import AutoModel, AutoTokenizer, BertConfig, BertModel, BertTokenizerFast

from auxtune.orchestrator.engine.trainable import Assignment, StudyTrainable
from auxtune.selectors.protocol import Problem, Proposal, TaskInfo
from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import load_tasks
from auxtune.trials.encoder import load_base
from auxtune.trials.recipe import ModelOptions, Recipe
from auxtune.trials.tokens import EncodedTask, encode_tasks

RESULT = Path(__file__).with_name("results") / "once_per_node.json"
LENGTH, WORDS = 64, [f"w{i}" for i in range(5000)]
MB = 1e6


class Measured(tune.Trainable):
    """Measures the cost of its own setup and starts. Ray's wrapper fetches shared objects within ``__init__``."""

    def __init__(self, config: dict[str, Any] | None = None, **more: Any) -> None:
        torch.set_num_threads(1)
        BertModel(BertConfig(vocab_size=9, hidden_size=4, num_hidden_layers=1, num_attention_heads=1))  # its imports
        self._before, began = private(), time.perf_counter()
        super().__init__(config, **more)
        self._setup_seconds = time.perf_counter() - began

    def start(self) -> dict[str, float]:
        """Seconds until a trial may begin to train, and private MB beyond those of the bare process."""
        began = time.perf_counter()
        self.begin()
        seconds, self._setup_seconds = self._setup_seconds + time.perf_counter() - began, 0.0
        self.touch()
        return {"seconds": seconds, "private_mb": (private() - self._before) / MB}

    def begin(self) -> None:
        """Get data and model."""
        raise NotImplementedError

    def touch(self) -> None:
        """Read all rows and write all weights once, as an epoch does; a file that is mapped is private only then."""
        raise NotImplementedError


class Own(Measured):
    """Reads the files, tokenises and loads the encoder, as a trial of one's own does; the node's disk is its cache."""

    def begin(self) -> None:
        """Get data and model."""
        self._held: Any = None  # free the previous trial's, as a new one would
        settings = self.config
        cache = str(Path(settings["home"], "cache", ray.get_runtime_context().get_node_id()))
        tokenizer = AutoTokenizer.from_pretrained(settings["encoder"])
        tokenised = []
        for file in settings["files"]:
            rows = datasets.load_dataset("json", data_files=file, split="train", cache_dir=cache)
            tokenised.append(
                rows.map(
                    lambda batch: tokenizer(batch["sentence1"], truncation=True, max_length=LENGTH),
                    batched=True,
                    remove_columns=["sentence1"],
                )
            )
        self._held = tokenised, AutoModel.from_pretrained(settings["encoder"], dtype=torch.float32)

    def touch(self) -> None:
        """Read all rows and write all weights once."""
        tokenised, model = self._held
        for rows in tokenised:
            rows.data.table.combine_chunks()  # reads Arrow's map of the cache file
        write_once(model)


class Shared(Measured, StudyTrainable):
    """What every study runs, up to its first step."""

    def begin(self) -> None:
        """Get data and model."""
        self.reset_config(self.config)
        self._run = self._begun()

    def touch(self) -> None:
        """Read all rows and write all weights once."""
        for task in self._tasks.values():
            for split in task.splits.values():
                _ = [int(array.sum()) for array in vars(split).values()]
        write_once(self._run._train_step.model)


def main() -> None:
    """Measure the three ways, one after the other, and write the result."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--nodes", type=int, default=2)
    parser.add_argument("--per-node", type=int, default=2, help="worker processes on each")
    parser.add_argument("--tasks", type=int, default=4)
    parser.add_argument("--rows", type=int, default=20_000, help="of each task")
    parser.add_argument("--encoder", help="a folder with a pretrained encoder")
    parser.add_argument("--out", type=Path, default=RESULT)
    arguments = parser.parse_args()
    datasets.disable_progress_bars()
    with tempfile.TemporaryDirectory() as scratch:
        home = Path(scratch)
        encoder = arguments.encoder or random_encoder(home / "encoder")
        files = [write_task(home / f"task{i}.jsonl", i, arguments.rows) for i in range(arguments.tasks)]
        options = ModelOptions(name=encoder, max_length=LENGTH, pooling="mean")
        sources = [TaskSource(f"task{i}", path=Path(file)) for i, file in enumerate(files)]
        tasks, base = encode_tasks(load_tasks(sources), options, home / "tokens"), load_base(options)
        assigned = {"assignment": assignment(home / "trial", tuple(tasks), options)}
        own = {"home": str(home), "files": files, "encoder": encoder}
        ways: dict[str, tuple[type[Measured], dict[str, Any], dict[str, Any]]] = {
            "own": (Own, own, {}),
            "mapped": (Shared, assigned, {"tasks": mapped(tasks), "base": base}),
            "shared": (Shared, assigned, {"tasks": tasks, "base": base}),
        }
        rows = []
        for way, (trainable, config, given) in ways.items():
            rows.append({"way": way, **measure(trainable, config, given, arguments.nodes, arguments.per_node)})
            print(json.dumps(rows[-1]), flush=True)
    arrays = [array for task in tasks.values() for split in task.splits.values() for array in vars(split).values()]
    weights = sum(array.nbytes for array in base.weights.values()) if base.weights else 0
    sizes = {"tasks_mb": round(sum(a.nbytes for a in arrays) / MB, 1), "weights_mb": round(weights / MB, 1)}
    head = provenance([0], ("ray", "torch", "transformers", "datasets", "numpy"))
    arguments.out.write_text(json.dumps({**head, **sizes, "rows": rows}, indent=1) + "\n")


def measure(
    trainable: type[Measured], config: dict[str, Any], given: Mapping[str, Any], nodes: int, per_node: int
) -> dict[str, Any]:
    """Two trials in each of ``per_node`` processes on each of ``nodes`` nodes, one at a time, and the nodes' stores."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    for _ in range(nodes):
        cluster.add_node(num_cpus=per_node)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    try:
        references = {name: ray.put(value) for name, value in given.items()}
        handed = tune.with_parameters(trainable, **references) if references else trainable
        places = [node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU")] * per_node
        workers = [
            ray.remote(num_cpus=1)(handed)
            .options(scheduling_strategy=NodeAffinitySchedulingStrategy(place, soft=False))
            .remote(config)
            for place in places
        ]
        ray.get([worker.get_auto_filled_metrics.remote() for worker in workers])  # all are up
        first, following = ([ray.get(worker.start.remote()) for worker in workers] for _ in range(2))
        found = get_object_locations(list(references.values()))
        return {
            "processes": len(workers),
            "store_mb_per_node": stored(),
            "copies": {name: len(found[reference]["node_ids"]) for name, reference in references.items()},
            "private_mb_per_process": [round(one["private_mb"], 1) for one in following],
            "first_start_seconds": [round(one["seconds"], 3) for one in first],
            "next_start_seconds": [round(one["seconds"], 3) for one in following],
        }
    finally:
        ray.shutdown()
        cluster.shutdown()


def stored() -> list[float]:
    """MB in each node's object store, the head's first."""
    heads_first = sorted(ray.nodes(), key=lambda node: node["Resources"].get("CPU", 0.0))
    stats = (node_stats(node["NodeManagerAddress"], node["NodeManagerPort"], False) for node in heads_first)
    return [round(one.store_stats.object_store_bytes_used / MB, 1) for one in stats]


def write_once(model: torch.nn.Module) -> None:
    """Write each weight, as a step does."""
    with torch.no_grad():
        for weight in model.parameters():
            weight.mul_(1.0)


def private() -> int:
    """Bytes that would be free if this process ended, once nothing is left to collect."""
    gc.collect()
    return int(psutil.Process().memory_full_info().uss)


def mapped(tasks: Mapping[str, EncodedTask]) -> dict[str, EncodedTask]:
    """The tasks with the memory maps that lie under their arrays."""

    def opened(array: np.ndarray) -> np.ndarray:
        return array.base if isinstance(array.base, np.memmap) else array

    return {
        name: replace(
            task,
            splits={
                part: replace(split, **{key: opened(array) for key, array in vars(split).items()})
                for part, split in task.splits.items()
            },
        )
        for name, task in tasks.items()
    }


def assignment(folder: Path, names: tuple[str, ...], options: ModelOptions) -> Assignment:
    """One trial of all tasks in equal shares."""
    shares = dict.fromkeys(names, 1 / len(names))
    infos = tuple(TaskInfo(name, "classification", 1) for name in names)
    return Assignment(
        trial=0,
        attempt=1,
        recipe=Recipe(names, shares, names[:1], dict.fromkeys(names, 1), model=options),
        folder=folder,
        checkpoint=None,
        start=None,
        judged=False,
        cpus=1,
        gpus=0,
        wanted={"CPU": 1},
        proposal=Proposal(names),
        problem=Problem(infos, names[0]),
        study=folder.parent,
        measure=None,
    )


def random_encoder(folder: Path) -> str:
    """A BERT with random weights, 90 MB, and a tokenizer that knows ``WORDS``."""
    folder.mkdir()
    vocabulary = folder / "vocab.txt"
    vocabulary.write_text("\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *WORDS]))
    BertTokenizerFast(vocab=str(vocabulary)).save_pretrained(folder)
    sizes = {"hidden_size": 384, "num_hidden_layers": 6, "num_attention_heads": 12, "intermediate_size": 1536}
    BertModel(BertConfig(**sizes)).save_pretrained(folder)
    return str(folder)


def write_task(file: Path, seed: int, rows: int) -> str:
    """Sentences of about thirty words in two classes."""
    rng = np.random.default_rng(seed)
    with file.open("w") as written:
        for label in rng.integers(2, size=rows):
            chosen = rng.integers(len(WORDS), size=rng.integers(20, 40))
            sentence = " ".join(WORDS[i] for i in chosen)
            written.write(json.dumps({"sentence1": sentence, "label": ("no", "yes")[label]}) + "\n")
    return str(file)


if __name__ == "__main__":
    main()
