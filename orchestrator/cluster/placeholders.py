"""What a cluster file leaves to be filled in: ``<NAME>``, or a value that says ``REPLACE``."""

from __future__ import annotations

import re
from collections.abc import Iterator

from auxtune.orchestrator.cluster.cluster_file import ClusterFile, strings
from auxtune.orchestrator.cluster.finding import Finding

PLACEHOLDER = re.compile(r"<[A-Za-z][\w.-]*>|\b[\w-]*REPLACE\b")


def placeholder_findings(file: ClusterFile) -> Iterator[Finding]:
    """One finding per placeholder, where it stands first."""
    first: dict[str, int] = {}
    for path, text in strings(file.data):
        for found in PLACEHOLDER.finditer(text):
            line = file.line(path, found[0]) or 0
            first[found[0]] = min(line, first.get(found[0], line))
    for name, line in sorted(first.items(), key=lambda item: item[1]):
        why = "It goes to the cloud or to a shell as it is written."
        yield Finding("placeholder", f"{file.path}:{line}", f"{name} is not filled in", why, "write your own value")
