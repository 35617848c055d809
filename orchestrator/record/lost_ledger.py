"""A study's folder without its ledger: what is left there is recognised, and is never taken for a study that begins.

The ledger is the truth, and all else in the folder follows from it. Where only the ledger is gone, by a slip or a copy
that was cut short, a new study in the same folder would take the old attempts' files for its own and repeat all that
was paid for. So that is refused, and whoever wants it has the old files set aside first.
"""

from __future__ import annotations

from itertools import count

from auxtune.orchestrator.errors import LedgerDamaged, Locked
from auxtune.orchestrator.record.driver import find_active_driver
from auxtune.orchestrator.record.ledger import LedgerReader
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import is_local, quote_path

# What only a session with a ledger writes. Others are there before: heartbeat.json, smoke.json.
_TRACES = ("selection.json", "report.html", "trials", "tune", "rows")


def list_traces(folder: StoredPath) -> list[str]:
    """The names in the study's ``folder`` that an earlier session left."""
    return [name for name in _TRACES if (folder / name).exists()]


def check_ledger_is_there(folder: StoredPath, reader: LedgerReader) -> None:
    """Raise ``LedgerDamaged`` where ``reader`` found no ledger, and an earlier session has left files in ``folder``."""
    if reader.events or not (traces := list_traces(folder)):
        return
    raise LedgerDamaged(
        f"{folder / 'ledger'}: missing, though an earlier session left {', '.join(traces)} beside it, so what was done "
        "is not known. Nothing was changed. Restore the ledger from a copy; or give the study another name; or begin "
        f"it again with `auxtune run --from-nothing`, {_describe_remedy(folder)}"
    )


def set_aside(folder: StoredPath) -> StoredPath | None:
    """Rename the study's ``folder`` that has lost its ledger, and return where it is now; ``None``: nothing was there.

    Raises ``LedgerDamaged`` where there is a ledger, or the folder cannot be renamed, and ``Locked`` where a process is
    at work in it.
    """
    if not list_traces(folder):
        return None
    if find_active_driver(folder) is not None:
        raise Locked(f"{folder}: a process is working on this study; end it first with `auxtune stop`")
    if LedgerReader(folder / "ledger").read_new():
        raise LedgerDamaged(
            f"{folder}: --from-nothing is for a study whose ledger is lost, and this one has its ledger; run it "
            "without that option to resume it, or give the study another name"
        )
    if not is_local(folder):
        raise LedgerDamaged(f"{folder}: a folder of an object store cannot be renamed; give the study another name")
    free = (folder.with_name(f"{folder.name}.aside-{number}") for number in count(1))
    target = next(path for path in free if not path.exists())
    try:
        return folder.rename(target)
    except OSError as error:
        raise LedgerDamaged(f"{folder}: cannot be renamed to {target}: {error.strerror}") from error


def _describe_remedy(folder: StoredPath) -> str:
    if not is_local(folder):
        return "which an object store does not allow"
    return f"which first renames the folder to {quote_path(folder.with_name(f'{folder.name}.aside-1'))} or the like"
