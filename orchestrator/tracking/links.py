"""Addresses in MLflow's web page that show runs.

An experiment's plain address opens a view for traces of language models, which shows no runs; these name the view.
``base`` is the address of the server, such as ``http://127.0.0.1:5000``; a name and password in it do
not become part of a link.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from urllib.parse import quote, urlsplit

from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.typed import quote_path

_VIEW = "workflowType=machine_learning"


def link_runs(base: str, experiment_id: str) -> str:
    """The table of an experiment's runs, with its charts.

    >>> link_runs("http://127.0.0.1:5000/", "1")
    'http://127.0.0.1:5000/#/experiments/1/runs?workflowType=machine_learning'
    """
    return f"{hide_secrets(base)}/#/experiments/{experiment_id}/runs?{_VIEW}"


def link_run(base: str, experiment_id: str, run_id: str) -> str:
    """One run: its note, parameters, metrics and files.

    >>> link_run("https://user:secret@mlflow.example/team", "1", "0a")
    'https://mlflow.example/team/#/experiments/1/runs/0a?workflowType=machine_learning'
    """
    return f"{hide_secrets(base)}/#/experiments/{experiment_id}/runs/{run_id}?{_VIEW}"


def link_comparison(base: str, experiment_id: str, run_ids: Sequence[str]) -> str:
    """Several runs side by side: parallel coordinates, scatter, and what differs.

    >>> link_comparison("http://h", "1", ["0a", "0b"])
    'http://h/#/compare-runs?runs=%5B%220a%22%2C%220b%22%5D&experiments=%5B%221%22%5D&workflowType=machine_learning'
    """
    runs, experiments = (quote(json.dumps(each, separators=(",", ":")), safe="") for each in (run_ids, [experiment_id]))
    return f"{hide_secrets(base)}/#/compare-runs?runs={runs}&experiments={experiments}&{_VIEW}"


def describe_runs_place(uri: str, folder: StoredPath, experiment_id: str | None) -> str:
    """Where to see the runs of the study in ``folder``: a link, or the command that opens a page over an SQLite file.

    The server's address alone where ``experiment_id`` is not known yet.

    >>> from pathlib import Path
    >>> describe_runs_place("sqlite:////tmp/mlflow.db", Path("studies/first"), "1")
    'auxtune ui studies/first'
    """
    if not is_served(uri):
        return f"auxtune ui {quote_path(folder)}"
    return hide_secrets(uri) if experiment_id is None else link_runs(uri, experiment_id)


def is_served(uri: str) -> bool:
    """Whether the runs at a tracking URI are behind a server already."""
    return uri.startswith(("http://", "https://"))


def hide_secrets(uri: str) -> str:
    """A tracking URI as it may be shown: without name, password and last slash.

    >>> hide_secrets("http://user:secret@host:5000/"), hide_secrets("sqlite:////tmp/mlflow.db")
    ('http://host:5000', 'sqlite:////tmp/mlflow.db')
    """
    place = urlsplit(uri).netloc
    return (uri.replace(place, place.rpartition("@")[2], 1) if "@" in place else uri).rstrip("/")
