"""The store that a study's runs are in: how it is asked, and, from outside a session, whether it has our experiment."""

from __future__ import annotations

import logging
import os

from mlflow.tracking import MlflowClient

from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.study_file.sqlite_uri import is_sqlite, parse_sqlite_uri
from auxtune.orchestrator.tracking.links import shown
from auxtune.orchestrator.tracking.trouble import said_of

_FILL_IN = "`auxtune resume STUDY_DIR` fills in what is missing"


def quiet_client(uri: str) -> MlflowClient:
    """A client of the store at a tracking URI that asks once and prints nothing."""
    # A request whose reply was lost is not sent again blindly, which could make a second run: the caller looks.
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    # Of every run that ends at a server it would print two lines between ours, in a view without runs.
    os.environ.setdefault("MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT", "true")
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    return MlflowClient(tracking_uri=uri)


def experiment_id(store: str, name: str) -> str:
    """The id of the experiment ``name`` in the store at the tracking URI ``store``.

    Raises ``AuxtuneError`` where the store is gone, does not answer, or has no such experiment.
    """
    if is_sqlite(store) and not (path := parse_sqlite_uri(store)).is_file():  # MLflow would begin an empty one there
        raise AuxtuneError(f"{path}: expected MLflow's store of this study, found no file; put it back, or {_FILL_IN}")
    try:
        found = quiet_client(store).get_experiment_by_name(name)
    except Exception as error:  # of MLflow, of a database's driver, of the network
        raise AuxtuneError(f"{shown(store)}: MLflow's store cannot be read: {said_of(error, store)}") from error
    if found is None:
        raise AuxtuneError(
            f"{shown(store)}: expected the experiment {name!r} of this study, found none of that name; while the study "
            f"runs it is made within seconds, later {_FILL_IN}"
        )
    return str(found.experiment_id)
