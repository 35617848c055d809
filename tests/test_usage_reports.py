"""What libraries report of their use is off unless the environment says otherwise."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from auxtune import orchestrator, trials

ROOT = Path(__file__).parents[1]
NAMES = ("DO_NOT_TRACK", "HF_HUB_DISABLE_TELEMETRY", "HF_UPDATE_DOWNLOAD_COUNTS", "MLFLOW_DISABLE_TELEMETRY",
         "RAY_USAGE_STATS_ENABLED")  # fmt: skip
ALL_OFF = {
    "DO_NOT_TRACK": "true", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_UPDATE_DOWNLOAD_COUNTS": "0",
    "MLFLOW_DISABLE_TELEMETRY": "true", "RAY_USAGE_STATS_ENABLED": "0",
}  # fmt: skip
# What each library itself makes of these, and not only what they are called.
ASK_THEM = """
import json
import {module}
from datasets import config
from huggingface_hub import constants
from mlflow.telemetry import utils
from ray._common.usage import usage_lib

utils._IS_IN_CI_ENV_OR_TESTING = False                 # the test's own environment may be one of these
print(json.dumps([
    constants.HF_HUB_DISABLE_TELEMETRY, not config.HF_UPDATE_DOWNLOAD_COUNTS,
    utils.is_telemetry_disabled(), not usage_lib.usage_stats_enabled(),
]))
"""


def told(**given: str) -> dict[str, str]:
    environment = dict(given)
    trials.turn_off_usage_reports(trials.QUIET, environment)
    trials.turn_off_usage_reports(orchestrator.QUIET, environment, orchestrator.HEEDING)
    return environment


def test_all_reports_are_off_by_default() -> None:
    assert told() == ALL_OFF


@pytest.mark.parametrize("yes", ["1", "true", "yes"])
def test_do_not_track_is_kept_as_it_is_written(yes: str) -> None:
    assert told(DO_NOT_TRACK=yes) == {**ALL_OFF, "DO_NOT_TRACK": yes}


@pytest.mark.parametrize("no", ["0", "false", ""])
def test_an_environment_that_allows_tracking_is_left_alone(no: str) -> None:
    assert told(DO_NOT_TRACK=no) == {"DO_NOT_TRACK": no}


def test_a_library_that_is_allowed_to_report_does() -> None:
    assert told(RAY_USAGE_STATS_ENABLED="1") == {**ALL_OFF, "RAY_USAGE_STATS_ENABLED": "1"}
    assert told(HF_UPDATE_DOWNLOAD_COUNTS="1") == {**ALL_OFF, "HF_UPDATE_DOWNLOAD_COUNTS": "1"}
    allowed = told(MLFLOW_DISABLE_TELEMETRY="false")
    assert allowed["MLFLOW_DISABLE_TELEMETRY"] == "false" and "DO_NOT_TRACK" not in allowed, "MLflow heeds that first"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("module", "given", "quiet"),
    [
        ("auxtune.orchestrator", {}, [True, True, True, True]),
        ("auxtune.trials", {}, [True, True]),  # the others are not its business
        ("auxtune.orchestrator", {"MLFLOW_DISABLE_TELEMETRY": "false"}, [True, True, False, True]),
        ("auxtune.orchestrator", {"DO_NOT_TRACK": "1"}, [True, True, True, True]),
    ],
)
def test_the_libraries_understand_it(module: str, given: dict[str, str], quiet: list[bool], tmp_path: Path) -> None:
    ours = {key: value for key, value in os.environ.items() if key not in NAMES}
    run = subprocess.run(
        [sys.executable, "-c", ASK_THEM.format(module=module)],
        env={**ours, **given},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert run.returncode == 0, run.stderr
    assert json.loads(run.stdout.splitlines()[-1])[: len(quiet)] == quiet


@pytest.mark.parametrize("file", [ROOT / "cluster.yaml", ROOT / "examples" / "cluster-onprem.yaml"])
def test_clusters_are_started_without_reports(file: Path) -> None:
    """Their dashboard would report: it is started by the file's commands, where auxtune is not asked."""
    written = yaml.safe_load(file.read_text())
    started = [*written["head_start_ray_commands"], *written["worker_start_ray_commands"]]
    rays = [command for command in started if "ray start" in command]
    assert len(rays) == 2
    for command in rays:
        assert command.index("export RAY_USAGE_STATS_ENABLED=0;") < command.index("ray start")
    [server] = [command for command in started if "mlflow server" in command]
    assert server.index("export MLFLOW_DISABLE_TELEMETRY=true") < server.index("mlflow server")
