"""Expands ``${NAME}`` and ``${NAME:-default}`` as a shell would, so that study files hold no machine's paths."""

from __future__ import annotations

import re
from collections.abc import Mapping

_REFERENCE = re.compile(r"(?P<escape>\$\$\{)|\$\{(?:(?P<name>[A-Za-z_]\w*)(?::-(?P<default>[^}]*))?\})?", re.ASCII)


def expand(text: str, environment: Mapping[str, str]) -> str:
    """The text with variables filled in. ``$${`` stands for a literal ``${``.

    A default counts where the variable is unset or empty. Raises ``ValueError`` for a variable that is neither set
    nor given a default, and for ``${`` that no variable follows.

    >>> expand("${DATA:-/data}/rte", {})
    '/data/rte'
    """

    def value(match: re.Match[str]) -> str:
        if match["escape"]:
            return "${"
        name, default = match["name"], match["default"]
        if name is None:
            raise ValueError("expected ${NAME} or ${NAME:-default}; write $${ for a literal ${")
        if default is not None:
            return environment.get(name) or default
        if name not in environment:
            raise ValueError(f"the environment variable {name} is not set; set it or write ${{{name}:-default}}")
        return environment[name]

    return _REFERENCE.sub(value, text)
