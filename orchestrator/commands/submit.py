"""``auxtune submit``: run a study on a cluster from elsewhere."""

from __future__ import annotations

import tempfile
from pathlib import Path

import click

from auxtune.orchestrator.storage.stores import quote_path


@click.command("submit", epilog="Example: auxtune submit study.yaml --address http://127.0.0.1:8265 --follow")
@click.argument("study", type=click.Path(path_type=Path))
@click.option("--address", required=True, metavar="URL", help="The cluster's job server, http://HEAD:8265.")
@click.option("--set", "overrides", multiple=True, metavar="KEY=VALUE", help="Change a key, as in training.steps=200.")
@click.option("--follow", is_flag=True, help="Show its lines until it ends, and end with its exit code.")
@click.option("--no-ship", is_flag=True, help="Send no files: all paths are those of the cluster.")
def command(study: Path, address: str, overrides: tuple[str, ...], follow: bool, no_ship: bool) -> None:
    """Submit the study file STUDY to a cluster: the file, and the local files that it names.

    On the head it runs in ~/auxtune, or in $AUXTUNE_HOME there. Submitted again, a study that runs is attached to, and
    any other is resumed. Ctrl-C while following leaves it running; `auxtune stop --address` stops it.
    """
    from auxtune.orchestrator.cluster.bundle import pack
    from auxtune.orchestrator.cluster.jobs import Jobs, describe_tunnel
    from auxtune.orchestrator.commands.remote import follow_job
    from auxtune.orchestrator.errors import AuxtuneError
    from auxtune.orchestrator.study_file.reading import read_study

    file = read_study(study, overrides)
    name, jobs = file.options.study, Jobs(address)
    with tempfile.TemporaryDirectory() as folder:
        bundle = pack(file, Path(folder), ship=not no_ship)
        if (running := jobs.running(name)) is None:
            job = jobs.submit(bundle, name, file.text)
            click.echo(f"{name}: submitted as {job}, with {bundle.size / 2**20:.1f} MiB of files")
        else:
            job, digest = running
            if digest not in ("", bundle.digest):
                raise AuxtuneError(
                    f"{name}: {job} runs another version of this study; stop it first with "
                    f"`auxtune stop studies/{name} --address {address}`, then submit again"
                )
            click.echo(f"{name}: runs already as {job}")
    click.echo(f"MLflow: {describe_tunnel(address)}")
    if not follow:
        click.echo(f"follow it with `auxtune submit {quote_path(study)} --address {address} --follow`")
        return
    follow_job(jobs, job, name)
