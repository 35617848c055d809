"""The Hugging Face hub, as a study meets it: whether it answers, which commit rows are of, what a refusal asks for.

Its libraries try a hub that does not answer five times over, half a minute for every repository, before they look into
their cache. So it is asked once, and where it does not answer they are set to read the cache alone. Of a dataset they
then take the copy that was used last, whatever revision was asked for: that is found out and refused here.

Only who prepares a study asks the hub; what trials need they are handed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from huggingface_hub import constants, get_session, try_to_load_from_cache

from auxtune.trials.errors import DataError

PATIENCE = 10.0  # seconds that the hub has to answer
_CARD = "README.md"  # read of every dataset first, which leaves a trace of the commit
# What the libraries say, in small letters, and what is to be done. By their words, for of the errors that they wrap and
# raise again the classes are lost. The first that fits counts.
_REMEDIES = (
    ("gated", "with access to it, put your token into HF_TOKEN where the study is started"),
    (
        "trust_remote_code",
        "it brings code of its own, which is not run; name another, or say `trust_remote_code: true` "
        "under `model` if you trust its authors",
    ),
    (
        "scripts are no longer supported",
        "it needs code of its own, which is not run; name one with data files, or such "
        "a revision, as refs/convert/parquet",
    ),
    ("revision", "look at its page for the names and commits there are"),
    ("invalid rev id", "look at its page for the names and commits there are"),
    ("couldn't reach", ""),
    ("couldn't connect", ""),
    ("offline", ""),
    ("connect", ""),
    ("doesn't exist on the hub", "look whether the name is right; a private one needs a token in HF_TOKEN"),
    ("not a valid model identifier", "look whether the name is right; a private one needs a token in HF_TOKEN"),
)


def use_cache_if_offline(name: str) -> None:
    """Before ``name`` is read from the hub: have the libraries read their cache alone if the hub does not answer.

    For the rest of the process. A folder is not read from the hub.
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
    """The commit that rows in ``files`` of the cache are of; ``None`` where that cannot be told.

    Raises ``DataError`` if that is another than ``revision`` was when the hub was asked last.
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
    """The commit that ``revision``, perhaps one itself, was when the hub was asked last."""
    card = try_to_load_from_cache(dataset, _CARD, repo_type="dataset", revision=revision)
    return Path(card).parent.name if isinstance(card, str) else revision


def explain_refusal(error: BaseException) -> str:
    """An error of the libraries in a line, with what to do about it where that is known."""
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
