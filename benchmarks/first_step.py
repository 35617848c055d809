"""Seconds from the command to the first step of the first trial, of this checkout and of another one.

    python benchmarks/first_step.py --before PATH --encoder FOLDER --out benchmarks/results/first_step.json

Two cases. ``builtin`` is ``auxtune run examples/quickstart.yaml`` in a new folder. ``csv`` is a study of four csv files
of 1,000 rows that this script writes, with a pretrained encoder of 6 layers or what ``--encoder`` or AUXTUNE_ENCODER
names; its tokens are in the storage's cache, from a run that is not measured. Each checkout has its own.

- ``seconds`` end when ``TrainStep.train`` first returns in any worker: the optimiser has then taken its first step. A
  ``sitecustomize`` that this script puts on PYTHONPATH wraps that method and writes the time; nothing else is changed.
- ``line_seconds`` end with the command's first line.
- ``cpu_seconds`` are of the command and all processes below it, user and system, up to that first step.

Runs of the two checkouts alternate, and the first of each pair changes places, so that a machine that grows busier does
not favour one. ``load`` is the machine's one-minute load before each run: beside other work read ``cpu_seconds`` first.
Both run with this interpreter and its packages. A command is interrupted after its first step.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from provenance import ROOT, provenance

HOOK = """\
import importlib.abc, importlib.util, os, sys, time

class _Stamp(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "auxtune.trials.train_step":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module
        def execute_and_wrap(module):
            execute(module)
            real = module.TrainStep.train
            def train(self, *arguments, **named):
                module.TrainStep.train = real
                value = real(self, *arguments, **named)
                with open(os.environ["FIRST_STEP_STAMP"], "a") as file:
                    file.write(f"{time.time()}\\n")
                return value
            module.TrainStep.train = train
        spec.loader.exec_module = execute_and_wrap
        return spec

sys.meta_path.insert(0, _Stamp())
"""
CSV_STUDY = """\
study: first
primary: task0
tasks:
  task0: {path: task0.csv, text: [text], label: label}
  task1: {path: task1.csv, text: [text], label: label}
  task2: {path: task2.csv, text: [text], label: label}
  task3: {path: task3.csv, text: [text], label: label}
model: {name: ENCODER, max_length: 64, pooling: mean}
training: {steps: 100, batch_size: 16, evaluate_every: 50}
selector: auto
budget: {trials: 30}
resources: {cpus: 1, gpus: 0, concurrent: 2}
storage: ./studies
"""
WORDS = [f"{first}{middle}{last}" for first in ("ba", "ke", "lo", "mu") for middle in "dgnrst" for last in "aeiou"]
PATIENCE = 180.0  # seconds that a command has for its first step
Row = dict[str, Any]


def main() -> None:
    """Run both checkouts in turn, and write and print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--before", type=Path, help="another checkout to compare with")
    parser.add_argument("--encoder", default=os.environ.get("AUXTUNE_ENCODER"), help="a folder; without: no csv case")
    parser.add_argument("--runs", type=int, default=5, help="of each case and checkout")
    parser.add_argument("--case", choices=["builtin", "csv"], help="only this one")
    parser.add_argument("--out", type=Path, help="where to write the figures, as JSON")
    asked = parser.parse_args()
    if asked.case == "csv" and not asked.encoder:
        parser.error("--case csv needs --encoder or AUXTUNE_ENCODER")
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    checkouts = {"after": ROOT} | ({"before": asked.before.resolve()} if asked.before else {})
    cases = [case for case in ("builtin", "csv") if asked.case in (None, case) and (case == "builtin" or asked.encoder)]
    found: Row = provenance([0], ("ray", "torch", "transformers", "mlflow"))
    found["commits"] = {name: read_commit(path) for name, path in checkouts.items()}
    for case in cases:
        with tempfile.TemporaryDirectory(prefix="first-step-") as home:
            runs = list(run_in_turn(case, checkouts, Path(home), asked.runs, asked.encoder))
        found[case] = {"summary": summarise(runs), "runs": runs}
        print(case, json.dumps(found[case]["summary"], indent=1), flush=True)
        if asked.out:
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            asked.out.write_text(json.dumps(found, indent=1) + "\n")


def run_in_turn(case: str, checkouts: Mapping[str, Path], home: Path, count: int, encoder: str | None) -> Iterator[Row]:
    """The figures of ``count`` runs of each checkout, in alternating order."""
    commands = {name: prepare_command(case, name, path, home, encoder) for name, path in checkouts.items()}
    for turn in range(-1 if case == "csv" else 0, count):
        for name in sorted(commands, reverse=turn % 2 == 0):
            row = {"checkout": name, **commands[name].run()}
            if turn >= 0:
                print(json.dumps(row), flush=True)
                yield row


def prepare_command(case: str, name: str, checkout: Path, home: Path, encoder: str | None) -> Command:
    """The command of a checkout, in a folder of its own below ``home``, with what it reads."""
    hook, folder = home / "hook", home / name
    hook.mkdir(exist_ok=True)
    folder.mkdir()
    (hook / "sitecustomize.py").write_text(HOOK)
    if case == "builtin":
        return Command(checkout, hook, folder, checkout / "examples" / "quickstart.yaml", is_cold=True)
    for number in range(4):
        write_task(folder / f"task{number}.csv", number)
    study = folder / "study.yaml"
    study.write_text(CSV_STUDY.replace("ENCODER", str(encoder)))
    return Command(checkout, hook, folder, study, is_cold=False)


@dataclass(frozen=True)
class Command:
    """``auxtune run`` of a study file by the code of ``checkout``. ``is_cold``: each run begins in an empty folder."""

    checkout: Path
    hook: Path
    folder: Path
    study: Path
    is_cold: bool

    def run(self) -> Row:
        """Run it up to the first step, and end it."""
        self._clear()
        stamp = self.folder / "stamp"
        load = os.getloadavg()[0]
        paths = os.pathsep.join(map(str, (self.hook, self.checkout)))
        began = time.time()
        process = subprocess.Popen(
            [sys.executable, "-m", "auxtune.orchestrator", "run", str(self.study), "--plain"],
            cwd=self.folder,
            env=os.environ | {"PYTHONPATH": paths, "FIRST_STEP_STAMP": str(stamp), "PYTHONUNBUFFERED": "1"},
            stdout=subprocess.PIPE,
        )
        try:
            return self._watch(process, stamp, began) | {"load": round(load, 2)}
        finally:
            end_command(process)

    def _watch(self, process: subprocess.Popen[bytes], stamp: Path, began: float) -> Row:
        assert process.stdout is not None
        process.stdout.readline()
        line, end = time.time() - began, began + PATIENCE
        while not (stamp.exists() and (said := stamp.read_text().split())):
            if process.poll() is not None or time.time() > end:
                raise SystemExit(f"{self.checkout}: no first step within {PATIENCE:.0f} s, or the command has ended")
            time.sleep(0.02)
        cpu = sum_cpu_seconds(process.pid)
        return {
            "seconds": round(float(said[0]) - began, 2),
            "line_seconds": round(line, 2),
            "cpu_seconds": round(cpu, 2),
        }

    def _clear(self) -> None:
        """Delete the last run's study; where it is not cold, the token cache beside it stays."""
        (self.folder / "stamp").unlink(missing_ok=True)
        if self.is_cold:
            shutil.rmtree(self.folder)
            self.folder.mkdir()
            return
        shutil.rmtree(self.folder / "studies" / "first", ignore_errors=True)
        (self.folder / "mlflow.db").unlink(missing_ok=True)


def end_command(process: subprocess.Popen[bytes]) -> None:
    """Interrupt a command, and again while it lasts: the first time it waits for the trials under way."""
    while process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.communicate(timeout=3.0)


def sum_cpu_seconds(root: int) -> float:
    """Processor seconds, user and system, of a process and all below it, those that have ended included."""
    parents: dict[int, int] = {}
    ticks: dict[int, int] = {}
    for entry in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = entry.read_text().rpartition(")")[2].split()
        except OSError:  # it has just ended
            continue
        process = int(entry.parent.name)
        parents[process], ticks[process] = int(fields[1]), sum(map(int, fields[11:15]))
    children = defaultdict(list)
    for process, parent in parents.items():
        children[parent].append(process)
    wanted, total = [root], 0
    while wanted:
        process = wanted.pop()
        total += ticks.get(process, 0)
        wanted += children[process]
    return total / os.sysconf("SC_CLK_TCK")


def write_task(file: Path, seed: int, rows: int = 1_000) -> None:
    """Sentences of about fifteen words in two classes."""
    rng = np.random.default_rng(seed)
    with file.open("w") as written:
        written.write("text,label\n")
        for label in rng.integers(2, size=rows):
            chosen = rng.integers(len(WORDS), size=rng.integers(10, 20))
            written.write(f"{' '.join(WORDS[i] for i in chosen)},{('no', 'yes')[label]}\n")


def summarise(runs: list[Row]) -> Row:
    """Medians with the lowest and highest by checkout, and before / after where there are both."""
    summary: Row = {}
    for figure in ("seconds", "line_seconds", "cpu_seconds"):
        values = {name: [run[figure] for run in runs if run["checkout"] == name] for name in ("before", "after")}
        row = {
            name: {"median": round(statistics.median(each), 2), "from": min(each), "to": max(each)}
            for name, each in values.items()
            if each
        }
        if values["before"]:
            pairs = [before / after for before, after in zip(values["before"], values["after"], strict=True)]
            row["ratio"] = {
                "median": round(statistics.median(pairs), 2),
                "from": round(min(pairs), 2),
                "to": round(max(pairs), 2),
            }
        summary[figure] = row
    return summary


def read_commit(checkout: Path) -> str:
    """The short commit of a checkout."""
    done = subprocess.run(["git", "-C", str(checkout), "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return done.stdout.strip()


if __name__ == "__main__":
    main()
