"""Data and base weights on a real cluster: one copy in the object store of each node, which all its processes read."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import ray
from ray import tune
from ray._private.internal_api import node_stats
from ray.cluster_utils import Cluster
from ray.experimental import get_object_locations
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
from small_study import write_task
from transformers import BertConfig, BertModel

from auxtune.orchestrator.engine.trainable import StudyTrainable
from auxtune.trials.data.sources import TaskSource
from auxtune.trials.data.tasks import load_tasks
from auxtune.trials.encoder import BaseEncoder, build_encoder, load_base
from auxtune.trials.recipe import ModelOptions
from auxtune.trials.tokens import EncodedTask, encode_tasks

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/maps").exists(), reason="reads what Linux says that a process has mapped"),
]


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """A head that runs no trial, and two nodes for two trials each; this process is connected."""
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        for _ in range(2):
            cluster.add_node(num_cpus=2)
        ray.init(address=cluster.address, log_to_driver=False)
        yield cluster
    finally:
        ray.shutdown()
        cluster.shutdown()


def looking() -> type[StudyTrainable]:
    """The study's own Trainable, which can say where its arrays lie. Local, so that it is sent by value."""

    class Looking(StudyTrainable):
        def setup(self, config: dict[str, Any], tasks: Mapping[str, EncodedTask], base: BaseEncoder) -> None:  # type: ignore[override]
            self._tasks, self._base = tasks, base

        def look(self) -> dict[str, list[bool]]:
            """Of each array handed over, and of the weights of a model made of it: is it in the node's store?"""
            lines = [line for line in Path("/proc/self/maps").read_text().splitlines() if "plasma" in line]
            store = [[int(end, 16) for end in line.split()[0].split("-")] for line in lines]

            def inside(address: int) -> bool:
                return any(start <= address < end for start, end in store)

            splits = [split for task in self._tasks.values() for split in task.splits.values()]
            arrays = [*(self._base.weights or {}).values(), *(a for split in splits for a in vars(split).values())]
            module = build_encoder(self._base, seed=0).module
            return {
                "handed": [inside(array.ctypes.data) for array in arrays],
                "written to": [array.flags.writeable for array in arrays],
                "trained": [inside(weight.data_ptr()) for weight in module.parameters()],
            }

    return Looking


def in_store() -> dict[str, int]:
    """Bytes in each node's object store."""
    return {
        node["NodeID"]: node_stats(
            node["NodeManagerAddress"], node["NodeManagerPort"], False
        ).store_stats.object_store_bytes_used
        for node in ray.nodes()
    }


def test_each_node_has_data_and_weights_once_and_no_process_a_copy_of_its_own(cluster: Cluster, tmp_path: Path) -> None:
    write_task(tmp_path / "moods", 2)
    sizes = {"hidden_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 64}
    BertModel(BertConfig(**sizes, vocab_size=4000)).save_pretrained(tmp_path / "bert")
    base = load_base(ModelOptions(name=str(tmp_path / "bert"), max_length=16))
    tasks = load_tasks([TaskSource("moods", path=tmp_path / "moods")])
    encoded = encode_tasks(tasks, ModelOptions(max_length=16), tmp_path / "tokens")
    references = [ray.put(encoded), ray.put(base)]
    trainable = ray.remote(num_cpus=1)(tune.with_parameters(looking(), tasks=references[0], base=references[1]))
    places = [node["NodeID"] for node in ray.nodes() if node["Resources"].get("CPU")]
    assert len(places) == 2
    workers = [
        trainable.options(scheduling_strategy=NodeAffinitySchedulingStrategy(place, soft=False)).remote({})
        for place in places * 2
    ]
    for looked in ray.get([worker.look.remote() for worker in workers]):
        assert all(looked["handed"]) and len(looked["handed"]) > 16
        assert not any(looked["written to"]) and not any(looked["trained"])

    found = get_object_locations(references)
    assert all(len(found[one]["node_ids"]) == len({*found[one]["node_ids"]}) == 3 for one in references)
    # Four processes of two nodes, and the driver's: in each store, both things once and nothing else.
    assert set(in_store().values()) == {sum(found[one]["object_size"] for one in references)}
