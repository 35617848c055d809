"""``auxtune ui``: a study's runs in MLflow's page."""

from __future__ import annotations

import signal

import click

from auxtune.orchestrator.commands.place import StudyPlace
from auxtune.orchestrator.storage.protocol import StoredPath


@click.command("ui", epilog="Example: auxtune ui studies/quickstart --port 5001")
@click.argument("study_dir", type=StudyPlace())
@click.option(
    "--port", type=click.IntRange(1, 65535), metavar="N", help="Serve there; else at 5000, or at a free one if taken."
)
@click.option("--no-browser", is_flag=True, help="Only print the link.")
def command(study_dir: StoredPath, port: int | None, no_browser: bool) -> None:
    """Show the runs of the study in the folder STUDY_DIR in MLflow's page, until Ctrl-C.

    Serves the store that the study's runs are in (tracking.uri) at 127.0.0.1, for this machine alone, prints the
    link to the table of its experiment's runs, and opens it. Also while the study runs. Where the store is behind a
    server already (http), nothing is served: its link is printed and opened.
    """
    from auxtune.orchestrator.record.driver import StopSignals
    from auxtune.orchestrator.study import Study
    from auxtune.orchestrator.study_file.paths import resolve_tracking_uri
    from auxtune.orchestrator.tracking.serving import serve_mlflow
    from auxtune.orchestrator.tracking.store import find_experiment, hide_secrets, is_served

    study = Study.from_folder(study_dir).file
    store = resolve_tracking_uri(study)
    behind_server = is_served(store)
    if behind_server and port is not None:
        raise click.UsageError(f"expected no --port: the runs are behind the server {hide_secrets(store)} already")
    found = find_experiment(store, study.options.tracking.experiment)
    if behind_server:
        _show_link(store, found, no_browser)
        return
    click.echo(f"starting MLflow's server over {hide_secrets(store)}; Ctrl-C ends it", err=True)
    with StopSignals() as signals, signals.held():
        if signal.getsignal(signal.SIGHUP) is signal.SIG_DFL:  # a terminal that is closed, unless under nohup
            signal.signal(signal.SIGHUP, signal.getsignal(signal.SIGTERM))
        with serve_mlflow(store, port, lambda: bool(signals.came)) as server:
            _show_link(server.address, found, no_browser)
            server.wait()


def _show_link(address: str, experiment_id: str, no_browser: bool) -> None:
    """Print the link to the runs, and open it where there is a screen: a text browser cannot show MLflow's page."""
    import os
    import sys
    import webbrowser

    from auxtune.orchestrator.tracking.store import link_runs

    link = link_runs(address, experiment_id)
    click.echo(link)
    screen = sys.platform == "darwin" or any(map(os.environ.get, ("DISPLAY", "WAYLAND_DISPLAY", "BROWSER")))
    if screen and not no_browser:
        webbrowser.open(link)
