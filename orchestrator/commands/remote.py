"""Runs auxtune commands on a remote cluster's head as Ray jobs, and relays their output."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, NoReturn

import click

if TYPE_CHECKING:
    from auxtune.orchestrator.cluster.jobs import Jobs

_WINDING_DOWN = 30.0  # seconds until the job of a stopped study has ended, too
ADDRESS = "Ask a cluster's job server, http://HEAD:8265; STUDY_DIR is then there, as in studies/NAME."


def query_remote(address: str, arguments: Sequence[str]) -> NoReturn:
    """Run an ``auxtune`` command on the head at ``address``; ends this process with its output and exit code."""
    from auxtune.orchestrator.cluster.jobs import Jobs

    jobs = Jobs(address)
    code, said = jobs.ended(jobs.command(arguments))
    click.echo(said, nl=False)
    sys.exit(code)


def follow_remote(address: str, arguments: Sequence[str]) -> NoReturn:
    """Likewise, and show the output of a long command as it comes; Ctrl-C ends the command too."""
    from auxtune.orchestrator.cluster.jobs import Jobs

    jobs = Jobs(address)
    job = jobs.command(arguments)
    try:
        sys.exit(jobs.follow(job, lambda text: click.echo(text, nl=False)))
    except KeyboardInterrupt:
        jobs.stop(job)
        raise


def run_remote(address: str, arguments: Sequence[str], study: str) -> NoReturn:
    """Run a study on the cluster and show its lines; Ctrl-C leaves it running."""
    from auxtune.orchestrator.cluster.jobs import Jobs
    from auxtune.orchestrator.errors import AuxtuneError

    jobs, end = Jobs(address), time.monotonic() + _WINDING_DOWN
    while (running := jobs.running(study)) is not None:
        if time.monotonic() > end:
            raise AuxtuneError(f"{study}: runs there already, as {running[0]}")
        time.sleep(1)
    job = jobs.command(arguments, study)
    click.echo(f"{study}: resumed as {job}")
    follow_job(jobs, job, study)


def follow_job(jobs: Jobs, job: str, study: str) -> NoReturn:
    """Show a job's lines until it ends, and end with its exit code."""
    try:
        sys.exit(jobs.follow(job, lambda text: click.echo(text, nl=False)))
    except KeyboardInterrupt:
        click.echo(f"\n{study} keeps running there as {job}; `auxtune stop studies/{study} --address` stops it")
        sys.exit(130)
