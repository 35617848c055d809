"""A study on a cluster without workers, whose autoscaler starts them: Ray's own, with nodes that are processes here."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import pytest
import yaml
from brought_up import Up
from machine import free_port
from ray.autoscaler._private.fake_multi_node.node_provider import (
    FAKE_HEAD_NODE_ID,
    FAKE_HEAD_NODE_TYPE,
    FakeMultiNodeProvider,
)

pytestmark = pytest.mark.slow

STUDY = """
study: from-zero
primary: mood
tasks: {mood: {builtin: mood, rows: 200}, tint: {builtin: tint}}
training: {steps: 40, evaluate_every: 20}
selector: {name: random_subset, trials: 1}
confirm: {seeds: 2, controls: [single_task]}
budget: {trials: 10}
resources: {cpus: 1, gpus: 0.5, device: cpu}
prices: {gpu_hour: 1.0, cpu_hour: 0.1, nodes: {gpu_spot: 0.5, ray.head.default: 0.1}}
storage: /mnt/shared/studies
tracking: {uri: "sqlite:////mnt/shared/mlflow.db"}
"""


def cluster_file(gcs: str) -> str:
    """Workers of two types, alike but for their priority."""
    kind = {"resources": {"CPU": 1, "GPU": 1}, "min_workers": 0, "max_workers": 2, "node_config": {}}
    return yaml.safe_dump(
        {
            "cluster_name": "from-zero",
            "max_workers": 2,
            "idle_timeout_minutes": 0.2,
            "head_node_type": FAKE_HEAD_NODE_TYPE,
            "provider": {
                "type": "external",
                "module": f"{FakeMultiNodeProvider.__module__}.{FakeMultiNodeProvider.__name__}",
                "head_node_id": FAKE_HEAD_NODE_ID,
                "launch_multiple": True,
                "gcs_address": gcs,
                "disable_node_updaters": True,
                "disable_launch_config_check": True,
            },
            "available_node_types": {
                FAKE_HEAD_NODE_TYPE: {"resources": {"CPU": 0}, "max_workers": 0, "node_config": {}},
                # Labelled here, since the provider's nodes are in the head's environment, which names the head's type.
                "gpu_on_demand": {**kind, "labels": {"ray.io/node-group": "gpu_on_demand"}},
                "gpu_spot": {**kind, "labels": {"ray.io/node-group": "gpu_spot"}, "priority": 1},
            },
            "auth": {},
            "file_mounts": {},
            "setup_commands": [],
            "initialization_commands": [],
            "cluster_synced_files": [],
            "rsync_exclude": [],
            "rsync_filter": [],
            "no_restart": False,
            "head_setup_commands": [],
            "worker_setup_commands": [],
            "head_start_ray_commands": [],
            "worker_start_ray_commands": [],
            "upscaling_speed": 1.0,
        }
    )


@pytest.fixture
def empty(up: Up) -> Iterator[Up]:
    """The same machine with another Ray: a head alone, and an autoscaler."""
    gcs = free_port()
    address = up.laptop.run("ssh", *up.ssh, "hostname -I").stdout.split()[0]
    (up.disk / "home" / "ray_bootstrap_config.yaml").write_text(cluster_file(f"{address}:{gcs}"))
    began = up.laptop.run(
        "ssh",
        *up.ssh,
        "bash -ic "
        + quoted(
            "ray stop; RAY_FAKE_CLUSTER=1 RAY_enable_autoscaler_v2=1 AUTOSCALER_UPDATE_INTERVAL_S=1 "
            "RAY_AUTH_MODE=token "
            f"RAY_CLOUD_INSTANCE_ID={FAKE_HEAD_NODE_ID} RAY_OVERRIDE_NODE_ID_FOR_TESTING={FAKE_HEAD_NODE_ID} "
            f"RAY_NODE_TYPE_NAME={FAKE_HEAD_NODE_TYPE} "
            f"ray start --head --num-cpus=0 --num-gpus=0 --port={gcs} --include-dashboard=false "
            f"--dashboard-agent-listen-port={free_port()} --autoscaling-config=~/ray_bootstrap_config.yaml"
        ),
    )
    assert began.returncode == 0, began.stdout
    yield up
    up.laptop.run("ssh", *up.ssh, "bash -ic 'ray stop'")


def quoted(command: str) -> str:
    return f"'{command}'"


def on_machine(up: Up, command: str) -> tuple[int, str]:
    done = up.laptop.run("ssh", *up.ssh, "bash -ic " + quoted(f"RAY_AUTH_MODE=token {command}"), timeout=400)
    return done.returncode, done.stdout


def test_workers_are_started_for_a_study_and_go_again(empty: Up) -> None:
    (empty.disk / "home" / "study.yaml").write_text(STUDY)
    code, said = on_machine(empty, "auxtune run study.yaml --address auto --set resources.gpus=2")
    assert code == 2 and "gpus: 2" in said  # no node will ever have them
    code, said = on_machine(empty, "auxtune run study.yaml --address auto")
    assert code == 0, said
    cost = json.loads((empty.disk / "shared" / "studies" / "from-zero" / "selection.json").read_text())["cost"]
    assert cost["nodes"].keys() == {FAKE_HEAD_NODE_TYPE, "gpu_spot"}  # the type of the higher priority, and no other
    assert cost["cluster_usd"] == pytest.approx(sum(kind["usd"] for kind in cost["nodes"].values())) and cost["usd"] > 0
    end = time.monotonic() + 120
    while "gpu_spot" in (nodes := on_machine(empty, "ray list nodes --format json")[1]):
        assert time.monotonic() < end, nodes
        time.sleep(3)
