"""What the commands that start Ray must say, and Ray's schema cannot see: who may come in, and where workers go."""

from __future__ import annotations

import re
from collections.abc import Iterator

from auxtune.orchestrator.cluster.cluster_file import ClusterFile, KeyPath, strings
from auxtune.orchestrator.cluster.finding import Finding

HEAD, WORKER = "head_start_ray_commands", "worker_start_ray_commands"

_ANY = re.compile(r"(?<![\d.])0\.0\.0\.0(?![\d.])|--(?:dashboard-)?host[= ]+(?:::|\[::\])(?=\s|$)")
_MODE = re.compile(r"\bRAY_AUTH_MODE=[\"']?(\w+)")
_STARTS = re.compile(r"\bray[\"']?\s+start\b")


def start_findings(file: ClusterFile) -> Iterator[Finding]:
    """Findings about addresses and authentication."""
    yield from _wildcard(file)
    yield from _authentication(file)
    yield from _address(file)


def ray_start(file: ClusterFile, key: str) -> tuple[KeyPath, str] | None:
    """The command under ``key`` that starts Ray; commands share no shell, so whatever it needs it must say itself."""
    return next(((path, command) for path, command in file.commands(key) if _STARTS.search(command)), None)


def _wildcard(file: ClusterFile) -> Iterator[Finding]:
    for path, text in strings(file.data):
        if found := _ANY.search(text):
            origin = "" if file.is_written(path) else f" in `{path[0]}`, which is not written and so is Ray's default"
            yield Finding(
                "wildcard",
                file.place(path, found[0]),
                f"{found[0]}, the wildcard address{origin}",
                "Ray's dashboard runs the jobs of whoever reaches it, and MLflow shows and deletes runs.",
                "listen on 127.0.0.1 and tunnel with `ray dashboard`; let in named addresses only",
            )


def _authentication(file: ClusterFile) -> Iterator[Finding]:
    modes: dict[str, str] = {}
    for key, side in ((HEAD, "on the head"), (WORKER, "on workers")):
        start = ray_start(file, key)
        if start is None:
            yield _no_start(file, key)
        elif stated := _MODE.search(start[1]):
            modes[side] = stated[1]
        else:
            yield Finding(
                "auth",
                file.place(start[0], "start"),
                f"RAY_AUTH_MODE is not stated where Ray is started {side}",
                "Unset, Ray decides by whether a token file lies in the home folder: one side may refuse the other.",
                "put `export RAY_AUTH_MODE=token;` before `ray start`, on both sides",
            )
    if len(set(modes.values())) == 2:
        what = "RAY_AUTH_MODE is " + " and ".join(f"{mode} {side}" for side, mode in modes.items())
        remedy = "state the same mode on both sides"
        yield Finding("auth", file.place((WORKER,), "RAY_AUTH_MODE"), what, "Workers cannot join the head.", remedy)
    elif "token" in modes.values() and not any("auth_token" in mount for mount in file.data.get("file_mounts") or ()):
        yield Finding(
            "auth",
            file.place(("file_mounts",)),
            "RAY_AUTH_MODE is token and no token is copied to the nodes",
            "Ray hands no token out by itself; without one it does not start.",
            "add `~/.ray/auth_token: ~/.ray/auth_token` to file_mounts; `ray get-auth-token --generate` makes it",
        )


def _no_start(file: ClusterFile, key: str) -> Finding:
    why = "`ray up` ends well and no Ray runs."
    remedy = "compare with cluster.yaml of auxtune"
    return Finding("start", file.place((key,)), f"no command of {key} is a `ray start`", why, remedy)


def _address(file: ClusterFile) -> Iterator[Finding]:
    start = ray_start(file, WORKER)
    if start is None:
        return
    heads = [r"\$RAY_HEAD_IP", r"\$\{RAY_HEAD_IP\}"]
    if head := file.provider.get("head_ip"):
        heads.append(re.escape(str(head)))
    if not re.search(rf"--address[= ]+[\"']?({'|'.join(heads)})(?![\w.])", start[1]):
        yield Finding(
            "address",
            file.place(start[0], "start"),
            "workers are started without the head's address",
            "Each would be a cluster of its own, and a study would never see it.",
            "`ray start --address=$RAY_HEAD_IP:6379`; Ray sets that variable",
        )
