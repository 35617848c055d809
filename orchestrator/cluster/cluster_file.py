"""A cluster file as ``ray up`` reads it, with the line of each value.

Ray merges a file with the defaults of its provider before it looks at it, and so do we: a start command that is not
written is Ray's own, with whatever that opens. Everything here works offline.
"""

from __future__ import annotations

import copy
import io
from collections.abc import Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import yaml

from auxtune.orchestrator.cluster.finding import Finding
from auxtune.orchestrator.errors import AuxtuneError

KeyPath: TypeAlias = tuple[str | int, ...]

_PLAIN = {"str", "int", "float", "bool", "null", "seq", "map", "merge", "timestamp"}


@dataclass
class ClusterFile:
    """``data`` as Ray prepares it (as written where that failed), ``text`` as written, ``findings`` on the way.

    ``spans`` holds the first and the last line of each value that is written, from 1.
    """

    path: Path
    text: str
    data: dict[str, Any] = field(default_factory=dict)
    findings: list[Finding] = field(default_factory=list)
    spans: dict[KeyPath, tuple[int, int]] = field(default_factory=dict)

    @property
    def provider(self) -> Mapping[str, Any]:
        """The provider's keys."""
        return self.data.get("provider") or {}

    def commands(self, *keys: str) -> list[tuple[KeyPath, str]]:
        """The commands under the top-level ``keys``, each with its path. One may be written over several lines."""
        return [((key, index), command) for key in keys for index, command in enumerate(self.data.get(key) or ())]

    def is_written(self, path: KeyPath) -> bool:
        """Whether the value at ``path`` is in the file, and not a default of Ray's."""
        return path in self.spans

    def line(self, path: KeyPath, needle: str = "") -> int | None:
        """The line, from 1, of the value at ``path``: within it the first one that holds ``needle``.

        Where it is not written, the line of the value around it; ``None`` if that is the whole file.
        """
        around = (path[:length] for length in range(len(path), 0, -1))
        span = next((self.spans[outer] for outer in around if outer in self.spans), None)
        if span is None:
            return None
        lines = self.text.splitlines()[span[0] - 1 : span[1]]
        return span[0] + next((number for number, line in enumerate(lines) if needle and needle in line), 0)

    def place(self, path: KeyPath, needle: str = "") -> str:
        """``FILE:LINE`` of the value at ``path``; the file where there is no line."""
        line = self.line(path, needle)
        return f"{self.path}:{line}" if line else str(self.path)


def read_cluster_file(path: Path) -> ClusterFile:
    """The file at ``path``, prepared and validated by Ray; what Ray or YAML refuse is among the ``findings``.

    Raises ``AuxtuneError`` for a file that cannot be read.
    """
    try:
        file = ClusterFile(path, path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise AuxtuneError(f"{path}: expected a cluster file, it cannot be read: {error}") from error
    try:
        node = yaml.compose(file.text, Loader=yaml.SafeLoader)
        file.findings += _walk_nodes(node, (), file)
        if not file.findings:
            data = yaml.safe_load(file.text)
            if not isinstance(data, dict) or not data:
                raise yaml.YAMLError("expected a mapping of keys such as cluster_name and provider")
            file.data = data
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # also an impossible date, or an alias of itself
        mark = getattr(error, "problem_mark", None)
        where = f"{path}:{mark.line + 1}" if mark else str(path)
        what = f"not YAML that can be read: {getattr(error, 'problem', None) or error}"
        file.findings.append(Finding("yaml", where, what, "Ray cannot read it either.", "mend the file there"))
    if file.data:
        _prepare_file(file)
    return file


def walk_strings(value: Any, path: KeyPath = ()) -> Iterator[tuple[KeyPath, str]]:
    """Every text in ``value``, values only, with its path."""
    if isinstance(value, str):
        yield path, value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from walk_strings(inner, (*path, key))
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from walk_strings(inner, (*path, index))


def _walk_nodes(node: yaml.Node | None, path: KeyPath, file: ClusterFile) -> Iterator[Finding]:
    """Note the lines of every value; a finding for each tag that would run code and each key that is given twice."""
    if node is None:
        return
    first, last = node.start_mark.line + 1, node.end_mark.line + 1
    file.spans[path] = (first, last)
    prefix, _, kind = node.tag.rpartition(":")
    if prefix != "tag:yaml.org,2002" or kind not in _PLAIN:
        why = "Such tags build objects, with some readers by running code; Ray's refuses the file."
        yield Finding("tag", f"{file.path}:{first}", f"the tag {node.tag}", why, "write the plain value")
        return
    if isinstance(node, yaml.MappingNode):
        known: dict[str, int] = {}
        for key_node, inner in node.value:
            key, line = str(key_node.value), key_node.start_mark.line + 1
            if key in known:
                why = "YAML keeps the last one without a word."
                what = f"{key} is given twice, first on line {known[key]}"
                yield Finding("twice", f"{file.path}:{line}", what, why, "keep one")
            known[key] = line
            inside = (*path, key)
            yield from _walk_nodes(inner, inside, file)
            file.spans[inside] = (line, inner.end_mark.line + 1)
    elif isinstance(node, yaml.SequenceNode):
        for index, inner in enumerate(node.value):
            yield from _walk_nodes(inner, (*path, index), file)


def _prepare_file(file: ClusterFile) -> None:
    """Do what ``ray up`` does with a file before it goes online."""
    from ray.autoscaler._private.util import prepare_config, validate_config

    if (file.data.get("provider") or {}).get("type") == "kuberay":
        what, why = "provider kuberay", "`ray up` brings up no such cluster, and Ray does not validate the file."
        finding = Finding("schema", file.place(("provider", "type")), what, why, "ask the live cluster: --address")
        file.findings.append(finding)
        return
    said = io.StringIO()
    try:
        with redirect_stdout(said), redirect_stderr(said):
            # Preparing comes first: as written, a file with provider local does not pass Ray's validation.
            prepared = prepare_config(copy.deepcopy(file.data))
            validate_config(prepared)
    except Exception as error:
        # A ValidationError, ValueError, RuntimeError, AssertionError, KeyError …: Ray says no in many ways.
        where: KeyPath = tuple(getattr(error, "absolute_path", ()))
        lines = (getattr(error, "message", "") or str(error) or said.getvalue()).strip().splitlines()
        what = f"Ray refuses it: {lines[-1] if lines else type(error).__name__}"
        if isinstance(error, KeyError):
            what = f"Ray refuses it: the key {error} is missing"
        why = "`ray up` ends with this before it starts anything."
        finding = Finding("schema", file.place(where), what, why, "compare with cluster.yaml of auxtune")
        file.findings.append(finding)
    else:
        # merge_setup_commands has put the common commands before those of the head and of workers: keep each once.
        common = prepared.get("setup_commands") or []
        for key in ("head_setup_commands", "worker_setup_commands"):
            prepared[key] = (prepared.get(key) or [])[len(common) :]
        file.data = prepared
