"""All findings of a cluster file, offline: Ray's own validation, and what it cannot see.

Offline nothing can tell whether images, regions, quotas and permissions exist, whether SSH works, and whether a node's
driver fits the CUDA of the installed torch. The live check sees the last two.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path

from auxtune.orchestrator.cluster.cluster_file import ClusterFile, read_cluster_file, walk_strings
from auxtune.orchestrator.cluster.finding import Finding
from auxtune.orchestrator.cluster.node_rules import check_nodes, check_start


def check_file(path: Path) -> list[Finding]:
    """The findings of the cluster file at ``path``, errors first.

    Where Ray refuses the file, only Ray's findings. Raises ``AuxtuneError`` for a file that cannot be read.
    """
    file = read_cluster_file(path)
    findings = list(file.findings)
    if not findings:
        if not file.is_written(("cluster_name",)):
            why = "It is then `default`, as is everyone else's: Ray takes one cluster for the other."
            findings.append(Finding("name", str(path), "cluster_name is missing", why, "name the cluster"))
        for rules in (check_start, check_software, check_nodes, check_placeholders):
            findings += rules(file)
    return sorted(findings, key=lambda finding: finding.severity)


PLACEHOLDER = re.compile(r"<[A-Za-z][\w.-]*>|\b[\w-]*REPLACE\b")


def check_placeholders(file: ClusterFile) -> Iterator[Finding]:
    """One finding per placeholder, where it first appears."""
    first: dict[str, int] = {}
    for path, text in walk_strings(file.data):
        for found in PLACEHOLDER.finditer(text):
            line = file.line(path, found[0]) or 0
            first[found[0]] = min(line, first.get(found[0], line))
    for name, line in sorted(first.items(), key=lambda item: item[1]):
        why = "It goes to the cloud or to a shell as it is written."
        yield Finding("placeholder", f"{file.path}:{line}", f"{name} is not filled in", why, "write your own value")


_INSTALLS = re.compile(r"\bpip3?\b.*\binstall\b", re.DOTALL)
_RAY = re.compile(r"(?<![\w./-])ray(?:\[[\w,]*\])?(?![\w./\[-])\s*(?P<pin>==\s*(?P<version>[\w.]+))?")
_WHEEL = re.compile(r"(?P<path>[^\s\"']*?auxtune-(?P<version>\d[\w.]*?)-[\w.-]+\.whl)")
_PACKAGE = re.compile(r"(?<![\w./-])auxtune(?:\[[\w,]*\])?\s*==\s*(?P<version>[\w.]+)")


def check_software(file: ClusterFile) -> Iterator[Finding]:
    """Findings about what nodes install; none about installing where a container image is used, which may hold all."""
    yield from _check_mounts(file)
    if not (file.data.get("docker") or {}).get("image"):
        yield from _check_ray_version(file)
        yield from _check_auxtune(file)


def _check_mounts(file: ClusterFile) -> Iterator[Finding]:
    for remote, local in (file.data.get("file_mounts") or {}).items():
        if not PLACEHOLDER.search(local) and not Path(local).expanduser().exists():
            yield Finding(
                "mount",
                file.place(("file_mounts", remote)),
                f"{local} is to be copied to the nodes and is not there, seen from {Path.cwd()}",
                "`ray up` breaks off at it, after the head has been started.",
                "make it (`make wheel`, `ray get-auth-token --generate`), or go to the folder it is relative to",
            )


def _check_ray_version(file: ClusterFile) -> Iterator[Finding]:
    ours = version("ray")
    why = "Nodes that start on different days get different versions, and Ray refuses nodes and drivers of another one."
    remedy = f"""install "ray[default,tune]=={ours}", which is what is installed here"""
    found = False
    for path, command in file.commands("setup_commands", "head_setup_commands", "worker_setup_commands"):
        for named in _RAY.finditer(command) if _INSTALLS.search(command) else ():
            found = True
            if named["pin"] is None:
                yield Finding("ray", file.place(path, "ray"), "Ray's version is not pinned", why, remedy)
            elif named["version"] != ours:
                what = f"Ray {named['version']} is installed on the nodes, {ours} here"
                yield Finding("ray", file.place(path, named["pin"]), what, why, remedy)
    if not found:
        what = "no setup command installs Ray with a pinned version"
        yield Finding("ray", file.place(("setup_commands",)), what, why, remedy)


def _check_auxtune(file: ClusterFile) -> Iterator[Finding]:
    ours = version("auxtune")
    why = "Trials run on workers, which cannot import what only the head or only you have."
    remedy = "`make wheel`, then mount dist/auxtune-….whl with file_mounts and install it in setup_commands"
    installs = [each for each in file.commands("setup_commands") if _INSTALLS.search(each[1])]
    wheels = [(path, found) for path, command in installs for found in _WHEEL.finditer(command)]
    pinned = [(path, found) for path, command in installs for found in _PACKAGE.finditer(command)]
    if not wheels and not pinned:
        what = "no command that runs on every node installs auxtune's wheel"
        yield Finding("wheel", file.place(("setup_commands",)), what, why, remedy)
        return
    mounted = [str(remote) for remote in file.data.get("file_mounts") or {}]
    missing = dict.fromkeys(
        (path, found["path"])
        for path, found in wheels
        if not any(_is_inside(found["path"], remote) for remote in mounted)
    )
    for path, wheel in list(missing)[:1]:
        what = f"{wheel} is installed and nothing copies it to the nodes"
        yield Finding("wheel", file.place(path, wheel), what, why, remedy)
    other = [(path, found) for path, found in (*wheels, *pinned) if found["version"] != ours]
    for path, found in other[:1]:
        what = f"auxtune {found['version']} is installed on the nodes, {ours} here"
        why = "The study's fingerprint and what a trial results in belong to one version."
        yield Finding("version", file.place(path, found["version"]), what, why, "name the wheel of this version")


def _is_inside(path: str, mount: str) -> bool:
    """Whether a mount brings the file: it is the file or a folder above it. A shell knows a home by two names."""
    path, mount = (each.replace("${HOME}", "~").replace("$HOME", "~").rstrip("/") for each in (path, mount))
    return path == mount or path.startswith(f"{mount}/")
