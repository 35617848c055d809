"""An address at which no cluster is says so at once."""

from __future__ import annotations

import pytest

from auxtune.orchestrator.engine.cluster import connect_ray
from auxtune.orchestrator.errors import ClusterError


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:8265", "submit the study as a job"),
        ("ray://127.0.0.1:10001", "submit the study as a job"),
        ("127.0.0.1:9", "nothing answers there"),
        ("127.0.0.1:99999999", "nothing answers there"),
        ("head", "expected HOST:PORT"),
        (":6379", "expected HOST:PORT"),
    ],
)
def test_where_no_cluster_is_that_is_said(address: str, said: str) -> None:
    with pytest.raises(ClusterError, match=said), connect_ray(address):
        pass
