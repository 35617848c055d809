"""A study of thousands of trials of one step, whose driver is killed every few minutes: what it takes over time.

    make soak TRIALS=10000

The study lies under build/soak, and a line of JSON for each look at it in build/soak/looks.jsonl: trials told, memory
of the driver, its open files and threads, files and bytes in the study's folder, segments and ranges of the ledger.
What was stopped goes on. At the end the study is verified, and the table says what each thousand of trials took.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from small_study import COLD, kill, write_task

from auxtune.orchestrator.record.events import Told
from auxtune.orchestrator.record.ledger import LedgerReader

ROOT = Path(__file__).resolve().parents[2]
TASKS = 16  # so that there are more subsets of them than trials
STUDY = """\
study: soak
primary: task0
tasks:
{tasks}
model: {{name: tiny, max_length: 8, pooling: mean}}
training: {{steps: 1, batch_size: 4, evaluate_every: 1}}
selector: {{name: random_subset, trials: {trials}}}
confirm: {{seeds: 1, controls: [single_task]}}
budget: {{trials: 100000}}
resources: {{cpus: {cpus}, gpus: 0, concurrent: {concurrent}}}
tracking: {{children: best 100}}
seed: 3
"""
_LOOK = 10.0  # seconds between looks
Look = dict[str, Any]


def main() -> None:
    """Run the study to its end, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trials", type=int, default=10_000)
    parser.add_argument("--concurrent", type=int, default=8)
    parser.add_argument("--kill-every", type=float, default=300.0, help="seconds from a driver's start to its end")
    parser.add_argument("--home", type=Path, default=ROOT / "build" / "soak")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="where to draw the driver's memory")
    arguments = parser.parse_args()
    os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    home: Path = arguments.home
    if not (home / "study.yaml").exists():
        make_study(home, arguments.trials, arguments.concurrent)
    reader = LedgerReader(home / "studies" / "soak" / "ledger")
    while not (home / "studies" / "soak" / "selection.json").exists():
        run_driver(home, reader, arguments.kill_every)
    looks = [json.loads(line) for line in (home / "looks.jsonl").read_text().splitlines()]
    print("\n".join(format_table(looks)))
    if arguments.plot is not None:
        draw_memory(looks, arguments.plot)
    verified = subprocess.run([*COLD, "status", "studies/soak", "--verify"], cwd=home, check=False)
    raise SystemExit(verified.returncode)


def make_study(home: Path, trials: int, concurrent: int) -> None:
    """Write the study file and its small tasks."""
    for number in range(TASKS):
        write_task(home / "tasks" / f"task{number}", number, rows=40)
    tasks = "\n".join(f"  task{number}: {{path: tasks/task{number}, rows: 20}}" for number in range(TASKS))
    cpus = (os.cpu_count() or 1) / concurrent
    text = STUDY.format(tasks=tasks, trials=trials, concurrent=concurrent, cpus=cpus)
    (home / "study.yaml").write_text(text)


def run_driver(home: Path, reader: LedgerReader, seconds: float) -> None:
    """Run a driver until it ends or ``seconds`` are over, and write down a look at it every few seconds.

    Raises ``RuntimeError`` where it ends by itself without having finished.
    """
    with (home / "log.txt").open("a") as log, (home / "looks.jsonl").open("a") as looks:
        process = subprocess.Popen(
            [*COLD, "run", "study.yaml"], cwd=home, stdout=log, stderr=log, text=True, start_new_session=True
        )
        end = time.monotonic() + seconds
        while process.poll() is None and time.monotonic() < end:
            if (look := look_at(process.pid, home / "studies" / "soak", reader)) is not None:
                looks.write(json.dumps(look) + "\n")
                looks.flush()
            time.sleep(_LOOK)
        if process.poll() is None:
            kill(process)
        elif process.returncode:
            raise RuntimeError(f"the driver ended with {process.returncode}, see {home / 'log.txt'}")


def look_at(pid: int, study: Path, reader: LedgerReader) -> Look | None:
    """What the driver and its study take now; ``None`` where it has just ended, or has not begun."""
    if not (study / "ledger").is_dir():
        return None
    reader.read_new()
    segments = [path.suffix for path in (study / "ledger").iterdir()]
    try:
        driver = psutil.Process(pid)
        found = {"rss_mb": driver.memory_info().rss / 2**20, "files": driver.num_fds(), "threads": driver.num_threads()}
    except psutil.NoSuchProcess:
        return None
    sizes = list(measure_files(study))
    return {
        "time": time.time(),
        "pid": pid,
        "told": sum(isinstance(event, Told) for event in reader.events),
        **found,
        "study_files": len(sizes),
        "study_mb": sum(sizes) / 2**20,
        "segments": segments.count(".json"),
        "ranges": segments.count(".jsonl"),
    }


def measure_files(folder: Path) -> Iterator[int]:
    """The size of each file below ``folder``; those that vanish meanwhile are left out."""
    for home, _, names in os.walk(folder):
        for name in names:
            try:
                yield (Path(home) / name).lstat().st_size
            except FileNotFoundError:
                continue


def format_table(looks: list[Look], step: int = 1000) -> list[str]:
    """A line for each thousand of trials: the most of the driver within it, and the disk at its end."""
    lines = [
        "| trials told | drivers | driver, MB | its files | its threads | files a trial | kB a trial | ranges |",
        "|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for told in range(step, looks[-1]["told"] + step, step):
        within = [look for look in looks if told - step < look["told"] <= told]
        if not within:
            continue
        last, drivers = within[-1], {look["pid"] for look in looks if look["told"] <= told}
        lines.append(
            f"| {last['told']:,} | {len(drivers)} | {max(look['rss_mb'] for look in within):.0f} "
            f"| {max(look['files'] for look in within)} | {max(look['threads'] for look in within)} "
            f"| {last['study_files'] / last['told']:.1f} | {1024 * last['study_mb'] / last['told']:.1f} "
            f"| {last['ranges']} |"
        )
    return lines


def draw_memory(looks: list[Look], file: Path) -> None:
    """Draw the memory of each driver over the trials told, without its first and last seconds."""
    from matplotlib.figure import Figure

    axes = Figure(figsize=(7, 2.6), layout="constrained").add_subplot()
    for pid in dict.fromkeys(look["pid"] for look in looks):
        of_driver = [look for look in looks if look["pid"] == pid and look["threads"] >= 30]
        axes.plot([look["told"] for look in of_driver], [look["rss_mb"] for look in of_driver], linewidth=2)
    axes.set(
        ylim=(0, 1.2 * max(look["rss_mb"] for look in looks)),
        xlabel="trials told; a colour for each driver",
        ylabel="memory, MB",
    )
    assert axes.figure is not None
    axes.figure.savefig(file)


if __name__ == "__main__":
    sys.exit(main())
