"""Commands of tests, and the processes of their Ray, are forked, whatever ran before in the test's own process."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import psutil
import pytest
import warm_commands
from nursery import keep_imported
from small_study import StudyRun, kill, start_nursery

NOTHING = {"command_prefix": [], "py_executable": sys.executable, "override_worker_entrypoint": None, "java_jars": []}


def said(**context: object) -> list[str]:
    """The command line of Ray's script for a worker's environment."""
    told = json.dumps({**NOTHING, **context})
    worker = ["/ray/workers/default_worker.py", "--node-id=1"]
    return [f"/ray{warm_commands.SET_UP}", *worker, "--language=PYTHON", f"--serialized-runtime-env-context={told}"]


def test_a_worker_has_its_own_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_THE_WORKER", "former")
    worker = ["/ray/workers/default_worker.py", "--node-id=1"]
    assert warm_commands.set_up(said(env_vars={"OF_THE_WORKER": "1"})) == worker
    assert os.environ["OF_THE_WORKER"] == "1"
    assert warm_commands.set_up(worker) == worker == warm_commands.set_up(["-u", *worker])


@pytest.mark.parametrize(
    "context", [{"env_vars": {"PATH": "${PATH}:/x"}}, {"env_vars": {}, "py_executable": "/other/python"}]
)
def test_what_only_ray_itself_can_set_up_is_left_to_it(
    context: dict[str, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    class Became(Exception):
        """This process would be another program now."""

    def become(path: str, arguments: list[str]) -> None:
        raise Became(path, arguments)

    monkeypatch.setattr(os, "execv", become)
    with pytest.raises(Became) as became:
        warm_commands.set_up(said(**context))
    assert became.value.args == (sys.executable, [sys.executable, *said(**context)])


def test_what_ray_sets_in_this_process_is_no_other_environment_for_imports() -> None:
    ran = {"PYTHONBREAKPOINT": "ray.util.rpdb._driver_set_trace", "RAY_CLIENT_MODE": "0"}
    assert keep_imported({"RAY_AUTH_MODE": "disabled", **ran}) == keep_imported({"RAY_AUTH_MODE": "disabled"})
    assert keep_imported({"HF_HOME": "/a"}) != keep_imported({"HF_HOME": "/b"})


@pytest.mark.slow
def test_the_worker_of_a_study_is_forked_and_dies_with_its_driver(small: StudyRun) -> None:
    assert start_nursery().fits(os.environ)
    process = small.start("run", "study.yaml", "--set", "training.steps=100000")
    small.wait_for(small.trains, process)
    worker = small.worker()
    parent = worker.parent()
    assert parent is not None and str(Path(warm_commands.__file__)) in parent.cmdline(), "it imported for itself"
    kill(process)
    assert not psutil.wait_procs([worker], timeout=60)[1]
