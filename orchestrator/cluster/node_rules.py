"""Checks that the types of nodes offer a place to train that is not the head, declared GPUs and a way out of spot.

Which type the autoscaler would start is asked of Ray's own scheduler, that of the autoscaler behind ``ray up``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from auxtune.orchestrator.cluster.cluster_file import ClusterFile, KeyPath, walk_strings
from auxtune.orchestrator.cluster.finding import Finding

HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"

_ANY = re.compile(r"(?<![\d.])0\.0\.0\.0(?![\d.])|--(?:dashboard-)?host[= ]+(?:::|\[::\])(?=\s|$)")
_MODE = re.compile(r"\bRAY_AUTH_MODE=[\"']?(\w+)")
_STARTS = re.compile(r"\bray[\"']?\s+start\b")


def check_start(file: ClusterFile) -> Iterator[Finding]:
    """Findings about addresses and authentication."""
    yield from _check_wildcard(file)
    yield from _check_authentication(file)
    yield from _check_address(file)


def find_ray_start(file: ClusterFile, key: str) -> tuple[KeyPath, str] | None:
    """The command under ``key`` that starts Ray; commands share no shell, so whatever it needs it must say itself."""
    return next(((path, command) for path, command in file.commands(key) if _STARTS.search(command)), None)


def _check_wildcard(file: ClusterFile) -> Iterator[Finding]:
    for path, text in walk_strings(file.data):
        if found := _ANY.search(text):
            origin = "" if file.is_written(path) else f" in `{path[0]}`, which is not written and so is Ray's default"
            yield Finding(
                "wildcard",
                file.place(path, found[0]),
                f"{found[0]}, the wildcard address{origin}",
                "Ray's dashboard runs the jobs of anyone who reaches it, and MLflow shows and deletes runs.",
                "listen on 127.0.0.1 and tunnel with `ray dashboard`; let in named addresses only",
            )


def _check_authentication(file: ClusterFile) -> Iterator[Finding]:
    modes: dict[str, str] = {}
    for key, side in ((HEAD, "on the head"), (WORKER, "on workers")):
        start = find_ray_start(file, key)
        if start is None:
            yield _report_missing_start(file, key)
        elif stated := _MODE.search(start[1]):
            modes[side] = stated[1]
        else:
            yield Finding(
                "auth",
                file.place(start[0], "start"),
                f"RAY_AUTH_MODE is not stated where Ray is started {side}",
                "Unset, Ray decides by whether a token file lies in the home folder: one side may refuse the other.",
                "put `export RAY_AUTH_MODE=token;` before `ray start`, on both sides",
            )
    if len(set(modes.values())) == 2:
        what = "RAY_AUTH_MODE is " + " and ".join(f"{mode} {side}" for side, mode in modes.items())
        remedy = "state the same mode on both sides"
        yield Finding("auth", file.place((WORKER,), "RAY_AUTH_MODE"), what, "Workers cannot join the head.", remedy)
    elif "token" in modes.values() and not any("auth_token" in mount for mount in file.data.get("file_mounts") or ()):
        yield Finding(
            "auth",
            file.place(("file_mounts",)),
            "RAY_AUTH_MODE is token and no token is copied to the nodes",
            "Ray hands no token out by itself; without one it does not start.",
            "add `~/.ray/auth_token: ~/.ray/auth_token` to file_mounts; `ray get-auth-token --generate` makes it",
        )


def _report_missing_start(file: ClusterFile, key: str) -> Finding:
    why = "`ray up` ends well and no Ray runs."
    remedy = "compare with cluster.yaml of auxtune"
    return Finding("start", file.place((key,)), f"no command of {key} is a `ray start`", why, remedy)


def _check_address(file: ClusterFile) -> Iterator[Finding]:
    start = find_ray_start(file, WORKER)
    if start is None:
        return
    heads = [r"\$RAY_HEAD_IP", r"\$\{RAY_HEAD_IP\}"]
    if head := file.provider.get("head_ip"):
        heads.append(re.escape(str(head)))
    if not re.search(rf"--address[= ]+[\"']?({'|'.join(heads)})(?![\w.])", start[1]):
        yield Finding(
            "address",
            file.place(start[0], "start"),
            "workers are started without the head's address",
            "Each would be a cluster of its own, and a study would never see it.",
            "`ray start --address=$RAY_HEAD_IP:6379`; Ray sets that variable",
        )


_NO_CPUS = re.compile(r"--num-cpus[= ]+[\"']?0(?!\d)")
_GPU_INSTANCE = re.compile(r"(p\d|g\d|gr\d)\w*\.")  # AWS's families with NVIDIA GPUs


def check_nodes(file: ClusterFile) -> Iterator[Finding]:
    """Findings about node types; ``provider: local`` has none, and its machines count their resources themselves."""
    workers = _list_worker_types(file)
    yield from _check_places(file, bool(workers))
    if file.provider.get("type") == "aws":
        yield from _check_aws(file)
    if file.provider.get("type") != "local" and workers:
        yield from _check_gpus(file, workers)
        yield from _check_spot(file, workers)


def _list_worker_types(file: ClusterFile) -> dict[str, Any]:
    """The types of which a worker can be started."""
    limit = file.data.get("max_workers", 0)
    head = None if file.provider.get("type") == "local" else file.data["head_node_type"]
    types = file.data["available_node_types"].items()
    return {name: kind for name, kind in types if min(limit, kind["max_workers"]) > 0 and name != head}


def _is_head_trained_on(file: ClusterFile) -> bool:
    if file.provider.get("type") == "local":
        start = find_ray_start(file, HEAD)
        return start is not None and not _NO_CPUS.search(start[1])
    declared = file.data["available_node_types"][file.data["head_node_type"]]["resources"]
    return bool(declared.get("CPU", 1))  # undeclared resources are counted on the machine


def _check_places(file: ClusterFile, workers: bool) -> Iterator[Finding]:
    trains = _is_head_trained_on(file)
    local = file.provider.get("type") == "local"
    if trains and workers:
        start = find_ray_start(file, HEAD)
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


def _check_aws(file: ClusterFile) -> Iterator[Finding]:
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


def _check_gpus(file: ClusterFile, workers: Mapping[str, Any]) -> Iterator[Finding]:
    silent = [
        name
        for name, kind in workers.items()
        if _GPU_INSTANCE.match(str((kind.get("node_config") or {}).get("InstanceType"))) and not _count_gpus(kind)
    ]
    if silent:
        yield Finding(
            "gpu",
            file.place(("available_node_types", silent[0], "resources")),
            f"GPUs that the instances of {' and '.join(silent)} have are not declared",
            "The autoscaler starts a node for a trial only where the declared resources satisfy it.",
            "`resources: {CPU: …, GPU: …}` with what the instance has",
        )
    elif not any(map(_count_gpus, workers.values())):
        why = "Trials would train on CPUs; `gpus: auto` of a study becomes 0."
        remedy = "declare GPUs in the resources of a worker's type"
        what = "no worker's type has a GPU"
        yield Finding("gpu", file.place(("available_node_types",)), what, why, remedy, "warning")


def _count_gpus(kind: Mapping[str, Any]) -> int:
    return int((kind.get("resources") or {}).get("GPU", 0))


def _check_spot(file: ClusterFile, workers: dict[str, Any]) -> Iterator[Finding]:
    spot = {name for name, kind in workers.items() if _is_spot(kind)}
    if not spot:
        return
    place = file.place(("available_node_types", min(spot)))
    gpus = int(any(_count_gpus(workers[name]) for name in spot))
    if not any(name not in spot and _count_gpus(kind) >= gpus for name, kind in workers.items()):
        what = "there are spot workers and none on demand that could take their place"
        why = "While the cloud has no spot instance left, which may last for hours, nothing is trained."
        yield Finding("spot", place, what, why, "add a type with the same resources without spot", "warning")
    else:
        yield from _check_spot_order(file, workers, spot, {"CPU": 1, "GPU": gpus} if gpus else {"CPU": 1})


def _check_spot_order(
    file: ClusterFile, workers: dict[str, Any], spot: set[str], demand: dict[str, Any]
) -> Iterator[Finding]:
    """Spot first, and on demand where there is no spot."""
    place = file.place(("available_node_types", min(spot)))
    first, second = (_predict_started_type(workers, demand, refused) for refused in (set(), spot))
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


def _predict_started_type(types: dict[str, Any], demand: dict[str, Any], refused: set[str]) -> str | None:
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
