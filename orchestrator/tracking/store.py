"""The store that a study's runs are in, asked from outside a session: is it there, and has it our experiment?"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from urllib.parse import urlsplit

from mlflow.tracking import MlflowClient

from auxtune.orchestrator.errors import AuxtuneError
from auxtune.orchestrator.tracking.links import shown

_FILL_IN = "`auxtune resume STUDY_DIR` fills in what is missing"


def experiment_id(store: str, name: str) -> str:
    """The id of the experiment ``name`` in the store at the tracking URI ``store``.

    Raises ``AuxtuneError`` where the store is gone, does not answer, or has no such experiment.
    """
    scheme, _, path = store.partition(":///")
    if scheme == "sqlite" and not Path(path).is_file():        # MLflow would begin an empty one in its place
        raise AuxtuneError(f"{path}: expected MLflow's store of this study, found no file; put it back, or {_FILL_IN}")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    os.environ.setdefault("MLFLOW_HTTP_REQUEST_TIMEOUT", "20")
    for noisy in ("alembic", "mlflow"):
        logging.getLogger(noisy).setLevel(logging.WARNING)
    try:
        found = MlflowClient(tracking_uri=store).get_experiment_by_name(name)
    except Exception as error:                         # of MLflow, of a database's driver, of the network
        reason = without_password(f"{type(error).__name__}: {error}".splitlines()[0], store)
        raise AuxtuneError(f"{shown(store)}: MLflow's store cannot be read: {reason}") from error
    if found is None:
        raise AuxtuneError(
            f"{shown(store)}: expected the experiment {name!r} of this study, found none of that name; while the study "
            f"runs it is made within seconds, later {_FILL_IN}"
        )
    return str(found.experiment_id)


def without_password(text: str, uri: str) -> str:
    """``text`` without the password of a URI."""
    password = urlsplit(uri).password
    return text.replace(password, "***") if password else text
