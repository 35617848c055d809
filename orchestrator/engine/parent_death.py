"""Lets the agents of an embedded Ray end with it, also where this process is killed; on Linux, as a script.

The kernel ends Ray's servers with the process that started them, since Ray asks it to. It does not ask so for the two
agents that its raylet starts: they see that the raylet is gone, and then try for up to a minute to tell a server of it
that is gone too. So their command line is led through this file, which asks the kernel in their stead and becomes the
agent; the request outlasts that. It needs nothing but the standard library, and a Python that loads little of it.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_ON_PARENT_DEATH = 1  # PR_SET_PDEATHSIG of prctl(2)
_PARENT = "RAY_RAYLET_PID"  # where Ray says who starts an agent


@contextmanager
def tie_agents() -> Iterator[None]:
    """While entered, a raylet that is started gets agents that end with it. Without effect off Linux."""
    if not sys.platform.startswith("linux"):
        yield
        return
    from ray._private import services

    inner: Any = services
    real = inner._build_python_executable_command_memory_profileable

    def lead_through(*arguments: Any, **named: Any) -> list[str]:
        return [sys.executable, "-I", "-S", __file__, *real(*arguments, **named)]

    inner._build_python_executable_command_memory_profileable = lead_through
    try:
        yield
    finally:
        inner._build_python_executable_command_memory_profileable = real


def main(command: list[str]) -> None:
    """Become ``command``, a path and its arguments, in a process that the kernel kills when its parent dies."""
    ctypes.CDLL(None, use_errno=True).prctl(_ON_PARENT_DEATH, signal.SIGKILL, 0, 0, 0)
    parent = os.environ.get(_PARENT)
    if parent is not None and os.getppid() != int(parent):  # it died before the request
        return
    os.execv(command[0], command)


if __name__ == "__main__":
    main(sys.argv[1:])
