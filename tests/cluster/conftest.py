"""One cluster for all of these tests: to install what it needs takes minutes."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
from brought_up import Up, brought_up
from machine import missing


@pytest.fixture(scope="session")
def up(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """Skips where it was not asked for, or cannot be had."""
    if os.environ.get("AUXTUNE_CLUSTER_TEST") != "1":
        pytest.skip("installs a machine from the package index, which takes minutes: make cluster-test")
    if why_not := missing():
        pytest.skip(why_not)
    with brought_up(tmp_path_factory.mktemp("cluster")) as cluster:
        yield cluster
