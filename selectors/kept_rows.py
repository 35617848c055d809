"""Temporary."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from auxtune.selectors.protocol import Evidence


def kept_rows(rule: Mapping[str, Any], evidence: Evidence) -> np.ndarray:
    """Row numbers."""
    raise NotImplementedError
