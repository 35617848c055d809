"""Who may import whom, by what is really loaded: each folder's modules are imported in a process of their own.

One process per folder and not per module, because the heavy libraries would be loaded again for each. A module is
blamed for what its own import added.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Mapping
from functools import cache
from pathlib import Path

import pytest
from written_study import written_study

from auxtune.orchestrator.engine.embedded_ray import PRELOADED

ROOT = Path(__file__).parents[1]
HEAVY = {"torch", "transformers", "datasets", "ray", "mlflow", "optuna"}
LAW: dict[str, set[str]] = {
    "selectors": {"auxtune.orchestrator", "auxtune.trials"} | HEAVY,
    "trials": {"auxtune.orchestrator", "auxtune.selectors", "ray", "mlflow", "optuna"},
    "orchestrator": set(),
    "examples": set(),
}
# Inside the orchestrator a folder imports only from those before it.
FLOORS = (
    "storage",
    "study_file",
    "record",
    "tables",
    "planning",
    "engine",
    "answer",
    "tracking",
    "cluster",
    "report",
    "session",
    "views",
    "export",
    "simulation",
    "study",
    "commands",
)
READ_ALONE = """
import sys
from auxtune.orchestrator.cli import main
try:
    main()
finally:
    print(*sys.modules)
"""
IMPORT_ALL = """
import json, sys
from importlib import import_module

added = {}
for name in sys.argv[1:]:
    before = set(sys.modules)
    import_module(name)
    added[name] = sorted(set(sys.modules) - before)
files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
print(json.dumps([added, files]))
"""


def imported(*modules: str) -> tuple[dict[str, list[str]], dict[str, str | None]]:
    """What each import added to ``sys.modules``, in order; then every loaded module's file."""
    run = subprocess.run(
        [sys.executable, "-c", IMPORT_ALL, *modules], cwd=ROOT, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr
    added, files = json.loads(run.stdout.splitlines()[-1])
    return added, files


@cache
def folder_imported(folder: str) -> tuple[dict[str, list[str]], dict[str, str | None]]:
    paths = sorted((ROOT / folder).rglob("*.py"))
    parts = [path.relative_to(ROOT).with_suffix("").parts for path in paths]
    return imported(*("auxtune." + ".".join(part).removesuffix(".__init__") for part in parts))


def loaded_of(banned: set[str], names: list[str]) -> list[str]:
    return [name for name in names if any(name == root or name.startswith(f"{root}.") for root in banned)]


def names_of_our_files(files: Mapping[str, str | None]) -> list[str]:
    homes = [ROOT / folder for folder in LAW]
    return [name for name, file in files.items() if file and any(Path(file).is_relative_to(home) for home in homes)]


@pytest.mark.parametrize("folder", LAW)
def test_a_folder_loads_nothing_it_must_not(folder: str) -> None:
    added, _ = folder_imported(folder)
    assert added, "no modules found"
    assert {name: loaded_of(LAW[folder], names) for name, names in added.items() if loaded_of(LAW[folder], names)} == {}


@pytest.mark.parametrize("folder", LAW)
def test_a_file_has_one_name(folder: str) -> None:
    _, files = folder_imported(folder)
    ours = names_of_our_files(files)
    assert ours and [name for name in ours if not name.startswith("auxtune.")] == []


def test_no_test_imports_a_folder_from_the_root() -> None:
    loaded = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    assert [name for name in names_of_our_files(loaded) if not name.startswith("auxtune.")] == []


@pytest.mark.parametrize("floor", FLOORS[:-1])
def test_the_orchestrator_is_built_upwards(floor: str) -> None:
    paths = [*(ROOT / "orchestrator" / floor).rglob("*.py"), *(ROOT / "orchestrator").glob(f"{floor}.py")]
    assert paths
    above = "|".join(FLOORS[FLOORS.index(floor) + 1 :])
    upwards = re.compile(rf"auxtune\.orchestrator\.({above})\b")
    assert [str(path) for path in paths if upwards.search(path.read_text(encoding="utf-8"))] == []


def test_metrics_load_no_torch_and_nothing_to_compute_with() -> None:
    added, _ = imported("auxtune.trials.metrics")
    assert loaded_of(HEAVY | {"sklearn", "pandas"}, added["auxtune.trials.metrics"]) == []


def test_help_loads_nothing_heavy() -> None:
    from auxtune.orchestrator.cli import COMMANDS

    added, _ = imported(*(f"auxtune.orchestrator.commands.{module}" for module, _ in COMMANDS.values()))
    assert len(added) == len(COMMANDS)
    assert {name: loaded_of(HEAVY, names) for name, names in added.items() if loaded_of(HEAVY, names)} == {}


@pytest.mark.parametrize("command", ["status", "status --verify", "list", "show", "clean", "compare", "report"])
def test_a_command_that_only_reads_a_study_loads_nothing_heavy(command: str, tmp_path: Path) -> None:
    name, *options = command.split()
    study = written_study(tmp_path / "small", until="done")
    (study / "selection.json").unlink()  # it is a stand-in
    place = {"list": [str(tmp_path)], "show": [str(study), "0"]}.get(name, [str(study)])
    said = subprocess.run(
        [sys.executable, "-c", READ_ALONE, name, *place, *options], capture_output=True, text=True, check=False
    )
    assert said.returncode in (0, 2) and "Traceback" not in said.stderr, said.stderr
    assert loaded_of(HEAVY, said.stdout.splitlines()[-1].split()) == []


def test_pandas_is_for_simulations_alone() -> None:
    """What else loads it, torch does, where it is installed."""
    files = {
        file.relative_to(ROOT).as_posix(): file.read_text(encoding="utf-8")
        for file in ROOT.glob("orchestrator/**/*.py")
    }
    importing = {name for name, text in files.items() if re.search(r"^ *(import|from) pandas\b", text, re.MULTILINE)}
    rooms = ("orchestrator/simulation/", "orchestrator/commands/simulate.py")
    assert importing and all(name.startswith(rooms) for name in importing)


def test_nothing_large_is_loaded_before_ray_begins_to_start() -> None:
    """Its processes start beside what this one then imports, so all that comes before only delays the first trial."""
    added, _ = imported("auxtune.orchestrator.session.session")
    names = added["auxtune.orchestrator.session.session"]
    assert loaded_of(HEAVY | {"pandas", "scipy.stats", "sklearn", "alembic", "sqlalchemy"}, names) == []


def test_a_worker_loads_no_more_than_a_trial_needs() -> None:
    added, _ = imported("ray.tune", *PRELOADED)
    names = [name for module in PRELOADED for name in added[module]]
    assert {"torch", "transformers.modeling_utils"} <= set(names)
    assert loaded_of({"mlflow", "datasets", "optuna", "scipy.stats", "sklearn", "matplotlib"}, names) == []


def test_a_study_of_the_tiny_encoder_is_prepared_without_the_models_of_transformers() -> None:
    code = (
        "import sys; from auxtune.trials.encoder import load_base; from auxtune.trials.recipe import ModelOptions;"
        "load_base(ModelOptions()); import auxtune.orchestrator.engine.search;"
        "print('transformers.modeling_utils' in sys.modules, 'mlflow' in sys.modules)"
    )
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert said.stdout.split() == ["False", "False"]
