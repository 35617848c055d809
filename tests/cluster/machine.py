"""A machine of its own behind a real sshd, and somebody elsewhere who brings a cluster up on it."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

ROOT = Path(__file__).parents[2]
_ALONE = ["unshare", "--pid", "--fork", "--mount", "--mount-proc", "--kill-child"]
_SBIN = "/usr/sbin:/sbin"


def missing() -> str | None:
    """Why there can be no such machine here; ``None`` where there can."""
    path = f"{os.environ['PATH']}:{_SBIN}"
    for program in ("unshare", "sshd", "ssh", "ssh-keygen", "rsync"):
        if shutil.which(program, path=path) is None:
            return f"needs {program}"
    if os.geteuid() != 0 or subprocess.run([*_ALONE, "true"], capture_output=True).returncode != 0:
        return "needs a user who may make PID and mount namespaces"
    return "something listens on 127.0.0.1:22 already" if _listens(22) else None


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
        return port


def wait_for(url: str, seconds: float = 120) -> None:
    """Until something answers there, be it that it wants a token."""
    end = time.monotonic() + seconds
    while True:
        try:
            urllib.request.urlopen(url, timeout=5).close()
            return
        except urllib.error.HTTPError:
            return
        except OSError as error:
            assert time.monotonic() < end, f"{url} after {seconds} seconds: {error}"
        time.sleep(0.3)


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False


@dataclass(frozen=True)
class Laptop:
    """Where commands are typed: another home, temporary folder and directory than the machine's."""

    home: Path
    log: IO[str]

    @property
    def environment(self) -> Mapping[str, str]:
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("AUXTUNE_", "RAY_"))}
        bins = str(Path(sys.executable).parent)
        return {
            **kept,
            "HOME": str(self.home),
            "TMPDIR": str(self.home / "tmp"),
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_AUTH_MODE": "token",
            "PATH": f"{bins}:{os.environ['PATH']}",
            "COLUMNS": "120",
        }

    def run(self, *command: object, timeout: float = 300, here: Path | None = None) -> subprocess.CompletedProcess[str]:
        """A command to its end; what it says is also in the log."""
        print("$", *command, file=self.log, flush=True)
        began = time.monotonic()
        done = subprocess.run(
            list(map(str, command)),
            cwd=here or self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=timeout,
        )
        print(done.stdout, f"[{done.returncode} after {time.monotonic() - began:.0f} s]", file=self.log, flush=True)
        return done

    def start(self, *command: object) -> subprocess.Popen[str]:
        """A command that goes on beside; its lines are to be read."""
        print("$", *command, "&", file=self.log, flush=True)
        return subprocess.Popen(
            list(map(str, command)),
            cwd=self.home,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )


@contextmanager
def machine(folder: Path) -> Iterator[Path]:
    """A machine whose disk is ``folder``; the private key with which root gets in."""
    for name in ("home", "tmp", "shared"):
        (folder / name).mkdir(parents=True)
    (folder / "tmp").chmod(0o1777)
    for key in ("host_key", "key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / key], check=True)
    (folder / "key.pub").rename(folder / "authorized_keys")
    pip = [f"export {key}={value!r}" for key, value in os.environ.items() if key.startswith("PIP_")]
    path = f"export PATH={Path(sys.base_prefix) / 'bin'}:$PATH"  # the Python of whoever submits
    (folder / "home" / ".bashrc").write_text("\n".join([path, *pip, ""]))
    bare = {"PATH": f"{os.environ['PATH']}:{_SBIN}"}
    with (folder / "sshd.log").open("w") as log:
        command = [*_ALONE, Path(__file__).with_suffix(".sh"), folder]
        process = subprocess.Popen(command, env=bare, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        try:
            while not _listens(22):
                assert process.poll() is None, (folder / "sshd.log").read_text()
                time.sleep(0.1)
            yield folder / "key"
        finally:
            process.kill()  # and with it all that was started there
            process.wait()
