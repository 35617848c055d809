"""A third party's package of metrics, as pip leaves it in a folder of packages."""

from __future__ import annotations

from pathlib import Path

COST = """\
import numpy as np

from auxtune.trials.metrics import Answers, Metric


def cost(answers: Answers) -> np.ndarray:
    \"\"\"A yes that is missed costs five, a no that is not one.\"\"\"
    wrong = answers.labels != answers.predictions
    return np.where(wrong, np.where(answers.labels == 1, 5.0, 1.0), 0.0)


METRIC = Metric("cost_of_errors", ("classification",), values=cost, higher_is_better=False)
"""


def write_package(packages: Path, name: str = "cost_of_errors", code: str = COST, package: str = "ours") -> None:
    """A package in the folder ``packages`` whose module ``package`` has a ``METRIC`` under ``name``."""
    info = packages / f"{package}-1.0.dist-info"
    info.mkdir(parents=True)
    (packages / f"{package}.py").write_text(code)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[auxtune.metrics]\n{name} = {package}:METRIC\n")
