"""Shared by all tests: a fixed environment for Ray and torch, and a small study of real tasks."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from chromium import chromium
from small_study import ENVIRONMENT, StudyRun, small_study

os.environ.setdefault("RAY_AUTH_MODE", "disabled")  # else Ray writes a token file into the home folder
os.environ.setdefault("OMP_NUM_THREADS", "1")
for part in ("URI", "USERNAME", "PASSWORD", "TOKEN"):  # else runs of tests would go to a real server
    os.environ.pop(f"MLFLOW_TRACKING_{part}", None)
ENVIRONMENT.update(os.environ)


@pytest.fixture
def small(tmp_path: Path) -> StudyRun:
    """A small study that has not been run yet."""
    return small_study(tmp_path)


@pytest.fixture(scope="session")
def whole(tmp_path_factory: pytest.TempPathFactory) -> StudyRun:
    """The same study, run to its answer without disturbance: others are compared with it."""
    run = small_study(tmp_path_factory.mktemp("whole"))
    run.finish()
    return run


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Chromium with an empty profile, and all its requests and complaints logged."""
    pytest.importorskip("selenium.webdriver", reason="needs selenium, which the dev extra brings")
    with chromium(tmp_path_factory.mktemp("profile")) as driver:
        yield driver
