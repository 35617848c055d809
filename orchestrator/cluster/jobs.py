"""Ray's job server, as far as studies need it: submit one, find it again, follow its lines, ask it something."""

from __future__ import annotations

import logging
import os
import re
import shlex
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from auxtune.orchestrator.cluster.bundle import Bundle
from auxtune.orchestrator.cluster.entrypoint import BEGIN
from auxtune.orchestrator.errors import AuxtuneError

_STUDY, _BUNDLE = "auxtune.study", "auxtune.bundle"
_ENTRY = "python -m auxtune.orchestrator.cluster.entrypoint"
# Ray ends a job with SIGTERM and three seconds unless told otherwise; a study stops in order on SIGINT, in its time.
_STOP = {"RAY_JOB_STOP_SIGNAL": "SIGINT", "RAY_JOB_STOP_WAIT_TIME_S": "300"}
_VARIABLE = re.compile(r"(?<!\$)\$\{([A-Za-z_]\w*)", re.ASCII)
_NOT_YET, _PATIENCE = "No available agent", 60.0  # what a job server says before it can take jobs; seconds
_WITHOUT = (
    "The head's `python` has no auxtune: put the folder of the one that has into PATH where its Ray is started, before "
    "`ray start`\n"
)
_LOOK = 0.5  # seconds between looks at a job


class Jobs:
    """The job server at ``address``, such as ``http://127.0.0.1:8265``."""

    def __init__(self, address: str) -> None:
        """Connect. Raises ``AuxtuneError`` where no job server answers."""
        from ray.job_submission import JobSubmissionClient

        for chatty in ("ray.dashboard.modules.dashboard_sdk", "ray._private.runtime_env.packaging"):
            logging.getLogger(chatty).setLevel(logging.WARNING)
        try:
            self._client = JobSubmissionClient(address)
        except Exception as error:  # Ray raises several kinds, ConnectionError among them
            raise AuxtuneError(
                f"{address}: expected the job server of a Ray cluster, found: {str(error).strip().splitlines()[-1]}; "
                "`ray dashboard cluster.yaml` opens a tunnel to http://127.0.0.1:8265"
            ) from error
        self.address = address

    def submit(self, bundle: Bundle, study: str, text: str) -> str:
        """Start the study of ``bundle``; the job's id. Variables that ``text`` names go along with their values."""
        variables = {name: os.environ[name] for name in _VARIABLE.findall(text) if name in os.environ}
        return self._start(
            f"{_ENTRY} bundle",
            study,
            bundle.digest,
            {"working_dir": str(bundle.folder), "env_vars": {**variables, **_STOP}},
        )

    def command(self, arguments: Sequence[str], study: str = "") -> str:
        """Run an ``auxtune`` command on the head; the job's id. With ``study`` it counts as a job of that study."""
        return self._start(f"{_ENTRY} {shlex.join(arguments)}", study, "", {"env_vars": _STOP})

    def running(self, study: str) -> tuple[str, str] | None:
        """The id of the study's job that has not ended, and the digest of its bundle; ``None`` where there is none."""
        for job in self._client.list_jobs():
            told = job.metadata or {}
            if told.get(_STUDY) == study and not job.status.is_terminal() and job.submission_id:
                return job.submission_id, told.get(_BUNDLE, "")
        return None

    def follow(self, job: str, write: Callable[[str], None]) -> int:
        """Hand what the job prints to ``write``, piece by piece, until it ends; its exit code."""
        shown = 0
        while True:
            over = self._client.get_job_status(job).is_terminal()
            text = self._own(job)
            if len(text) > shown:
                write(text[shown:])
                shown = len(text)
            if over:
                return self.exit_code(job)
            time.sleep(_LOOK)

    def ended(self, job: str) -> tuple[int, str]:
        """Wait for a short job: its exit code and all that it printed."""
        while not self._client.get_job_status(job).is_terminal():
            time.sleep(_LOOK)
        return self.exit_code(job), self._own(job)

    def stop(self, job: str) -> None:
        """Ask a job to end, as Ctrl-C would."""
        self._client.stop_job(job)

    def exit_code(self, job: str) -> int:
        """The exit code of an ended job; 1 where its process was never started, or was killed."""
        code = self._client.get_job_info(job).driver_exit_code
        return 1 if code is None else code

    def _own(self, job: str) -> str:
        """The job's own output, without Ray's lines about it; all of it where our part never began."""
        over = self._client.get_job_status(job).is_terminal()
        said = self._client.get_job_logs(job)
        _, begun, own = said.partition(f"{BEGIN}\n")
        if begun or not over:
            return own if begun else ""
        return said + (_WITHOUT if "No module named" in said else "")

    def _start(self, entrypoint: str, study: str, digest: str, environment: Mapping[str, Any]) -> str:
        job = f"auxtune-{study or 'command'}-{uuid.uuid4().hex[:8]}"
        metadata = {_STUDY: study, _BUNDLE: digest} if study else {}
        end = time.monotonic() + _PATIENCE
        while True:
            try:
                return str(
                    self._client.submit_job(
                        entrypoint=entrypoint, submission_id=job, metadata=metadata, runtime_env=dict(environment)
                    )
                )
            except Exception as error:
                if _NOT_YET not in str(error) or time.monotonic() > end:
                    raise AuxtuneError(f"{self.address}: the job was refused: {error}") from error
            time.sleep(1)


def describe_tunnel(address: str) -> str:
    """The line that opens the head's MLflow here."""
    host = re.sub(r"^\w+://", "", address).partition(":")[0]
    through = "HEAD" if host in ("127.0.0.1", "localhost") else host
    return f"ssh -N -L 5000:127.0.0.1:5000 {through}    then http://127.0.0.1:5000"
