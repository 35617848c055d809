"""A cluster that ``ray up`` brings up with the on-prem example.

The example is adapted to one machine: no workers, a head that trains, and ports that are free here.
"""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from machine import ROOT, Laptop, free_port, machine, wait_for


@dataclass
class Up:
    """A cluster that is up: where to type, its file, and the addresses of its tunnels."""

    laptop: Laptop
    file: Path
    disk: Path
    ssh: list[str]
    jobs: str
    mlflow: str  # from here
    there: str  # from the machine

    def auxtune(self, *arguments: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        return self.laptop.run("auxtune", *arguments, "--address", self.jobs, timeout=timeout)


def adapted(key: Path, gcs: int, dashboard: int, mlflow: int) -> str:
    """The example as somebody with one machine fills it in."""
    text = (ROOT / "examples" / "cluster-onprem.yaml").read_text(encoding="utf-8")
    for placeholder, value in {
        "<HEAD_IP>": "127.0.0.1",
        "<USER>": "root",
        "<SSH_KEY>": str(key),
        "<SHARED_FOLDER>": "/mnt/shared",
        "[<WORKER_IP_1>, <WORKER_IP_2>]": "[]",
        "_workers: 2": "_workers: 0",
        "--num-cpus=0 --num-gpus=0": "",
        "--port=6379": f"--port={gcs}",
        ":6379": f":{gcs}",
        "5000": str(mlflow),
        "--dashboard-host=127.0.0.1": "--dashboard-host=127.0.0.1 "
        f"--dashboard-port={dashboard} --dashboard-agent-listen-port={free_port()}",
        "dist/auxtune": f"{ROOT}/dist/auxtune",
        ": constraints.txt": f": {ROOT}/constraints.txt",
    }.items():
        assert placeholder in text
        text = text.replace(placeholder, value)
    return text


@contextmanager
def brought_up(folder: Path) -> Iterator[Up]:
    """The cluster, on a machine whose disk is in ``folder``; when it is over, everything there ends."""
    disk, home = folder / "machine", folder / "laptop"
    (home / "tmp").mkdir(parents=True)
    gcs, dashboard, mlflow = free_port(), free_port(), free_port()
    with machine(disk) as key, (home / "log.txt").open("w") as log:
        laptop = Laptop(home, log)
        file = home / "cluster.yaml"
        file.write_text(adapted(key, gcs, dashboard, mlflow))
        assert laptop.run("ray", "get-auth-token", "--generate").returncode == 0
        found = laptop.run("auxtune", "doctor", file, "--json")
        assert found.returncode == 0, found.stdout
        brought = laptop.run("ray", "up", "-y", "--no-config-cache", file, timeout=1200)
        assert brought.returncode == 0, brought.stdout
        jobs_here, mlflow_here = free_port(), free_port()
        trusting = ["-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null", "-o", "LogLevel=ERROR"]
        ssh = ["-i", str(key), *trusting, "root@127.0.0.1"]
        tunnels = [
            laptop.start("ray", "dashboard", file, "--port", jobs_here, "--remote-port", dashboard),
            laptop.start("ssh", "-N", "-L", f"{mlflow_here}:127.0.0.1:{mlflow}", *ssh),
        ]
        wait_for(f"http://127.0.0.1:{jobs_here}/api/version")
        wait_for(f"http://127.0.0.1:{mlflow_here}/health")
        yield Up(
            laptop,
            file,
            disk,
            ssh,
            f"http://127.0.0.1:{jobs_here}",
            f"http://127.0.0.1:{mlflow_here}",
            f"http://127.0.0.1:{mlflow}",
        )
        for tunnel in tunnels:
            tunnel.terminate()
            tunnel.wait()
