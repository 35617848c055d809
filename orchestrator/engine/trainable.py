"""The only Ray ``Trainable``: runs one attempt after another in a worker process that is kept between trials.

Whatever ends an attempt is on disk before Ray hears of it: the result of a success, or why it failed and the
traceback, and then the error is raised again. Ray discards an actor whose trial raised and keeps one that returned;
a kept actor that died would take the next, innocent trial with it.

Files are made in a folder of this machine, and an ``AttemptUploader`` brings them to the storage. Where studies are
kept in a folder, it is the attempt's own, and nothing is copied. An attempt whose storage is lost leaves no result and
continues elsewhere, too.

An attempt that cannot write, because a disk is full, say, has not failed: it says so to Ray, the only one that it can
still tell, leaves no result, and is tried again when there is room. It returns instead of raising, since for an error
Ray would write a file, too, which ends the driver where the disk is the same.

SIGTERM, the warning of a machine that goes away, is not the end yet: the step under way is finished, a
checkpoint written, and the attempt given up without a result, so that it is resumed elsewhere.
"""

from __future__ import annotations

import logging
import signal
import threading
import time
import traceback
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, nullcontext, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

from ray import tune

from auxtune.orchestrator.engine.measurement import Measurement
from auxtune.orchestrator.engine.steering import SelectorSchedule
from auxtune.orchestrator.errors import StorageError, explain_refusal
from auxtune.orchestrator.planning.measure_plan import MeasurePlan
from auxtune.orchestrator.planning.translate import apply_variant
from auxtune.orchestrator.record.results import EvidenceStore, Refusal, StoredEvidence, touch_heartbeat, write_result
from auxtune.orchestrator.storage.object_path import has_given_up
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import store_of
from auxtune.selectors.protocol import Problem, Proposal
from auxtune.trials.encoder import BaseEncoder
from auxtune.trials.failures import classify_failure, describe_error, escape_bytes
from auxtune.trials.recipe import Recipe
from auxtune.trials.result import Cost, Result
from auxtune.trials.run import Run
from auxtune.trials.tokens import EncodedTask
from auxtune.trials.training import TrainingRun

PAUSE = 15.0  # seconds of training after a store did not answer
_OVER = object()
_REFUSED, _SECONDS = "refused", "refused_after"  # keys of what Ray is told of an attempt that cannot write


def read_refusal(told: Mapping[str, Any]) -> Refusal | None:
    """Of the last that Ray was told of an attempt: that it could not write its files, if it is that."""
    return Refusal(told[_REFUSED], told[_SECONDS]) if _REFUSED in told else None


class Terminated(RuntimeError):
    """The process was told to end; its attempt is resumed elsewhere, from the checkpoint it saved."""


@dataclass(frozen=True)
class Assignment:
    """One attempt, as a worker is handed it.

    ``checkpoint`` is a previous attempt's to continue from, ``start`` the weights of another trial to begin with.
    ``judged``: it may be stopped early. ``measure`` says where its measurements are kept, among the evidence of the
    storage that holds ``study``, the study's folder. ``wanted`` are the resources asked of Ray, in Ray's words.
    """

    trial: int
    attempt: int
    recipe: Recipe
    folder: StoredPath
    checkpoint: StoredPath | None
    start: StoredPath | None
    judged: bool
    cpus: float
    gpus: float
    wanted: Mapping[str, float]
    proposal: Proposal
    problem: Problem
    study: StoredPath
    measure: MeasurePlan | None


class StudyTrainable(tune.Trainable):
    """Trains assignments. A step lasts to the next evaluation or checkpoint, whichever is sooner.

    An attempt begins with its first step and not before. Where an actor is slow to start, Ray gives its trial to
    another that has become free, and ends the first one once it is up: two that had begun would be in each other's
    way in the attempt's folder.
    """

    _run: Run | None = None
    _uploader: AttemptUploader | None = None
    _measurement: Measurement | None = None
    _ending: Iterator[None] | None = None  # what is left to do after the last step
    _terminated = False
    _ray_handler: Any = None  # Ray's own handler of SIGTERM, which ends the process at once

    def setup(  # type: ignore[override]  # Ray's ``with_parameters`` adds the arguments
        self, config: dict[str, Any], tasks: Mapping[str, EncodedTask], base: BaseEncoder
    ) -> None:
        """Keep the first assignment, and the arguments that come once per process: Ray hands them to ``setup`` only."""
        self._tasks, self._base = tasks, base
        if threading.current_thread() is threading.main_thread():  # handlers can be set there alone
            self._ray_handler = signal.signal(signal.SIGTERM, self._terminate)
        self._take(config["assignment"])

    def reset_config(self, new_config: dict[str, Any]) -> bool:
        """Take the next assignment in the same process; everything of the previous one is dropped."""
        self._take(new_config["assignment"])
        return True

    def step(self) -> dict[str, Any]:
        """Begin, if that is still to be done, train or measure a little further, and at the end write the result."""
        try:
            if self._run is None:
                if self._terminated:
                    raise Terminated("the worker was told to end (SIGTERM), before the attempt began")
                with store_of(self._assignment.folder).survive_silence():
                    self._run = self._begun()
            run = self._run
            if not run.finished:
                run.advance()
            if self._terminated and not run.finished:
                self._give_up(run)
            done = False
            if run.finished:
                self._ending = self._ending or self._end(run)
                with store_of(self._assignment.folder).survive_silence():
                    done = next(self._ending, _OVER) is _OVER
            if done:
                self._run = None
            else:
                self._touch_heartbeat()
        except (Terminated, StorageError):
            raise
        except Exception as error:
            if (refused := self._fail(error)) is None:
                raise
            return self._give_back(refused)
        return {"done": done, "step_reached": run.step, **({} if run.score is None else {"score": run.score})}

    def cleanup(self) -> None:
        """Called when Ray ends the actor: an unfinished attempt saves where it is."""
        if self._run is not None and not self._run.finished:
            touch_heartbeat(self._attempt_uploader.folder, time.monotonic() - self._started)
            self._run.save()
            with suppress(StorageError):  # the next attempt begins where the last checkpoint arrived
                self._attempt_uploader.publish()
        self._clear()

    def _terminate(self, number: int, frame: FrameType | None) -> None:
        """SIGTERM's handler: a run under way ends after its step, a process without one at once."""
        self._terminated = True
        if self._run is not None:
            self._run.interrupt()
        elif callable(self._ray_handler):
            self._ray_handler(number, frame)

    def _give_up(self, run: Run) -> None:
        """Leave a checkpoint and no result, as a process that died would, but without losing steps."""
        touch_heartbeat(self._attempt_uploader.folder, time.monotonic() - self._started)
        run.save()
        self._attempt_uploader.publish()
        self._run = None
        logging.getLogger(__name__).warning("SIGTERM: saved at step %d, to be resumed elsewhere", run.step)
        raise Terminated(f"the worker was told to end (SIGTERM), by step {run.step}")

    def _end(self, run: Run) -> Iterator[None]:
        """Score the run, measure it, a probe at a time, and write the result."""
        result = run.result()
        if self._measurement is not None:
            yield from self._measurement.run(run, result)
            result = self._measurement.add_evidence(result, run.cost())
        self._leave(result)

    def _leave(self, result: Result) -> None:
        """The attempt's last word: durable in the storage, with all its files, when this returns."""
        write_result(self._attempt_uploader.folder, result)
        self._attempt_uploader.publish_all()

    def _touch_heartbeat(self) -> None:
        touch_heartbeat(self._attempt_uploader.folder, time.monotonic() - self._started)
        self._attempt_uploader.publish()

    @property
    def _attempt_uploader(self) -> AttemptUploader:
        """The present attempt's uploader."""
        if self._uploader is None:
            self._uploader = AttemptUploader(self._assignment.folder)
        return self._uploader

    def _clear(self) -> None:
        """Drop the previous attempt's files; they are in the storage."""
        if self._uploader is not None:
            self._uploader.close()
            self._uploader = None

    def _take(self, assignment: Assignment) -> None:
        self._clear()
        self._assignment, self._started = assignment, time.monotonic()
        self._ending = self._measurement = None
        self._run = None  # frees the memory of the previous run before the next is built

    def _begun(self) -> Run:
        """The assignment's run at its first step, or where its checkpoint left it."""
        assignment = self._assignment
        self._started = time.monotonic()
        self._attempt_uploader.folder.mkdir(parents=True, exist_ok=True)
        _log_to(self._attempt_uploader.folder / "log.txt")
        run = self._new_run()
        if assignment.checkpoint is not None:
            try:
                with store_of(assignment.checkpoint).fetch(assignment.checkpoint) as checkpoint:
                    run.load(checkpoint)
            except ValueError as error:  # damaged, or of a study that was allowed to drift
                logging.getLogger(__name__).warning("%s", error)
                run = self._new_run()
        self._touch_heartbeat()
        return run

    def _new_run(self) -> Run:
        assignment, recipe, start = self._assignment, self._assignment.recipe, self._assignment.start
        store = EvidenceStore(assignment.study.parent)
        if assignment.measure is not None:
            self._measurement = Measurement(assignment.measure, store, assignment.trial, recipe)
            recipe, start = self._measurement.recipe, self._measurement.start
        steered = assignment.proposal.inner is not None
        with store_of(start).fetch(start) if start is not None else nullcontext() as weights:
            return TrainingRun(
                recipe,
                apply_variant(self._tasks, assignment.proposal, assignment.study, StoredEvidence(store)),
                self._base,
                self._attempt_uploader.folder,
                schedule=SelectorSchedule(assignment.proposal, assignment.problem) if steered else None,
                start=weights,
                cpus=assignment.cpus,
                gpus=assignment.gpus,
            )

    def _fail(self, error: Exception) -> str | None:
        """Write the failure down; the caller raises it again.

        Where it is that nothing can be written, or where that keeps it from being written, the explanation is returned.
        """
        logging.getLogger(__name__).error("%s", escape_bytes(traceback.format_exc()))
        assignment = self._assignment
        folders = [str(path) for path in (assignment.folder, assignment.study, assignment.study.parent)]
        if (refused := explain_refusal(error, folders)) is not None:
            return refused
        try:
            self._write_failure(error)
        except OSError as refusal:
            if (refused := explain_refusal(refusal, folders)) is None:
                raise
            return refused
        return None

    def _give_back(self, refused: str) -> dict[str, Any]:
        """End an attempt that cannot write; ``read_refusal`` is the other side."""
        step = self._run.step if self._run is not None else 0
        self._run = None
        return {"done": True, "step_reached": step, _REFUSED: refused, _SECONDS: time.monotonic() - self._started}

    def _write_failure(self, error: Exception) -> None:
        cost = self._run.cost() if self._run is not None else self._cost_of_starting()
        self._run = None
        result = Result(
            score=None,
            cost=cost,
            why=classify_failure(error),
            message=describe_error(error),
            traceback=escape_bytes(traceback.format_exc()),
        )
        with suppress(StorageError):  # an attempt that cannot report it counts as one that died
            self._leave(result)

    def _cost_of_starting(self) -> Cost:
        wall = time.monotonic() - self._started
        return Cost(wall, gpu_seconds=self._assignment.gpus * wall, cpu_seconds=self._assignment.cpus * wall)


class AttemptUploader:
    """The files of one attempt, whose folder in the storage is ``home``.

    In an object store that is a scratch folder, whose files are uploaded when they have changed: a checkpoint before
    anyone may ask for it, and ``result.json``, which makes an attempt count, after all others. An object appears whole
    or not at all, so no one reads half a checkpoint.

    A store that does not answer ends no training: failed uploads are tried again later. Only when none has succeeded
    for as long as anyone waits (``has_given_up``) is the attempt given up, without a result, so that it is resumed
    elsewhere from the files that had arrived.
    """

    def __init__(self, home: StoredPath) -> None:
        self._home = home
        self._store = store_of(home)
        self._open = ExitStack()
        self.folder = self._open.enter_context(self._store.open_working_folder(home, "auxtune-attempt-"))
        self._there: dict[Path, tuple[int, int, int]] = {}  # file -> as it was when it was published
        self._again = 0.0  # when to try again, by the monotonic clock

    def publish(self) -> None:
        """Bring changed files to the storage, if it can be reached. Raises ``StorageError`` to give up."""
        if time.monotonic() < self._again:
            return
        try:
            self._put_changed()
        except StorageError as error:
            if error.lasting or has_given_up(str(self._home).partition(":")[0]):
                raise
            logging.getLogger(__name__).warning("%s; the upload is tried again later", error)
            self._again = time.monotonic() + PAUSE

    def publish_all(self) -> None:
        """Likewise, and wait for a storage that does not answer. Raises ``StorageError``."""
        with self._store.survive_silence():
            self._put_changed()

    def close(self) -> None:
        """Forget the scratch folder."""
        self._open.close()

    def _put_changed(self) -> None:
        if self.folder == self._home:  # made where they belong
            return
        files = [path for path in self.folder.rglob("[!.]*") if path.is_file()]
        for path in sorted(files, key=lambda path: (path.name == "result.json", path)):
            about = path.stat()
            state = (about.st_mtime_ns, about.st_size, about.st_ino)
            if self._there.get(path) != state:
                self._store.put_file(path, self._home.joinpath(*path.relative_to(self.folder).parts))
                self._there[path] = state


def _log_to(path: Path) -> None:
    """Send the process's log to the present attempt's file, and no longer to the previous one's."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, logging.FileHandler)]:
        root.removeHandler(handler)
        handler.close()
    handler = logging.FileHandler(path, encoding="utf-8", errors="backslashreplace")
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s"))
    root.addHandler(handler)
    logging.captureWarnings(True)
