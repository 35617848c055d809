"""The Hugging Face hub, as a study meets it: whether it answers, the commit of rows, the remedy for a refusal, silence.

Its libraries retry a hub that does not answer five times, half a minute for every repository, before they look into
their cache. So it is asked once, and if it does not answer they are set to read only the cache. For a dataset they
then take the copy that was used last, whatever revision was asked for: that is detected and refused here.

Only the preparation of a study asks the hub; trials are handed what they need.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from huggingface_hub import constants, get_session, try_to_load_from_cache

from auxtune.trials.errors import DataError

PATIENCE = 10.0  # seconds that the hub has to answer
_CARD = "README.md"  # read of every dataset first, which leaves a trace of the commit
# Words of the libraries' errors, in lower case, and what to do. By words, because errors that they wrap and raise again
# lose their classes. The first match counts.
_REMEDIES = (
    ("gated", "with access to it, put your token into HF_TOKEN where the study is started"),
    (
        "trust_remote_code",
        "it brings code of its own, which is not run; name another, or say `trust_remote_code: true` "
        "under `model` if you trust its authors",
    ),
    (
        "scripts are no longer supported",
        "it needs code of its own, which is not run; name one with data files, or a revision with such files, as "
        "refs/convert/parquet",
    ),
    ("revision", "its page lists the existing names and commits"),
    ("invalid rev id", "its page lists the existing names and commits"),
    ("couldn't reach", ""),
    ("couldn't connect", ""),
    ("offline", ""),
    ("connect", ""),
    ("doesn't exist on the hub", "check that the name is right; a private one needs a token in HF_TOKEN"),
    ("not a valid model identifier", "check that the name is right; a private one needs a token in HF_TOKEN"),
)


def use_cache_if_offline(name: str) -> None:
    """Before ``name`` is read from the hub: have the libraries read only their cache if the hub does not answer.

    This holds for the rest of the process. A folder is not read from the hub.
    """
    is_folder = Path(name).is_absolute() or Path(name).is_dir()
    if not (is_folder or constants.HF_HUB_OFFLINE or check_reachable()):
        constants.HF_HUB_OFFLINE = True
        import datasets

        datasets.config.HF_HUB_OFFLINE = True


@cache
def check_reachable() -> bool:
    """Whether the hub answers, asked once per process."""
    try:
        get_session().head(constants.ENDPOINT, timeout=PATIENCE)
    except Exception:  # errors of names, networks, proxies and certificates have no common class
        return False
    return True


def find_commit(dataset: str, revision: str | None, files: Sequence[Path]) -> str | None:
    """The commit of the rows in ``files`` of the cache; ``None`` if it cannot be determined.

    Raises ``DataError`` if it differs from the commit of ``revision`` when the hub was last asked.
    """
    # The cache has a folder for each commit, under the configuration's and the format's.
    commits = {file.parent.name for file in files if re.fullmatch("[0-9a-f]{40}", file.parent.name)}
    commit = commits.pop() if len(commits) == 1 else None
    if revision is not None and constants.HF_HUB_OFFLINE and commit != _find_cached_commit(dataset, revision):
        raise DataError(
            [
                f"{dataset}: the hub at {constants.ENDPOINT} does not answer, and the copy in the cache is of the "
                f"commit {commit or 'unknown'}, not of the revision {revision}; try again when it answers"
            ]
        )
    return commit


def _find_cached_commit(dataset: str, revision: str) -> str | None:
    """The commit that ``revision``, perhaps a commit itself, named when the hub was last asked."""
    card = try_to_load_from_cache(dataset, _CARD, repo_type="dataset", revision=revision)
    return Path(card).parent.name if isinstance(card, str) else revision


def explain_refusal(error: BaseException) -> str:
    """An error of the libraries in one line, with what to do about it if that is known."""
    said = " ".join(str(error).split())
    for words, remedy in _REMEDIES:
        if words in said.lower():
            return f"{said.rstrip('.')}; {remedy or _describe_absence()}"
    return said


def _describe_absence() -> str:
    return (
        f"the hub at {constants.ENDPOINT} does not answer, and this is not in the cache in {constants.HF_HOME}; try "
        "again when it does, or name a folder or files"
    )


@contextmanager
def silence() -> Iterator[None]:
    """Silence progress, and the report on weights left unused: a pretraining head, layers beyond ``layers``."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()
