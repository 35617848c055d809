"""What is shipped is what is in the repository."""

from __future__ import annotations

import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGES = ("orchestrator", "trials", "selectors", "examples")


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
    assert shipped == {f"auxtune/{path.as_posix()}" for path in files}
    assert {f"auxtune/{folder}/py.typed" for folder in PACKAGES} <= shipped
