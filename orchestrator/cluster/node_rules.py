"""What the types of nodes must offer: a place to train that is not the head, declared GPUs, a way out of spot.

Which type the autoscaler would start is asked of Ray's own scheduler, that of the autoscaler behind ``ray up``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from auxtune.orchestrator.cluster.cluster_file import ClusterFile
from auxtune.orchestrator.cluster.finding import Finding
from auxtune.orchestrator.cluster.start_rules import HEAD, ray_start

_NO_CPUS = re.compile(r"--num-cpus[= ]+[\"']?0(?!\d)")
_GPU_INSTANCE = re.compile(r"(p\d|g\d|gr\d)\w*\.")  # AWS's families with NVIDIA GPUs


def node_findings(file: ClusterFile) -> Iterator[Finding]:
    """Findings about node types; ``provider: local`` has none, and its machines count their resources themselves."""
    workers = _workers(file)
    yield from _somewhere(file, bool(workers))
    if file.provider.get("type") == "aws":
        yield from _aws(file)
    if file.provider.get("type") != "local" and workers:
        yield from _gpus(file, workers)
        yield from _spot(file, workers)


def _workers(file: ClusterFile) -> dict[str, Any]:
    """The types of which a worker can be started."""
    limit = file.data.get("max_workers", 0)
    head = None if file.provider.get("type") == "local" else file.data["head_node_type"]
    types = file.data["available_node_types"].items()
    return {name: kind for name, kind in types if min(limit, kind["max_workers"]) > 0 and name != head}


def _head_trains(file: ClusterFile) -> bool:
    if file.provider.get("type") == "local":
        start = ray_start(file, HEAD)
        return start is not None and not _NO_CPUS.search(start[1])
    declared = file.data["available_node_types"][file.data["head_node_type"]]["resources"]
    return bool(declared.get("CPU", 1))  # what is not declared is counted on the machine


def _somewhere(file: ClusterFile, workers: bool) -> Iterator[Finding]:
    trains = _head_trains(file)
    local = file.provider.get("type") == "local"
    if trains and workers:
        start = ray_start(file, HEAD)
        path = start[0] if local and start else ("available_node_types", file.data["head_node_type"], "resources")
        yield Finding(
            "head",
            file.place(path, "start" if local else ""),
            "the head has CPUs for trials",
            "A trial that takes all of the head's memory takes the study's driver with it, and the whole cluster.",
            "`ray start --head --num-cpus=0`" if local else "`resources: {CPU: 0}` for the head's type",
        )
    elif not trains and not workers:
        yield Finding(
            "workers",
            file.place(("max_workers",)),
            "nothing can train: the head has no CPUs and max_workers allows no worker",
            "Trials would wait for ever.",
            "raise max_workers, of the file and of a worker's type" + (", and name worker_ips" if local else ""),
        )


def _aws(file: ClusterFile) -> Iterator[Finding]:
    for name, kind in file.data["available_node_types"].items():
        config = kind.get("node_config") or {}
        if "SecurityGroupIds" not in config and "NetworkInterfaces" not in config:
            yield Finding(
                "ssh",
                file.place(("available_node_types", name)),
                f"node type {name} names no security group",
                "Ray then makes one that lets the whole world try SSH.",
                "`SecurityGroupIds: [sg-…]` in its node_config, with SSH from your address only",
                "warning",
            )


def _gpus(file: ClusterFile, workers: Mapping[str, Any]) -> Iterator[Finding]:
    silent = [
        name
        for name, kind in workers.items()
        if _GPU_INSTANCE.match(str((kind.get("node_config") or {}).get("InstanceType"))) and not _gpu_count(kind)
    ]
    if silent:
        yield Finding(
            "gpu",
            file.place(("available_node_types", silent[0], "resources")),
            f"GPUs that the instances of {' and '.join(silent)} have are not declared",
            "The autoscaler starts a node for a trial only where the declared resources satisfy it.",
            "`resources: {CPU: …, GPU: …}` with what the instance has",
        )
    elif not any(map(_gpu_count, workers.values())):
        why = "Trials would train on CPUs; `gpus: auto` of a study becomes 0."
        remedy = "declare GPUs in the resources of a worker's type"
        what = "no worker's type has a GPU"
        yield Finding("gpu", file.place(("available_node_types",)), what, why, remedy, "warning")


def _gpu_count(kind: Mapping[str, Any]) -> int:
    return int((kind.get("resources") or {}).get("GPU", 0))


def _spot(file: ClusterFile, workers: dict[str, Any]) -> Iterator[Finding]:
    spot = {name for name, kind in workers.items() if _is_spot(kind)}
    if not spot:
        return
    place = file.place(("available_node_types", min(spot)))
    gpus = int(any(_gpu_count(workers[name]) for name in spot))
    if not any(name not in spot and _gpu_count(kind) >= gpus for name, kind in workers.items()):
        what = "there are spot workers and none on demand that could take their place"
        why = "While the cloud has no spot instance left, which may last for hours, nothing is trained."
        yield Finding("spot", place, what, why, "add a type with the same resources without spot", "warning")
    else:
        yield from _order(file, workers, spot, {"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1})


def _order(file: ClusterFile, workers: dict[str, Any], spot: set[str], demand: dict[str, Any]) -> Iterator[Finding]:
    """Spot first, and on demand where there is no spot."""
    place = file.place(("available_node_types", min(spot)))
    first, second = (_started(workers, demand, refused) for refused in (set(), spot))
    if first not in spot:
        what = f"the autoscaler starts {first}, on demand, before any of {', '.join(sorted(spot))}"
        why = "Ray takes the type that a demand fills best and, among equals, the one of the highest `priority`."
        remedy = "give both types the same resources, and the spot type the higher `priority`"
        yield Finding("spot", place, what, why, remedy, "warning")
    if second in spot:
        what = f"where the cloud refuses spot, the autoscaler asks for {second} again and never for one on demand"
        why = "Ray takes the type that a demand fills best; what was refused comes last only among equals."
        remedy = "give both types the same resources"
        yield Finding("spot", place, what, why, remedy, "warning")


def _is_spot(kind: Mapping[str, Any]) -> bool:
    market = (kind.get("node_config") or {}).get("InstanceMarketOptions") or {}
    return str(market.get("MarketType")).lower() == "spot"


def _started(types: dict[str, Any], demand: dict[str, Any], refused: set[str]) -> str | None:
    """The type that Ray's autoscaler starts for ``demand`` when the cloud has just refused those in ``refused``."""
    from ray.autoscaler.v2.instance_manager.config import NodeTypeConfig
    from ray.autoscaler.v2.scheduler import ResourceDemandScheduler, SchedulingRequest
    from ray.autoscaler.v2.utils import ResourceRequestUtil

    request = SchedulingRequest(
        disable_launch_config_check=True,
        node_type_configs={
            name: NodeTypeConfig(name, 0, 1, priority=kind.get("priority", 0), resources=kind.get("resources") or {})
            for name, kind in types.items()
        },
        max_num_nodes=1,
        resource_requests=ResourceRequestUtil.group_by_count([ResourceRequestUtil.make(demand)]),
        recoverable_resource_availabilities=dict.fromkeys(refused, 0.0),
    )
    launched = ResourceDemandScheduler(event_logger=None).schedule(request).to_launch
    return launched[0].instance_type if launched else None
