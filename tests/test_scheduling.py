"""A waiting trial keeps the actor that is starting for it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from ray.tune.experiment import Trial as RayTrial
from ray.tune.schedulers import FIFOScheduler

from auxtune.orchestrator.engine.search import EarlyStopping, OwnActors


def test_no_waiting_trial_is_named_so_that_none_takes_the_actor_of_another() -> None:
    waiting = SimpleNamespace(status=RayTrial.PENDING, placement_group_factory=None)
    controller: Any = SimpleNamespace(
        get_trials=lambda: [waiting],
        get_live_trials=lambda: {waiting.status: waiting}.values(),
        trial_executor=None,
        has_resources_for_trial=lambda trial: True,
    )
    assert FIFOScheduler().choose_trial_to_run(controller) is waiting
    assert OwnActors().choose_trial_to_run(controller) is None
    assert EarlyStopping(1, 2, lambda event: None, ()).choose_trial_to_run(controller) is None
