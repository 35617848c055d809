"""What is shipped is what is in the repository."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("auxtune", "orchestrator", "trials", "selectors", "examples")


def test_the_wheel_holds_the_files_on_disk(tmp_path: Path) -> None:
    source = tmp_path / "source"
    for folder in PACKAGES:
        shutil.copytree(ROOT / folder, source / folder, ignore=shutil.ignore_patterns("__pycache__", ".*"))
    for file in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / file, source)
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(tmp_path), str(source)]
    run = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stdout + run.stderr

    with zipfile.ZipFile(next(tmp_path.glob("*.whl"))) as wheel:
        shipped = {name for name in wheel.namelist() if name.startswith("auxtune/")}
    written = {path.relative_to(source) for folder in PACKAGES for path in (source / folder).rglob("*")}
    files = {path for path in written if (source / path).is_file() and path.name != "ruff.toml"}
    assert shipped == {f"auxtune/{path.as_posix().removeprefix('auxtune/')}" for path in files}
    assert {"auxtune/py.typed", *(f"auxtune/{folder}/py.typed" for folder in PACKAGES[1:])} <= shipped
    assert_imports_from(next(tmp_path.glob("*.whl")), tmp_path / "site")


def assert_imports_from(wheel: Path, site: Path) -> None:
    """What is imported is the wheel's, all of it, although this checkout is installed too."""
    with zipfile.ZipFile(wheel) as opened:
        opened.extractall(site)
    code = (
        "import auxtune, sys; from auxtune import Study; import auxtune.selectors.registry\n"
        "print(auxtune.__path__, *(file for name, module in sys.modules.items() if name.startswith('auxtune')"
        " if (file := getattr(module, '__file__', None))), sep='\\n')"
    )
    environment = {**os.environ, "PYTHONPATH": str(site)}
    run = subprocess.run([sys.executable, "-c", code], cwd=site, env=environment, capture_output=True, text=True)
    path, *files = run.stdout.splitlines()
    assert path == str([str(site / "auxtune")]), run.stderr
    assert len(files) > 5 and all(Path(file).is_relative_to(site) for file in files)
