"""``auxtune doctor --address`` on a real cluster of three nodes, each of which has another storage under the same path.

The path is ``/proc/self/cwd/studies``: each process finds there what is below its own working directory, and a node's
workers begin in that of the node.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from click.testing import CliRunner, Result
from mlflow_server import WITHOUT_JOBS

from auxtune.orchestrator.cli import main

APART = "/proc/self/cwd/studies"
NOWHERE = "http://127.0.0.1:9"  # the port of a service that only throws away, and is never there


ROOT = Path(__file__).parents[1]


def doctor(*arguments: str) -> Result:
    return CliRunner().invoke(main, ["doctor", *arguments])


class Server:
    """The MLflow server that the line of cluster.yaml starts, in a home folder and at a port of ours."""

    def __init__(self, folder: Path) -> None:
        home, shared = folder / "home", folder / "shared"
        script = home / "auxtune" / "env" / "bin" / "mlflow"
        script.parent.mkdir(parents=True)
        script.write_text(f'#!/bin/sh\nexec {sys.executable} -m mlflow "$@"\n')
        script.chmod(0o755)
        shared.mkdir()
        with socket.create_server(("127.0.0.1", 0)) as free:
            self.port = free.getsockname()[1]
        written = yaml.safe_load((ROOT / "cluster.yaml").read_text(encoding="utf-8"))["head_start_ray_commands"][-1]
        assert "5000" in written and "/mnt/auxtune" in written
        self._command = written.replace("5000", str(self.port)).replace("/mnt/auxtune", str(shared))
        ours = {key: value for key, value in os.environ.items() if not key.startswith("AUXTUNE_")}
        self._environment = {**ours, "HOME": str(home), **WITHOUT_JOBS}
        self.log = home / "auxtune" / "mlflow" / "server.log"

    def start(self) -> None:
        # The output is a pipe, as over SSH: a command that kept it open would never let `ray up` go on.
        command = ["bash", "-c", self._command]
        subprocess.run(command, env=self._environment, capture_output=True, check=True, timeout=30)

    def wait(self) -> list[int]:
        """Its processes, once it listens."""
        end = time.monotonic() + 90
        while not (found := listeners(self.port)):
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.3)
        return found


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    server = Server(tmp_path_factory.mktemp("server"))
    server.start()  # it takes as long as the cluster does, beside it
    yield server
    for group in {os.getpgid(process) for process in server.wait()}:
        os.killpg(group, signal.SIGKILL)


def listeners(port: int) -> list[int]:
    """The processes that listen on the port of loopback, and on no other address."""
    found = [each for each in psutil.net_connections("tcp") if each.status == "LISTEN" and each.laddr.port == port]
    assert {each.laddr.ip for each in found} <= {"127.0.0.1"}
    return [each.pid for each in found if each.pid]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """Working directories: of the head, of a worker apart, and of one whose storage is a file."""
    home = tmp_path_factory.mktemp("nodes")
    found = {name: home / name for name in ("head", "apart", "blocked")}
    for folder in found.values():
        folder.mkdir()
    (found["head"] / "studies").mkdir()
    (found["apart"] / "studies").mkdir()
    (found["blocked"] / "studies").write_text("no folder")
    return found


@pytest.fixture(scope="module")
def cluster(folders: dict[str, Path], server: Server) -> Iterator[Any]:
    """A head for trials as well, a worker with a GPU that it does not have, and one more."""
    from ray.cluster_utils import Cluster

    before = Path.cwd()
    os.chdir(folders["head"])
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False}, connect=False)
    try:
        os.chdir(folders["apart"])
        cluster.add_node(num_cpus=1, num_gpus=1)
        os.chdir(folders["blocked"])
        cluster.add_node(num_cpus=1)
        os.chdir(before)
        yield cluster
    finally:
        os.chdir(before)
        cluster.shutdown()


@pytest.mark.slow
def test_what_is_wrong_on_a_node_is_found_on_that_node(cluster: Any, folders: dict[str, Path]) -> None:
    result = doctor("--address", cluster.address, "--storage", APART, "--tracking", NOWHERE, "--json")
    assert result.exit_code == 2, result.output
    said = json.loads(result.stdout)
    nodes, findings = said["nodes"], [f for f in said["findings"] if f["rule"] != "disk"]
    assert [node["head"] for node in nodes] == [True, False, False]
    apart = next(node for node in nodes if node["resources"].get("GPU"))
    blocked = next(node for node in nodes if node["storage"]["error"])

    def of(node: dict[str, Any], rule: str) -> str:
        (what,) = (f["what"] for f in findings if f["rule"] == rule and node["id"][:8] in f["place"])
        return str(what)

    assert "is not the folder" in of(apart, "storage") and "cannot be written" in of(blocked, "storage")
    assert "declares 1 GPUs, and torch can use 0" in of(apart, "gpu")
    assert "1 CPUs for trials" in of(nodes[0], "head")
    (unreached,) = (f for f in findings if f["rule"] == "tracking")
    assert NOWHERE in unreached["what"] and "cannot be reached" in unreached["what"]
    assert len(findings) == 5, findings  # so versions agree
    left = [path.name for folder in folders.values() for path in folder.rglob("*")]
    assert sorted(left) == ["studies"] * 3


@pytest.mark.slow
def test_a_shared_storage_and_a_server_are_not_found_fault_with(cluster: Any, server: Server, tmp_path: Path) -> None:
    (process,) = server.wait()
    server.start()  # as `ray up` does when it is asked again
    storage, uri = tmp_path / "studies", f"http://127.0.0.1:{server.port}"
    result = doctor("--address", cluster.address, "--storage", str(storage), "--tracking", uri, "--json")
    findings = json.loads(result.stdout)["findings"]
    assert {finding["rule"] for finding in findings} - {"disk"} == {"gpu", "head"}
    assert list(tmp_path.iterdir()) == []  # not there yet, its parent was looked at, and nothing was made
    assert server.wait() == [process] and "Address already in use" not in server.log.read_text()


def test_an_address_without_a_cluster_is_explained() -> None:
    result = doctor("--address", "127.0.0.1:9")
    assert result.exit_code == 2 and "no way into a Ray cluster" in result.stderr and "ray exec" in result.stderr
