"""``auxtune doctor``: what is wrong with a cluster file, or with a live cluster."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from auxtune.orchestrator.cluster.finding import Finding
    from auxtune.orchestrator.cluster.live import Cluster

_TRACKING = "http://127.0.0.1:5000"  # where our cluster files start the server


@click.command("doctor", epilog="Example: auxtune doctor cluster.yaml")
@click.argument("cluster", required=False, type=click.Path(path_type=Path))
@click.option("--address", metavar="HOST:PORT", help="Of a live cluster's Ray; on one of its machines: auto.")
@click.option("--storage", metavar="PLACE", help="With --address: where studies are kept, as a study file names it.")
@click.option(
    "--tracking", default=_TRACKING, show_default=True, metavar="URI", help="With --address: the MLflow server."
)
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of lines.")
def command(cluster: Path | None, address: str | None, storage: str | None, tracking: str, as_json: bool) -> None:
    """Examine the cluster file CLUSTER, offline, or with --address a live cluster, on every node.

    A file must pass Ray's own validation and what that does not see: who may reach the dashboard, authentication,
    versions, a head without trials, a way out of spot. Nodes are asked for versions, GPUs, disk and whether they share
    the storage; the head, whether it reaches MLflow. Nothing is changed. The exit code is 2 if anything found is an
    error.
    """
    from auxtune.orchestrator.errors import AuxtuneError

    if (cluster is None) == (address is None):
        found = "neither" if cluster is None else "both"
        raise AuxtuneError(
            f"expected a cluster file or the address of a live cluster, found {found}; "
            "`auxtune doctor cluster.yaml`, or on a machine of the cluster `auxtune doctor --address auto`"
        )
    live: Cluster | None = None
    if cluster is not None:
        from auxtune.orchestrator.cluster.file_check import check_file

        findings = check_file(cluster)
    elif address is not None:
        from auxtune.orchestrator.cluster.live import examine_cluster, judge_cluster

        folder = _resolve_storage(storage)
        live = examine_cluster(address, folder, tracking)
        findings = judge_cluster(live, folder, tracking)
    nodes = [_list_fields(dataclasses.asdict(node)) for node in live.nodes] if live else []
    if as_json:
        listed = [dataclasses.asdict(finding) for finding in findings]
        about = {"file": str(cluster) if cluster else None, "address": address}
        click.echo(json.dumps({**about, "nodes": nodes, "findings": listed}, indent=2))
    else:
        _show(nodes, findings)
    if any(finding.severity == "error" for finding in findings):
        raise SystemExit(2)


def _resolve_storage(storage: str | None) -> str | None:
    """The storage as nodes are asked for it: a study's driver resolves it before they hear of it."""
    from auxtune.orchestrator.errors import AuxtuneError
    from auxtune.orchestrator.storage.stores import parse_path

    try:
        return None if storage is None else str(parse_path(storage).expanduser().absolute())
    except ValueError as error:
        raise AuxtuneError(f"--storage {storage}: {error}") from error


def _list_fields(node: Mapping[str, Any]) -> dict[str, Any]:
    """A node as JSON values, with what Ray counts of it."""
    counted = {name: value for name, value in node["resources"].items() if ":" not in name}
    return {**node, "resources": counted, "sees": None if node["sees"] is None else sorted(node["sees"])}


def _show(nodes: Sequence[Mapping[str, Any]], findings: Sequence[Finding]) -> None:
    for node in nodes:
        counted = ", ".join(f"{node['resources'].get(name, 0):g} {name}s" for name in ("CPU", "GPU"))
        role = "head" if node["head"] else "worker"
        click.echo(f"{role:6}  {node['address']}  {node['id'][:8]}  {counted}")
    for finding in findings:
        click.echo(f"{finding}")
    errors = sum(finding.severity == "error" for finding in findings)
    click.echo(f"errors: {errors}, warnings: {len(findings) - errors}")
