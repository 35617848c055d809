"""Faults of the process that drives a study, of its workers, and of the nodes that these run on."""

from __future__ import annotations

import os
import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import partial

import psutil
from faults.rows import Census, Count, Fault, Ground, wait_or_end
from small_study import Process, StudyRun, kill

from auxtune.orchestrator.record.events import Lost

FOUR_SLOTS = ("--set", "resources.cpus=0.5", "--set", "resources.concurrent=4")
KILLS = 6  # of one study at most; then it is left to end


def kill_driver(ground: Ground, times: int, settings: Sequence[str] = ()) -> Count:
    """SIGKILL at random instants, several in one study, which is then left to end."""
    total = Count()
    whole = ground.whole
    while total.times < times:
        run = ground.make_study()
        census = Census(run)
        for _ in range(min(KILLS, times - total.times)):
            process = run.start("run", "study.yaml", *settings)
            kill_after(process, ground.draw_seconds())
            if process.returncode == 0:
                break
            total.require(process.returncode == -signal.SIGKILL, f"exit {process.returncode}, not by the signal")
            census.note()
            total.end("resumed to the same answer")
        run.finish("run", "study.yaml", *settings)
        census.close(total, whole)
        check_verified(run, total)
    return total


def kill_after(process: Process, seconds: float) -> None:
    """SIGKILL a driver after this long, unless it has ended by then."""
    if not wait_or_end(process, seconds):
        with suppress(psutil.NoSuchProcess):  # it ended just then
            kill(process)
    process.communicate()


def interrupt_driver(ground: Ground, times: int, signals: Sequence[signal.Signals]) -> Count:
    """Signals to a driver that trains: 130, the way on is said, and the study can be resumed."""
    total = Count()
    for _ in range(times):
        run = ground.make_study()
        census = Census(run)
        process = run.start()
        run.wait_for(run.trains, process)
        for number in signals:
            os.kill(process.pid, number)
        out, err = process.communicate(timeout=120)
        census.note()
        total.require_exit(process, out + err, 130)
        total.require(f"auxtune resume {run.folder}" in err or len(signals) > 1, "the way on was not said")
        total.require_no_traceback(out + err)
        run.finish("resume", str(run.folder))
        census.close(total, ground.whole)
        total.end("exit 130, resumed to the same answer")
    return total


def kill_worker(ground: Ground, times: int) -> Count:
    """SIGKILL of the process that trains, at a random time after its first checkpoint."""
    total = Count()
    for _ in range(times):
        run = ground.make_study()
        process = run.start()
        run.wait_for(run.trains, process)
        wait_or_end(process, float(ground.rng.uniform(0, 2)))
        try:
            run.worker().kill()
        except (AssertionError, psutil.NoSuchProcess, FileNotFoundError):  # it had just ended
            process.communicate(timeout=300)
            continue
        out, err = process.communicate(timeout=300)
        total.require_exit(process, out + err, 0)
        causes = {event.cause for event in run.events if isinstance(event, Lost)}
        total.require(causes <= {"worker"}, f"lost with {causes}")
        Census(run).close(total, ground.whole)
        total.end("went on from its checkpoint in the same session")
    return total


def remove_node(ground: Ground, times: int) -> Count:
    """A node of a cluster of three that dies while its trials train; each fault is a study of its own."""
    from test_cluster_study import add_node, placed, raylet, start_cluster, use_nodes

    total = Count()
    for _ in range(times):
        run = ground.make_study()
        use_nodes(run)
        with start_cluster() as cluster:
            nodes = {raylet(node): node for node in (add_node(cluster), add_node(cluster))}
            process = run.start("run", "study.yaml", "--address", cluster.address, "--set", "training.steps=200")
            run.wait_for(lambda: bool(placed(run)), process)  # noqa: B023  # it is called before the next round
            cluster.remove_node(nodes[next(iter(placed(run).values()))], allow_graceful=False)
            out, err = process.communicate(timeout=400)
        total.require_exit(process, out + err, 0)
        statuses = {trial.status for trial in run.accounts.trials.values()}
        total.require(statuses == {"finished"}, f"trials ended {statuses}")
        total.require(any(isinstance(event, Lost) for event in run.events), "no attempt was lost with the node")
        check_verified(run, total)
        total.end("its trials went on elsewhere")
    return total


def kill_head(ground: Ground, times: int) -> Count:
    """The head of a cluster and all its nodes die; the study goes on in another cluster over the same storage."""
    from test_cluster_study import add_node, placed, start_cluster, use_nodes

    total = Count()
    for _ in range(times):
        run = ground.make_study()
        census = Census(run)
        use_nodes(run)
        with start_cluster() as cluster:
            add_node(cluster)
            process = run.start("run", "study.yaml", "--address", cluster.address)
            run.wait_for(lambda: bool(placed(run)), process)  # noqa: B023  # it is called before the next round
            cluster.shutdown()
            _, err = process.communicate(timeout=400)
            census.note()
        total.require(process.returncode != 0, "it ended well without a cluster")
        total.require_no_traceback(err)
        with start_cluster() as cluster:
            add_node(cluster)
            run.finish("run", "study.yaml", "--address", cluster.address)
        statuses = {trial.status for trial in run.accounts.trials.values()}
        total.require(statuses == {"finished"}, f"trials ended {statuses}")
        check_verified(run, total)
        total.end(f"exit {process.returncode}, went on in a new cluster")
    return total


def check_verified(run: StudyRun, total: Count) -> None:
    """The selector, asked again for each recorded proposal, says the same."""
    said = run.finish("status", str(run.folder), "--verify")
    total.require("verified" in said, f"--verify: {said[-300:]}")


FAULTS = (
    Fault(
        "kill-1",
        "the driver killed with SIGKILL at random instants, one slot",
        "nothing lost, nothing doubled",
        kill_driver,
        25,
    ),
    Fault(
        "kill-4",
        "the same with four slots",
        "nothing lost, nothing doubled",
        partial(kill_driver, settings=FOUR_SLOTS),
        25,
    ),
    Fault("sigint", "Ctrl-C once", "exit 130, resumable", partial(interrupt_driver, signals=[signal.SIGINT]), 3),
    Fault(
        "sigint-twice",
        "Ctrl-C twice",
        "exit 130 at once, resumable",
        partial(interrupt_driver, signals=[signal.SIGINT, signal.SIGINT]),
        3,
    ),
    Fault("sigterm", "SIGTERM", "exit 130, resumable", partial(interrupt_driver, signals=[signal.SIGTERM]), 3),
    Fault("worker", "a worker killed with SIGKILL", "goes on from its checkpoint", kill_worker, 5),
    Fault("node", "a node removed while its trials train", "its trials go on elsewhere", remove_node, 2),
    Fault("head", "the cluster's head and nodes killed", "goes on in a new cluster over the storage", kill_head, 2),
)
