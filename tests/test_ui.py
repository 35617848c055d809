"""``auxtune ui``: MLflow's own server over a study's runs, on loopback, and nothing of it is left afterwards."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil
import pytest
from click.testing import CliRunner, Result
from mlflow.tracking import MlflowClient
from simulated_study import STUDY, simulated
from small_study import StudyRun

from auxtune.orchestrator import cli
from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.tracking.store import find_experiment

LINK = re.compile(r"http://127\.0\.0\.1:(\d+)/#/experiments/(\d+)/runs\?workflowType=machine_learning\n")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a study that was interrupted; its experiment is in the store, which lies in the folder too."""
    folder = begun(tmp_path_factory.mktemp("begun"))
    MlflowClient(f"sqlite:///{folder}/mlflow.db").create_experiment("auxtune")
    return folder


def begun(home: Path, tracking: str = "{}") -> Path:
    """The folder of a study that was interrupted before its first trial, with nothing in MLflow."""
    study = simulated(home, "random_subset", f"{STUDY}tracking: {tracking}")
    return study.close(study.session(), "interrupted")


def auxtune_ui(*arguments: object) -> Result:
    return CliRunner().invoke(cli.main, ["ui", *map(str, arguments)])


@contextmanager
def started(folder: Path, *arguments: str) -> Iterator[subprocess.Popen[str]]:
    """``auxtune ui`` in a process of its own and another folder; whatever happens, no process of it stays."""
    process = subprocess.Popen(
        [sys.executable, "-m", "auxtune.orchestrator", "ui", str(folder), *arguments],
        cwd=folder.parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        yield process
    finally:
        for each in [*family(process), psutil.Process(process.pid)] if process.poll() is None else []:
            each.kill()
        process.communicate()


def family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """What a process has started, and what that has."""
    return psutil.Process(process.pid).children(recursive=True)


def servers_of(process: subprocess.Popen[str]) -> list[psutil.Process]:
    """Those of its children that are MLflow's server."""
    servers = []
    for each in family(process):
        with suppress(psutil.NoSuchProcess):
            servers += [each] if {"mlflow", "server"} <= set(each.cmdline()) else []
    return servers


def link_of(process: subprocess.Popen[str]) -> re.Match[str]:
    """The link that is printed once the server answers."""
    assert process.stdout is not None
    link = LINK.fullmatch(process.stdout.readline())
    assert link is not None, process.communicate()
    return link


def runs_at(port: str, experiment: str) -> list[str]:
    """The names of an experiment's runs, as the page asks for them."""
    url = f"http://127.0.0.1:{port}/ajax-api/2.0/mlflow/runs/search"
    asked = json.dumps({"experiment_ids": [experiment]}).encode()
    request = urllib.request.Request(url, asked, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=60) as answer:
        return [run["info"]["run_name"] for run in json.load(answer)["runs"]]


@pytest.mark.slow
def test_the_runs_are_served_on_loopback_until_ctrl_c(
    whole: StudyRun, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with started(whole.folder, "--no-browser") as process:
        link = link_of(process)
        with urllib.request.urlopen(f"http://127.0.0.1:{link[1]}/", timeout=60) as page:
            assert b"<title>MLflow</title>" in page.read()
        assert len(runs_at(link[1], link[2])) == 1 + len(whole.accounts.trials) > 2
        servers = family(process)
        listening = {
            connection.laddr
            for server in servers
            for connection in server.net_connections("inet")
            if connection.status == psutil.CONN_LISTEN
        }
        assert listening == {("127.0.0.1", int(link[1]))}

        # A study whose store is behind that server: nothing is started, its link is opened.
        opened = tmp_path / "opened"
        monkeypatch.setenv("BROWSER", f"{sys.executable} {write_opener(tmp_path, opened)} %s")
        behind = begun(tmp_path, f"{{uri: 'http://127.0.0.1:{link[1]}'}}")
        run = auxtune_ui(behind)
        assert (run.exit_code, run.stdout) == (0, link[0]), run.output
        assert opened.read_text() == link[0].strip()
        assert auxtune_ui(behind, "--port", 5001).exit_code == 2

        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 0, err
        assert psutil.wait_procs(servers, timeout=30)[1] == []


def write_opener(home: Path, opened: Path) -> Path:
    """A browser that only notes what it is to open."""
    script = home / "opener.py"
    script.write_text(f"import pathlib, sys; pathlib.Path({str(opened)!r}).write_text(sys.argv[1])")
    return script


@pytest.mark.slow
def test_a_server_that_is_still_starting_ends_with_us(folder: Path) -> None:
    with started(folder, "--no-browser") as process:
        while not (servers := servers_of(process)):  # not just any child: libraries start some as they are imported
            assert process.poll() is None, process.communicate()
            time.sleep(0.05)
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, out) == (130, ""), err
        assert psutil.wait_procs(servers, timeout=30)[1] == []


@pytest.mark.slow
def test_a_server_that_ends_by_itself_is_told_with_its_last_words(folder: Path) -> None:
    with started(folder, "--no-browser") as process:
        link_of(process)
        os.kill(family(process)[-1].pid, signal.SIGTERM)
        _, err = process.communicate(timeout=60)
        assert process.returncode == 2 and "MLflow's server ended" in err and "Uvicorn running on" in err


def test_a_port_that_is_taken_is_said(folder: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        run = auxtune_ui(folder, "--port", taken.getsockname()[1])
    assert run.exit_code == 2 and "it is taken on 127.0.0.1" in run.stderr and not run.stdout


def test_no_store_no_experiment_and_no_study_are_said(folder: Path, tmp_path: Path) -> None:
    assert "expected the folder of a study" in auxtune_ui(tmp_path).stderr

    bare = begun(tmp_path)
    run = auxtune_ui(bare)
    assert run.exit_code == 2 and f"{bare}/mlflow.db: expected MLflow's store" in run.stderr
    assert not (bare / "mlflow.db").exists()

    (bare / "mlflow.db").write_text("no store, but a file of many words that somebody put there")
    assert "MLflow's store cannot be read: " in auxtune_ui(bare).stderr

    other = begun(tmp_path / "other", "{experiment: other}")
    (other / "mlflow.db").write_bytes((folder / "mlflow.db").read_bytes())
    run = auxtune_ui(other)
    assert run.exit_code == 2 and "expected the experiment 'other'" in run.stderr


def test_a_password_in_the_store_s_address_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    with socket.create_server(("127.0.0.1", 0)) as nobody:
        port = nobody.getsockname()[1]
    with pytest.raises(AuxtuneError, match=rf"^http://127\.0\.0\.1:{port}: MLflow's store cannot be read") as error:
        find_experiment(f"http://reader:opensesame@127.0.0.1:{port}", "auxtune")
    assert "opensesame" not in str(error.value)
