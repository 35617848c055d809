"""The Ray of ``auxtune run``: no other user of the machine can use it, and nothing of it outlives a killed driver."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import gettempdir

import psutil
import pytest

from auxtune.orchestrator.engine import embedded_ray
from auxtune.orchestrator.engine.embedded_ray import EmbeddedRay, locate_ray_folder, require_token
from auxtune.orchestrator.errors import ClusterError
from auxtune.orchestrator.planning.slots import Machines, Node

SMALL = Machines((Node("here", {"CPU": 1.0, "GPU": 0.0}),))
NOBODY = 65534
GONE = 10.0  # seconds within which a killed driver's Ray is to be gone
WRITE = "GcsClient(address=address).internal_kv_put(b'name', b'value', True, namespace=b'test')"
DRIVER = f"""
import sys
from auxtune.orchestrator.engine.embedded_ray import EmbeddedRay
from auxtune.orchestrator.planning.slots import Machines, Node
with EmbeddedRay(Machines((Node("here", {{"CPU": 1.0, "GPU": 0.0}}),))).running():
    import ray
    from ray._raylet import GcsClient
    address = ray.get_runtime_context().gcs_address
    {WRITE}
    print(address, flush=True)
    sys.stdin.readline()
"""
INTRUDER = f"""
import sys
from ray._raylet import GcsClient
address = sys.argv[1]
print({WRITE})
"""


@contextmanager
def driver(**variables: str) -> Iterator[subprocess.Popen[str]]:
    """A process that starts a Ray of its own, and ends when this is left."""
    process = subprocess.Popen(
        [sys.executable, "-c", DRIVER],
        env={**os.environ, **variables},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        process.communicate("\n", timeout=120)


def read_address(process: subprocess.Popen[str]) -> str:
    """Where the Ray of a driver listens, once it does."""
    assert process.stdout is not None
    address = process.stdout.readline().strip()
    assert address, f"ended with {process.wait()}"
    return address


def run_as_nobody(program: str, argument: str, variables: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """A program in Python, run by another user, who stays in this one's group: Python may be in root's home."""
    command = ["setpriv", f"--reuid={NOBODY}", "--clear-groups", sys.executable, "-c", program, argument]
    return subprocess.run(command, cwd="/", env=variables, capture_output=True, text=True, timeout=120, check=False)


@pytest.mark.slow
@pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
@pytest.mark.skipif(shutil.which("setpriv") is None, reason="becomes another user by setpriv")
def test_another_user_of_the_machine_cannot_use_it_whatever_the_shell_says(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    plain = {**os.environ, "RAY_AUTH_MODE": "disabled", "HOME": "/nonexistent"}
    if run_as_nobody("import ray", "", plain).returncode:
        pytest.skip("another user cannot read this Python")
    home = {"HOME": str(tmp_path), "RAY_AUTH_MODE": "disabled"}
    with driver(**home) as process:
        address = read_address(process)
        for more in ({}, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "guessed"}):
            tried = run_as_nobody(INTRUDER, address, {**plain, **more})
            assert tried.returncode != 0 and "InvalidAuthToken" in tried.stderr, tried.stdout + tried.stderr
        servers = [each for each in psutil.Process(process.pid).children() if each.name() == "raylet"]
        variables = servers[0].environ()
        token, folder = Path(variables["RAY_AUTH_TOKEN_PATH"]), locate_ray_folder()
        assert variables["RAY_AUTH_MODE"] == "token"
        assert stat.S_IMODE(token.stat().st_mode) == 0o600 and stat.S_IMODE(token.parent.stat().st_mode) == 0o700
        assert (folder / "session_latest").exists() and stat.S_IMODE(folder.parent.stat().st_mode) == 0o700
    assert not token.parent.exists()
    assert not (tmp_path / ".ray").exists(), "nothing is written to the home folder"


@pytest.mark.slow
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="only Linux ends processes with their parent")
def test_all_of_it_is_gone_soon_after_its_driver_was_killed_and_another_starts_at_once() -> None:
    with driver() as process:
        read_address(process)
        children = psutil.Process(process.pid).children(recursive=True)
        assert len(children) > 4, "servers, agents and a worker"
        process.send_signal(signal.SIGKILL)
        process.wait()
        with driver() as another:
            _, alive = psutil.wait_procs(children, timeout=GONE)
            assert not alive, [each.cmdline() for each in alive]
            assert read_address(another)


def test_the_shells_own_settings_are_back_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    from ray._raylet import AuthenticationMode, get_authentication_mode

    monkeypatch.setenv("RAY_AUTH_MODE", "disabled")
    monkeypatch.setenv("RAY_AUTH_TOKEN", "the user's")
    with require_token():
        assert get_authentication_mode() == AuthenticationMode.TOKEN
        assert "RAY_AUTH_TOKEN" not in os.environ and Path(os.environ["RAY_AUTH_TOKEN_PATH"]).exists()
    assert get_authentication_mode() == AuthenticationMode.DISABLED
    assert os.environ["RAY_AUTH_TOKEN"] == "the user's" and "RAY_AUTH_TOKEN_PATH" not in os.environ


def test_its_folder_is_short_and_this_users_alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("tempfile.tempdir", None)
    for variable in ("RAY_TMPDIR", "TMPDIR"):
        monkeypatch.setenv(variable, str(tmp_path / ("x" * 150)))
        (tmp_path / ("x" * 150)).mkdir(exist_ok=True)
        found = locate_ray_folder()
        assert len(f"{found}/session_2026-01-01_00-00-00_000000_4194304/sockets/plasma_store.1") <= 103
        assert os.access(found.parent, os.W_OK) and stat.S_IMODE(found.parent.stat().st_mode) == 0o700
        monkeypatch.delenv(variable)
        monkeypatch.setattr("tempfile.tempdir", None)
    # Short enough, but another user's: a link is taken for that.
    with monkeypatch.context() as short:
        short.setattr(embedded_ray, "_LONGEST_FOLDER", 200)
        short.setenv("RAY_TMPDIR", str(tmp_path))
        assert locate_ray_folder() == tmp_path / f"auxtune-{os.getuid()}" / "ray"
        (tmp_path / f"auxtune-{os.getuid()}").rmdir()
        (tmp_path / f"auxtune-{os.getuid()}").symlink_to(gettempdir())
        assert not locate_ray_folder().is_relative_to(tmp_path)


@pytest.mark.parametrize("times", [1, 2])
def test_a_ray_that_does_not_start_is_tried_again_and_then_said_in_a_line(
    times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    asked: list[str] = []

    def init(**settings: object) -> None:
        asked.append(os.environ["RAY_AUTH_MODE"])
        if len(asked) <= times:
            raise Exception("The current node timed out during startup. This could happen because …\nmore")

    monkeypatch.setattr(ray, "init", init)
    if times == 1:
        with EmbeddedRay(SMALL).running():
            pass
    else:
        said = r"did not start on this machine.*timed out during.*again"
        with pytest.raises(ClusterError, match=said) as raised, EmbeddedRay(SMALL).running():
            pass
        assert raised.value.exit_code == 2 and "\n" not in str(raised.value)
    assert asked == ["token", "token"]
