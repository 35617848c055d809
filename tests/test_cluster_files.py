"""``auxtune doctor`` on cluster files: those shipped lack only what is to be filled in, broken ones are seen."""

from __future__ import annotations

import copy
import json
import re
import shutil
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner
from ray.autoscaler._private.util import prepare_config, validate_config

from auxtune.orchestrator.cli import main
from auxtune.orchestrator.cluster.file_check import check_file
from auxtune.orchestrator.cluster.finding import Finding

ROOT = Path(__file__).parents[1]
AWS, ONPREM = ROOT / "cluster.yaml", ROOT / "examples" / "cluster-onprem.yaml"
FILLED = {
    "<AMI_ID>": "ami-0123456789abcdef0",
    "<SECURITY_GROUP_ID>": "sg-0123456789abcdef0",
    "<NFS_SERVER>": "fs-01234567.efs.us-west-2.amazonaws.com",
    "<HEAD_IP>": "10.0.0.10",
    "<WORKER_IP_1>": "10.0.0.11",
    "<WORKER_IP_2>": "10.0.0.12",
    "<USER>": "trainer",
    "<SSH_KEY>": "~/.ssh/id_ed25519",
    "<SHARED_FOLDER>": "/mnt/auxtune",
}
# What is broken: the file, its text, what is written in its place, the one rule that objects, the line it points to.
BROKEN = [
    pytest.param(
        AWS,
        "--dashboard-host=127.0.0.1",
        "--dashboard-host=0.0.0.0",
        "wildcard",
        "--dashboard-host",
        id="a dashboard for all",
    ),
    pytest.param(ONPREM, "--host 127.0.0.1", "--host 0.0.0.0", "wildcard", "mlflow server", id="an MLflow for all"),
    pytest.param(
        AWS,
        "export RAY_AUTH_MODE=token;\n    ~/auxtune/env/bin/ray start --address",
        "\n    ~/auxtune/env/bin/ray start --address",
        "auth",
        "ray start --address",
        id="no mode on workers",
    ),
    pytest.param(
        ONPREM,
        "export RAY_AUTH_MODE=token;\n    ~/auxtune/env/bin/ray start --address",
        "export RAY_AUTH_MODE=disabled;\n    ~/auxtune/env/bin/ray start --address",
        "auth",
        "RAY_AUTH_MODE=disabled",
        id="two modes",
    ),
    pytest.param(AWS, "  ~/.ray/auth_token: ~/.ray/auth_token", "", "auth", "file_mounts:", id="no token"),
    pytest.param(AWS, "{CPU: 0, GPU: 0}", "{CPU: 8}", "head", "{CPU: 8}", id="trials on the head"),
    pytest.param(ONPREM, " --num-cpus=0", "", "head", "ray start --head", id="trials on the on-prem head"),
    pytest.param(
        ONPREM, "ray[default,tune]==2.60.0", "ray[default,tune]", "ray", "ray[default,tune]", id="ray unpinned"
    ),
    pytest.param(AWS, "ray[default,tune]==2.60.0", "ray[default,tune]==2.9.1", "ray", "2.9.1", id="another ray"),
    pytest.param(
        AWS,
        "  ~/auxtune/auxtune-0.1.0-py3-none-any.whl: dist/auxtune-0.1.0-py3-none-any.whl",
        "",
        "wheel",
        "whl[s3]",
        id="the wheel is not mounted",
    ),
    pytest.param(
        AWS,
        "max_workers: 4                           #",
        "max_workers: 0 #",
        "workers",
        "max_workers: 0",
        id="no workers",
    ),
    pytest.param(
        AWS, "resources: {CPU: 8, GPU: 1}", "resources: {CPU: 8}", "gpu", "resources: {CPU: 8}", id="GPUs not declared"
    ),
    pytest.param(
        AWS, "$RAY_HEAD_IP:6379", "127.0.0.1:6379", "address", "ray start --address", id="workers without a head"
    ),
    pytest.param(
        AWS,
        "region: us-west-2",
        "region: !!python/object/apply:os.getcwd []",
        "tag",
        "os.getcwd",
        id="a tag that runs code",
    ),
    pytest.param(AWS, "idle_timeout_minutes: 10", "idle_timeout: 10", "schema", "", id="a key that Ray does not know"),
    pytest.param(
        AWS, "upscaling_speed: 1.0", "cluster_name: other", "twice", "cluster_name: other", id="a key given twice"
    ),
    pytest.param(AWS, "type: aws", "type: kuberay", "schema", "type: kuberay", id="a provider of another kind"),
    pytest.param(AWS, "type: aws", "type: awz", "schema", "", id="a provider that does not exist"),
    pytest.param(ONPREM, "dist/auxtune-", "built/auxtune-", "mount", "built/auxtune-", id="nothing to copy"),
]


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with all that the files mount, where one is at home."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    shutil.copy(ROOT / "constraints.txt", tmp_path)
    for name in ("dist/auxtune-0.1.0-py3-none-any.whl", ".ray/auth_token"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    return tmp_path


def filled(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    for placeholder, value in FILLED.items():
        text = text.replace(placeholder, value)
    return text


def check(text: str) -> list[Finding]:
    Path("cluster.yaml").write_text(text, encoding="utf-8")
    return check_file(Path("cluster.yaml"))


@pytest.mark.parametrize("path", [AWS, ONPREM], ids=lambda path: path.name)
def test_ray_takes_the_shipped_files(path: Path) -> None:
    prepared = prepare_config(copy.deepcopy(yaml.safe_load(path.read_text(encoding="utf-8"))))
    validate_config(prepared)


@pytest.mark.parametrize("path", [AWS, ONPREM], ids=lambda path: path.name)
def test_of_the_shipped_files_only_placeholders_are_found(path: Path, home: Path) -> None:
    text = path.read_text(encoding="utf-8")
    assert "0.0.0.0" not in text
    findings = check(text)
    header = next(block for block in text.split("\n#\n") if block.startswith("# Fill in first"))
    asked = {name for name in FILLED if name in header}
    assert asked and {finding.rule for finding in findings} == {"placeholder"}
    assert {finding.what.split()[0] for finding in findings} == asked
    for finding in findings:
        line = text.splitlines()[int(finding.place.split(":")[1]) - 1]
        assert finding.what.split()[0] in line and not line.startswith("#")


@pytest.mark.parametrize("path", [AWS, ONPREM], ids=lambda path: path.name)
def test_filled_in_nothing_is_found(path: Path, home: Path) -> None:
    assert check(filled(path)) == []


@pytest.mark.parametrize(("path", "old", "new", "rule", "shown"), BROKEN)
def test_a_broken_file_gives_its_finding(path: Path, old: str, new: str, rule: str, shown: str, home: Path) -> None:
    text = filled(path)
    assert old in text
    broken = text.replace(old, new)
    (finding,) = check(broken)
    assert (finding.rule, finding.severity) == (rule, "error") and finding.why and finding.remedy
    if shown:
        assert shown in broken.splitlines()[int(finding.place.split(":")[1]) - 1]


def test_what_is_not_written_is_rays_default_and_examined(home: Path) -> None:
    data = yaml.safe_load(filled(AWS))
    for key in ("cluster_name", "head_start_ray_commands", "setup_commands"):
        del data[key]
    findings = {finding.rule: finding for finding in check(yaml.safe_dump(data))}
    assert set(findings) == {"name", "wildcard", "auth", "ray", "wheel"}
    assert "which is not written and so is Ray's default" in findings["wildcard"].what


def test_without_a_priority_what_is_written_first_is_started_first(home: Path) -> None:
    text = filled(AWS)
    assert text.count("priority: 1") == 1
    (finding,) = check(re.sub(r"priority: 1.*", "", text))
    assert finding.rule == "spot" and "starts gpu_on_demand, on demand, before" in finding.what


def test_on_demand_that_fits_worse_is_never_asked_for(home: Path) -> None:
    data = yaml.safe_load(filled(AWS))
    data["available_node_types"]["gpu_on_demand"]["resources"]["CPU"] = 16
    (finding,) = check(yaml.safe_dump(data))
    assert finding.rule == "spot" and "asks for gpu_spot again" in finding.what


def test_a_resource_that_only_spot_has_makes_it_the_second_choice(home: Path) -> None:
    data = yaml.safe_load(filled(AWS))
    data["available_node_types"]["gpu_spot"]["resources"]["spot"] = 1
    (finding,) = check(yaml.safe_dump(data))
    assert finding.rule == "spot" and "starts gpu_on_demand, on demand, before" in finding.what


def test_spot_alone_is_warned_of(home: Path) -> None:
    data = yaml.safe_load(filled(AWS))
    del data["available_node_types"]["gpu_on_demand"]
    (finding,) = check(yaml.safe_dump(data))
    assert (finding.rule, finding.severity) == ("spot", "warning") and "none on demand" in finding.what


def test_a_single_machine_may_train_on_its_head(home: Path) -> None:
    data = yaml.safe_load(filled(ONPREM).replace(" --num-cpus=0", ""))
    data["provider"]["worker_ips"], data["min_workers"], data["max_workers"] = [], 0, 0
    assert check(yaml.safe_dump(data)) == []


@pytest.mark.parametrize("text", ["", "{}", "[1, 2]", "a: [", "provider: &a {b: *a}"])
def test_what_is_no_cluster_file_is_said(text: str, home: Path) -> None:
    (finding,) = check(text)
    assert (finding.rule, finding.severity) == ("yaml", "error")


def test_the_files_name_the_versions_that_are_here() -> None:
    for path in (AWS, ONPREM):
        text = path.read_text(encoding="utf-8")
        assert f"dist/auxtune-{version('auxtune')}-py3-none-any.whl" in text
        assert f"ray[default,tune]=={version('ray')}" in text


def test_the_command_shows_findings_with_remedies_and_ends_with_2(home: Path) -> None:
    Path("mine.yaml").write_text(filled(ONPREM).replace("ray[default,tune]==2.60.0", "ray[default,tune]"))
    result = CliRunner().invoke(main, ["doctor", "mine.yaml"])
    assert result.exit_code == 2 and "error: mine.yaml:" in result.stdout and "remedy: install" in result.stdout
    assert "errors: 1, warnings: 0" in result.stdout
    Path("mine.yaml").write_text(filled(ONPREM))
    sound = CliRunner().invoke(main, ["doctor", "mine.yaml", "--json"])
    assert sound.exit_code == 0 and json.loads(sound.stdout)["findings"] == []


def test_the_command_says_what_it_expects() -> None:
    for arguments in ([], ["cluster.yaml", "--address", "auto"]):
        result = CliRunner().invoke(main, ["doctor", *arguments])
        assert result.exit_code == 2 and "expected a cluster file or the address of a live cluster" in result.stderr
    wrong = CliRunner().invoke(main, ["doctor", "--address", "http://127.0.0.1:8265"])
    assert wrong.exit_code == 2 and "HOST:6379 or auto" in wrong.stderr
