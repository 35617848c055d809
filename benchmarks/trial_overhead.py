"""What a trial costs beyond its training: a study beside plain Ray Tune, with trials that do nothing.

    python benchmarks/trial_overhead.py --out benchmarks/results/trial_overhead.json

Each arm runs on a Ray cluster of its own, in a process of its own, and they take turns. ``auxtune`` is a whole study
with a study's own workers: its ledger with its fsyncs, a result file of each trial, MLflow in SQLite; only the training
is left out. ``plain`` is a function for ``tune.Tuner`` with all defaults; ``reused`` is Ray Tune at its best, a class
whose actors are used again and which saves nothing, and no loggers.

Seconds per trial are from the end of the first trials, three for each slot, in which processes start, to the end of the
last trial, divided by the trials that ended in between.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from provenance import provenance, summarise_ratios
from slots import AUXILIARIES, STUDY, cluster, sleep_whole

ARMS = {"auxtune": 200, "reused": 200, "plain": 16}  # -> trials
_FIRST = 3  # trials of each slot that are not counted
Row = dict[str, Any]


def main() -> None:
    """Let the arms take turns, and print and write seconds per trial and ratios."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--arm", choices=ARMS, help="only this one, in this process")
    parser.add_argument("--out", type=Path, help="where to write the figures, as JSON")
    asked = parser.parse_args()
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    if asked.arm:
        print(json.dumps(measure_arm(asked.arm, asked.slots)))
        return
    found: Row = {"slots": asked.slots} | provenance([0], ("ray", "torch", "mlflow"))
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    for _ in range(asked.turns):
        for arm in ARMS:
            command = [sys.executable, *sys.argv, "--arm", arm]
            done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
            row = json.loads(done.stdout.splitlines()[-1])
            seconds[arm].append(row["seconds_per_trial"])
            print(arm, json.dumps(row), flush=True)
    found["seconds_per_trial"] = seconds
    for other in ("plain", "reused"):
        found[f"ratio_to_{other}"] = summarise_ratios(seconds["auxtune"], seconds[other])
        print(other, json.dumps(found[f"ratio_to_{other}"]))
    if asked.out:
        asked.out.write_text(json.dumps(found, indent=1) + "\n")


def measure_arm(arm: str, slots: int) -> Row:
    """One arm on a cluster of its own."""
    load, run = os.getloadavg()[0], run_study if arm == "auxtune" else run_tune
    with tempfile.TemporaryDirectory() as home, cluster(slots) as address:
        ends = run(arm, slots, address, Path(home))
    first = _FIRST * slots
    each = (ends[-1] - ends[first - 1]) / (len(ends) - first)
    return {"seconds_per_trial": round(each, 4), "trials": len(ends), "load": round(load, 2)}


def run_study(arm: str, slots: int, address: str, home: Path) -> list[float]:
    """When the trials of a study ended."""
    from auxtune.orchestrator.engine.loop import set_ray_defaults

    set_ray_defaults()
    from auxtune.orchestrator import Study

    sleep_whole(home / "gate", slots, seconds=0.0)
    tasks = [f"  {name}{twin}: {{builtin: {name}, rows: 200}}" for name in AUXILIARIES for twin in ("", "_again")]
    text = STUDY.replace("TRIALS", str(ARMS[arm])).replace("TASKS", "\n".join(tasks))
    (home / "study.yaml").write_text(text)
    overrides = (f"storage={home / 'studies'}", f"tracking={{uri: 'sqlite:///{home / 'mlflow.db'}'}}")
    accounts = Study.from_yaml(home / "study.yaml", overrides).run(address=address).accounts
    found = sorted(trial.told.time for trial in accounts.in_phase("search") if trial.told is not None)
    if len(found) != ARMS[arm]:
        raise SystemExit(f"expected {ARMS[arm]} trials that ended, found {len(found)}")
    return found


def run_tune(arm: str, slots: int, address: str, home: Path) -> list[float]:
    """When the trials of Ray Tune alone ended, by its driver."""
    if arm == "reused":
        os.environ["TUNE_DISABLE_AUTO_CALLBACK_LOGGERS"] = "1"
    import ray
    from ray import tune

    ends: list[float] = []

    class Ended(tune.Callback):
        """Notes when trials end."""

        def on_trial_complete(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            ends.append(time.time())

    class Nothing(tune.Trainable):
        """A trial of one step that does nothing."""

        def step(self) -> dict[str, Any]:
            return {"score": 0.5, "done": True}

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            return True

    def do_nothing(config: dict[str, float]) -> None:
        tune.report({"score": 0.5})

    ray.init(address, log_to_driver=False, logging_level="ERROR")
    tune.Tuner(
        Nothing if arm == "reused" else do_nothing,
        param_space={"share": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(
            num_samples=ARMS[arm], metric="score", mode="max", reuse_actors=True if arm == "reused" else None
        ),
        run_config=tune.RunConfig(
            storage_path=str(home),
            verbose=0,
            callbacks=[Ended()],
            checkpoint_config=tune.CheckpointConfig(checkpoint_at_end=False) if arm == "reused" else None,
        ),
    ).fit()
    ray.shutdown()
    return ends


if __name__ == "__main__":
    main()
