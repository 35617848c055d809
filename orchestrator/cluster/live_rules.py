"""What is wrong with a live cluster, judged from what its nodes said."""

from __future__ import annotations

import platform
from collections.abc import Iterator
from importlib.metadata import version

from auxtune.orchestrator.cluster.finding import Finding
from auxtune.orchestrator.cluster.live import PACKAGES, Cluster, Node

FEWEST_FREE = 5e9  # bytes: some checkpoints of an encoder of 400 MB
FULLEST = 0.95  # beyond it Ray stores no more objects on the disk


def live_findings(cluster: Cluster, storage: str | None, tracking: str | None) -> list[Finding]:
    """The findings of a cluster that was examined with these options, errors first."""
    findings: list[Finding] = []
    for node in cluster.nodes:
        if node.said is None:
            why = "Trials that are placed there would not begin."
            remedy = "look at `ray monitor cluster.yaml` and at the node's logs in /tmp/ray/session_latest/logs"
            findings.append(Finding("silent", _name(node), f"does not answer: {node.trouble}", why, remedy))
            continue
        findings += [*_versions(node), *_gpus(node), *_disk(node)]
    findings += _places(cluster)
    findings += _storage(cluster, storage)
    findings += _tracking(cluster, tracking)
    return sorted(findings, key=lambda finding: finding.severity)


def _name(node: Node) -> str:
    return f"{'head' if node.head else 'worker'} {node.address} ({node.id[:8]})"


def _versions(node: Node) -> Iterator[Finding]:
    said = node.said or {}
    ours = {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}}
    theirs = {"python": said["python"], **said["versions"]}
    for name, here in ours.items():
        there = theirs[name]
        if there == here:
            continue
        what = f"{name} {there} there, {here} here" if there else f"{name} is not installed for {said['executable']}"
        # Ray, Python and auxtune exchange pickled objects; the others only decide numbers.
        severe = name in ("python", "ray", "auxtune") or there is None
        why = "Trials there would fail, or not begin." if severe else "A trial's score would depend on where it ran."
        remedy = "pin it in constraints.txt or the setup commands and `ray up` again; take machines with one Python"
        yield Finding("version", _name(node), what, why, remedy, "error" if severe else "warning")


def _gpus(node: Node) -> Iterator[Finding]:
    declared, usable = int(node.resources.get("GPU", 0)), (node.said or {})["gpus"]
    if usable is not None and usable < declared:
        yield Finding(
            "gpu",
            _name(node),
            f"declares {declared} GPUs, and torch can use {usable}",
            "Trials placed there would fail, or train on the CPU.",
            "compare `nvidia-smi` with `python -c 'import torch; print(torch.version.cuda)'` on it; install the torch "
            "that its driver supports",
        )


def _disk(node: Node) -> Iterator[Finding]:
    disks = {"Ray's scratch in /tmp": (node.said or {})["scratch"], "the storage folder": node.storage or {}}
    for name, usage in disks.items():
        if "free" not in usage:
            continue
        free, share = usage["free"], 1 - usage["free"] / usage["total"]
        if free < FEWEST_FREE or share > FULLEST:
            what = f"{name} has {free / 1e9:.1f} GB left and is {share:.0%} full"
            why = "Checkpoints, evidence and Ray's objects go there; a full disk ends trials."
            yield Finding("disk", _name(node), what, why, "free some, or take a larger disk", "warning")


def _places(cluster: Cluster) -> Iterator[Finding]:
    heads = [node for node in cluster.nodes if node.head and node.resources.get("CPU", 0) > 0]
    if any(not node.head for node in cluster.nodes):
        for head in heads:
            what = f"has {head.resources['CPU']:g} CPUs for trials"
            why = "A trial that takes all of the head's memory takes the study's driver with it, and the whole cluster."
            remedy = "start its Ray with --num-cpus=0, on a cloud `resources: {CPU: 0}`"
            yield Finding("head", _name(head), what, why, remedy, "warning")
    elif not heads:  # a head alone that trains is a cluster of one machine
        why = "Workers that are started when trials ask for them were not examined."
        remedy = "ask again while a study runs"
        yield Finding("workers", "cluster", "there is no worker now", why, remedy, "warning")


def _storage(cluster: Cluster, storage: str | None) -> Iterator[Finding]:
    if storage is None:
        why = "Driver and trials must write to the same folder on every node."
        yield Finding("storage", "cluster", "no storage was examined", why, "name it: --storage FOLDER", "warning")
        return
    remedy = "mount one shared file system at the same path on every node, writable by the user of Ray"
    if "://" in storage:
        remedy = (
            "install auxtune[s3] or auxtune[gs] on every node, and start its Ray with the credentials, and the "
            "endpoint if it is not the default, in the environment"
        )
    examined = [node for node in cluster.nodes if node.storage is not None]
    able = [node for node in examined if not (node.storage or {})["error"]]
    for node in examined:
        if error := (node.storage or {})["error"]:
            why = "Trials there could leave neither checkpoint nor result."
            yield Finding("storage", _name(node), f"{storage} cannot be written: {error}", why, remedy)
    # The head comes first, and with it the driver, whose folder is the one that counts.
    for node in able[1:]:
        first = able[0]
        if first.id not in (node.sees or ()) or node.id not in (first.sees or ()):
            what = f"{storage} is not the folder that {_name(first)} has under this name"
            why = "The driver would wait for results and checkpoints that lie elsewhere."
            yield Finding("storage", _name(node), what, why, remedy)


def _tracking(cluster: Cluster, tracking: str | None) -> Iterator[Finding]:
    if cluster.tracking_trouble:
        yield Finding(
            "tracking",
            f"head, {tracking}",
            f"MLflow cannot be reached: {cluster.tracking_trouble}",
            "A study trains on without it; its runs are filled in when the server is back.",
            "start it as cluster.yaml does (its log is ~/auxtune/mlflow/server.log on the head); 403 means that the "
            "server must be told the name with --allowed-hosts",
        )
