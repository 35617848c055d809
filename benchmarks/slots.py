"""Can one driver keep 64 slots busy with trials of one second? Simulated trials on a real Ray cluster, on this machine.

    python benchmarks/slots.py --out benchmarks/results/slots.json

A cluster of a head without CPUs and one node that claims a CPU per slot. ``auxtune`` is a whole study with the selector
``random_subset``: data, ledger on disk with its fsyncs, searcher, Tuner, worker actors, MLflow in SQLite (``--mirror
none`` leaves the children out). Only a worker's second of work is replaced: it sleeps instead of training. A study's
own workers hold 0.38 GB each, so 64 of them need 24 GB: ``--whole`` uses them; without it the workers write the same
files, but import neither torch nor transformers and are handed neither data nor weights.
``plain`` is what a user would otherwise write: a function for ``tune.Tuner`` with random search and all defaults, which
sleeps as long and reports; by default Tune starts a process for each trial, so fewer are run. Each runs in a process
and a cluster of its own, one after the other.

The first trials, one per slot, are the warm-up: 64 processes start, which on few cores takes minutes. They wait for
each other before they sleep; otherwise the first workers would have done everything before the last are up. The
``steady`` window reaches from there to the start of the last trial. In it

- ``utilisation`` is seconds slept / (slots × seconds), 1 at best, by the ledger's times, or in plain the workers' own;
- ``driver_cpu`` is processor seconds per second of the driver's process, all threads, on a machine with ``cores``;
- ``proposals_per_second`` is trials begun, at most slots / seconds of a trial, so 64.

``whole`` is from the first start to the last end. 64 thin workers need 8 GB of memory. On a machine with few cores the
workers, Ray's own processes and the driver share them: the result is a lower bound for a head with cores of its own.
``load`` is the machine's one-minute load before each.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
from provenance import peak_memory_mb, provenance

STUDY = """\
study: slots
primary: mood
tasks:
  mood: {builtin: mood, rows: 200}
TASKS
model: {name: tiny, max_length: 32, pooling: mean}
selector: {name: random_subset, trials: TRIALS}
confirm: {seeds: 1, controls: []}
budget: {trials: 100000}
resources: {cpus: 1, gpus: 0}
"""
AUXILIARIES = ("tint", "stars", "rival", "river", "pace", "slang")
Row = dict[str, Any]


def main() -> None:
    """Run both, each in a process of its own, and write and print their results."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--slots", type=int, default=64)
    parser.add_argument("--trials", type=int, default=200, help="trials after the first one of each slot")
    parser.add_argument("--plain-trials", type=int, default=40, help="the same, of plain")
    parser.add_argument("--seconds", type=float, default=1.0, help="how long a trial sleeps")
    parser.add_argument("--mirror", choices=["all", "none"], default="all", help="runs of trials in MLflow")
    parser.add_argument("--whole", action="store_true", help="a study's own workers, of 0.4 GB each, not thin ones")
    parser.add_argument("--arm", choices=["auxtune", "plain"], help="only this one, in this process")
    parser.add_argument("--out", type=Path, help="where to write the figures, as JSON")
    asked = parser.parse_args()
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    if asked.arm:
        print(json.dumps(measured(asked)))
        return
    found: Row = {"slots": asked.slots, "trials": asked.trials, "seconds": asked.seconds, "mirror": asked.mirror}
    found |= provenance([0], ("ray", "torch", "mlflow"))
    for arm in ("auxtune", "plain"):
        done = subprocess.run([sys.executable, *sys.argv, "--arm", arm], stdout=subprocess.PIPE, text=True, check=True)
        found[arm] = json.loads(done.stdout.splitlines()[-1])
        print(arm, json.dumps(found[arm]), flush=True)
        if arm == "plain":
            ours, theirs = (found[each]["steady"]["utilisation"] for each in ("auxtune", "plain"))
            found["ratio"] = round(ours / theirs, 1)
        if asked.out:
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            asked.out.write_text(json.dumps(found, indent=1) + "\n")


def measured(asked: argparse.Namespace) -> Row:
    """One arm on a cluster of its own."""
    load = os.getloadavg()[0]
    with tempfile.TemporaryDirectory() as home, cluster(asked.slots) as address, DriverCpu() as cpu:
        arm = study_spans if asked.arm == "auxtune" else plain_spans
        spans = arm(asked, address, Path(home))  # (n, 3): begun by the driver, asleep from, until
    return {"load": round(load, 2), "peak_memory_mb": peak_memory_mb(), **figures(asked.slots, spans, cpu)}


def figures(slots: int, spans: np.ndarray, cpu: DriverCpu) -> Row:
    """Utilisation, the driver's share of a processor and trials begun per second, in both windows."""
    begun, asleep, until = spans.T
    windows = {"steady": (np.sort(asleep)[slots - 1], begun.max()), "whole": (begun.min(), until.max())}
    rows = {}
    for name, (first, last) in windows.items():
        slept = np.clip(np.minimum(until, last) - np.maximum(asleep, first), 0, None).sum()
        rows[name] = {
            "seconds": round(last - first, 2),
            "utilisation": round(float(slept / (slots * (last - first))), 4),
            "driver_cpu": round(cpu.between(first, last), 3),
            "proposals_per_second": round(float(((begun > first) & (begun <= last)).sum() / (last - first)), 2),
        }
    return rows


class DriverCpu:
    """The processor time of this process, noted ten times a second while entered."""

    def __enter__(self) -> DriverCpu:
        self._over = threading.Event()
        self._noted: list[tuple[float, float]] = []
        self._thread = threading.Thread(target=self._note, daemon=True)
        self._thread.start()
        return self

    def __exit__(self, *raised: object) -> None:
        self._over.set()
        self._thread.join()

    def _note(self) -> None:
        while not self._over.wait(0.1):
            self._noted.append((time.time(), time.process_time()))

    def between(self, first: float, last: float) -> float:
        """Processor seconds per second."""
        moments, taken = np.array(self._noted).T
        start, end = np.interp([first, last], moments, taken)
        return float((end - start) / (last - first))


@contextmanager
def cluster(slots: int) -> Iterator[str]:
    """The address of a cluster with room for ``slots`` trials at once."""
    from ray.cluster_utils import Cluster

    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    try:
        made.add_node(num_cpus=slots)
        yield made.address
    finally:
        made.shutdown()


def wait_for_all(gate: Path, slots: int) -> None:
    """In a worker: one of the first trials, one per slot, waits until all of them are here."""
    gate.mkdir(exist_ok=True)
    if sum(1 for _ in gate.iterdir()) >= slots:
        return
    (gate / str(uuid.uuid4())).touch()
    while sum(1 for _ in gate.iterdir()) < slots:
        time.sleep(0.1)


def study_spans(asked: argparse.Namespace, address: str, home: Path) -> np.ndarray:
    """The study's trials, from its ledger."""
    from auxtune.orchestrator.engine.loop import set_ray_defaults

    set_ray_defaults()
    from auxtune.orchestrator import Study

    (sleep_whole if asked.whole else sleep_thin)(home / "gate", asked.slots, asked.seconds)
    path = home / "study.yaml"
    # Each twice: subsets are drawn without repetition, and of six there are only 63.
    tasks = [f"  {name}{twin}: {{builtin: {name}, rows: 200}}" for name in AUXILIARIES for twin in ("", "_again")]
    path.write_text(STUDY.replace("TRIALS", str(asked.slots + asked.trials)).replace("TASKS", "\n".join(tasks)))
    tracking = f"tracking={{uri: 'sqlite:///{home / 'mlflow.db'}', children: {asked.mirror}}}"
    overrides = (f"storage={home / 'studies'}", tracking)
    accounts = Study.from_yaml(path, overrides).run(address=address).accounts
    spans = []
    for trial in accounts.in_phase("search"):
        [attempt] = trial.attempts
        if trial.told is None or trial.told.outcome.score is None:
            raise SystemExit(f"trial {trial.id} failed: {trial.told.message if trial.told else 'it never ended'}")
        spans.append((attempt.started, trial.told.time - trial.told.cost.wall_seconds, trial.told.time))
    return np.array(spans)


class Nap:
    """In place of a training run: one step that sleeps."""

    step, score, finished = 0, None, False

    def __init__(self, gate: Path, slots: int, seconds: float, tasks: Sequence[str]) -> None:
        self._gate, self._slots, self._seconds, self._tasks = gate, slots, seconds, tasks

    def advance(self) -> None:
        """All of it."""
        wait_for_all(self._gate, self._slots)
        self._began = time.monotonic()
        time.sleep(self._seconds)
        self.finished = True

    def result(self) -> Any:
        """A score, and what it took."""
        from auxtune.trials.result import Cost, Result

        wall = time.monotonic() - self._began
        values = {task: {"accuracy": 0.5} for task in self._tasks}
        cost = Cost(wall, gpu_seconds=0.0, cpu_seconds=wall)
        return Result(score=0.5, cost=cost, steps=1, best_step=1, validation=values, test=values)


def sleep_whole(gate: Path, slots: int, seconds: float) -> None:
    """Have the loop start a study's own workers, which only sleep in a trial."""
    from auxtune.orchestrator.engine import trainable

    class Sleeping(trainable.StudyTrainable):
        def _new_run(self) -> Any:
            return Nap(gate, slots, seconds, self._assignment.proposal.tasks)

    trainable.StudyTrainable = Sleeping  # type: ignore[misc]  # the loop takes it from there


def sleep_thin(gate: Path, slots: int, seconds: float) -> None:
    """Have the loop start workers that write the files of a study's own, but import little and are handed little."""
    from ray import tune

    from auxtune.orchestrator.engine import loop, trainable
    from auxtune.orchestrator.session import ray_backend

    class Sleeping(tune.Trainable):
        def setup(self, config: dict[str, Any], tasks: Any, base: Any) -> None:
            self.reset_config(config)

        def reset_config(self, new_config: dict[str, Any]) -> bool:
            self._assignment = new_config["assignment"]
            return True

        def step(self) -> dict[str, Any]:
            from auxtune.orchestrator.record.results import touch_heartbeat, write_result

            folder: Path = self._assignment.folder
            folder.mkdir(parents=True, exist_ok=True)
            touch_heartbeat(folder)
            run = Nap(gate, slots, seconds, self._assignment.proposal.tasks)
            run.advance()
            write_result(folder, run.result())
            return {"done": True, "step_reached": 1, "score": 0.5}

    def light(assignment: Any) -> tuple[Any, ...]:
        kept = ("trial", "attempt", "folder", "judged", "cpus", "gpus", "wanted", "proposal")
        return (lambda fields: SimpleNamespace(**fields), ({key: getattr(assignment, key) for key in kept},))

    def without_data(searcher: Any, scheduler: Any, callbacks: Any, tasks: Any, base: Any, scratch: Path) -> None:
        loop.run_tuner(searcher, scheduler, callbacks, {}, None, scratch)  # type: ignore[arg-type]

    trainable.Assignment.__reduce__ = light  # type: ignore[method-assign, assignment]  # its own module imports torch
    trainable.StudyTrainable = Sleeping  # type: ignore[misc, assignment]  # the loop takes it from there
    ray_backend.run_tuner = without_data


def plain_spans(asked: argparse.Namespace, address: str, home: Path) -> np.ndarray:
    """The same by Ray Tune alone: its own random search, its own defaults."""
    import ray
    from ray import tune

    gate, slots, seconds = home / "gate", asked.slots, asked.seconds

    def trial(config: dict[str, float]) -> None:
        wait_for_all(gate, slots)
        began = time.time()
        time.sleep(seconds)
        tune.report({"score": config["share"], "asleep": began, "until": time.time()})

    class Begun(tune.Callback):
        """Notes when trials are begun, by the driver."""

        def __init__(self) -> None:
            self.at: dict[str, float] = {}

        def on_trial_start(self, iteration: int, trials: list[Any], trial: Any, **info: Any) -> None:
            self.at[trial.trial_id] = time.time()

    ray.init(address, log_to_driver=False, logging_level="ERROR")
    begun = Begun()
    tuner = tune.Tuner(
        trial,
        param_space={"share": tune.uniform(0, 1)},
        tune_config=tune.TuneConfig(num_samples=asked.slots + asked.plain_trials, metric="score", mode="max"),
        run_config=tune.RunConfig(storage_path=str(home), verbose=0, callbacks=[begun]),
    )
    found = [result.metrics for result in tuner.fit()]
    ray.shutdown()
    return np.array([(begun.at[one["trial_id"]], one["asleep"], one["until"]) for one in found if one])


if __name__ == "__main__":
    main()
