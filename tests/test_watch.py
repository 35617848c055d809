"""A trial that waits for a node is no trial that hangs; of a worker that could not begin it is said why."""

from __future__ import annotations

import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest
from ray.tune.experiment import Trial as RayTrial
from small_study import StudyRun

from auxtune.orchestrator.engine import search as watching
from auxtune.orchestrator.engine.search import GRACE, HangWatch
from auxtune.orchestrator.errors import HangError
from auxtune.orchestrator.planning.slots import Slots
from auxtune.selectors.protocol import Proposal


def trial(name: str, status: str) -> Any:
    return SimpleNamespace(
        trial_id=name,
        status=status,
        config={"assignment": SimpleNamespace(trial=7, proposal=Proposal(("p",)))},
        temporary_state=SimpleNamespace(ray_actor=None),
    )


@pytest.mark.parametrize("there", [0, 1])
def test_what_waits_while_the_nodes_are_full_does_not_hang_and_what_has_room_does(
    there: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, slots = [0.0], [Slots(1, 0, there, after_scaling=1)]
    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: now[0]))
    watch = HangWatch(60, lambda: slots[-1])
    trials = [*(trial(f"runs {n}", RayTrial.RUNNING) for n in range(there)), trial("waits", RayTrial.PENDING)]

    def turn(moment: float) -> None:
        now[0] = moment
        for running in trials[:-1]:
            watch.on_trial_result(0, trials, running, {})
        watch.on_step_begin(0, trials)

    for moment in (0, 1000, 2000):  # an hour may pass until a node has started
        turn(moment)
    slots.append(Slots(1, 0, there + 1))
    turn(2000 + 60 + GRACE)
    with pytest.raises(HangError, match="trial 7 did not begin within 90 s"):
        turn(2001 + 60 + GRACE)


@pytest.mark.slow
def test_why_a_worker_could_not_begin_is_said(small: StudyRun) -> None:
    """As on a node whose auxtune or torch is another one."""
    program = """
from auxtune.orchestrator import Study
from auxtune.orchestrator.engine import trainable

class Unlike(trainable.StudyTrainable):
    def setup(self, config, tasks, base):
        raise ImportError("libcudnn.so.9: cannot open shared object file")

trainable.StudyTrainable = Unlike
Study.from_yaml("study.yaml", ("resources.retries=0", "stop_after_failures=1")).run()
"""
    done = subprocess.run([sys.executable, "-c", program], cwd=small.home, capture_output=True, text=True, timeout=200)
    assert done.returncode != 0
    first = small.accounts.trials[0]
    assert first.told is not None and first.told.message is not None
    assert first.told.message.endswith("ImportError: libcudnn.so.9: cannot open shared object file")
