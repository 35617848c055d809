"""Switches oneDNN (MKLDNN) off in torch, in every process that has this folder in PYTHONPATH, Ray's workers included.

torch has no environment variable for it. So the switch is turned right after torch has been imported, whoever does it.
"""

from __future__ import annotations

import sys
from importlib.abc import Loader, MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import Any


class _Switching(Loader):
    """Loads torch as ever, then turns the switch."""

    def __init__(self, loader: Loader) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> ModuleType | None:
        return self._loader.create_module(spec)

    def exec_module(self, module: ModuleType) -> None:
        self._loader.exec_module(module)
        module._C._set_mkldnn_enabled(False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._loader, name)  # what else a loader of source code can


class _Finder(MetaPathFinder):
    """Finds torch alone, once."""

    def find_spec(self, name: str, path: Any, target: Any = None) -> ModuleSpec | None:
        if name != "torch":
            return None
        sys.meta_path.remove(self)
        spec = PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            spec.loader = _Switching(spec.loader)
        return spec


sys.meta_path.insert(0, _Finder())
