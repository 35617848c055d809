"""Errors whose cause a user can mend, and the exit code that each one ends the command line with.

AuxtuneError            2   printed as plain lines, never as a traceback
├── StudyFileError      2   the study file or an override: every mistake at once, each with its line
├── StudyDataError      2   the rows of a task, or the encoder
├── ResourceError       2   more CPUs or GPUs per trial than there are
├── ClusterError        2   no cluster answers at the address, or not as it should; or no Ray starts here
├── SelectorError       2   a selector broke its contract or cannot answer this study
├── BudgetTooSmall      2   the budget cannot pay for confirm and the selector's fewest trials
├── DriftError          2   tasks, model or code differ from those the ledger was begun with
├── LedgerError         2   the durable record
│   ├── LedgerDamaged   2   a part is missing or unreadable
│   └── Locked          4   another process writes to it
├── EvidenceError       2   what trials measured cannot be read any more
├── StorageError        2   an object store refuses, or does not answer; an ``OSError`` as well
├── HangError           2   a worker did not begin, and nothing is there that could be killed
├── Unwritable          3   a trial cannot write its files; the study is paused, and no trial has failed for it
├── TooManyFailures     3   ``stop_after_failures`` trials in a row failed, or all that an answer would rest on
└── Interrupted       130   stopped on request; running the study again continues it
"""

from __future__ import annotations

import errno
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from auxtune.orchestrator.uri_secrets import hide_secrets


class AuxtuneError(Exception):
    """Something a message can explain: what was expected, what was found, what to do."""

    exit_code = 2


@dataclass(frozen=True)
class Mistake:
    """One thing wrong with a study. ``place`` is a line of the file, from 1, or the text of an override."""

    place: int | str
    key: str
    message: str


_ROOM = "make room there, or give the study another `storage`"
_RIGHTS = "see who may read and write it (`ls -ld`), or choose a place that is yours"
_LIMITS = "raise the limit (`ulimit -a` shows it)"
_REMEDIES = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: _LIMITS,
    errno.EMFILE: _LIMITS,
    errno.ENFILE: _LIMITS,
    errno.EROFS: "mount it so that it can be written, or choose another place",
    errno.EACCES: _RIGHTS,
    errno.EPERM: _RIGHTS,
    errno.EIO: "see whether the disk is sound and connected",
    errno.ESTALE: "see whether the disk is sound and connected",
    errno.EISDIR: "move away the folder that is in the file's place",
    errno.ENOTDIR: "move away the file that is in a folder's place",
    errno.ELOOP: "mend the link that leads to itself",
    errno.ENAMETOOLONG: "choose a shorter name",
}


def explain_os_error(error: OSError) -> str | None:
    """What the system refused, where, and what to do; ``None`` for an error that users cannot mend."""
    number, reason = _read_system_error(error)
    if number not in _REMEDIES:
        return None
    places = [str(name) for name in (error.filename, error.filename2) if name is not None]
    where = f"{places[-1]}: " if places else ""
    return f"{where}{reason}; {_REMEDIES[number]}, and give the command again. What was recorded before is safe"


_REFUSALS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)  # of a place, whatever is written there
_RIGHTS_REFUSED = (errno.EACCES, errno.EPERM)


def explain_refusal(error: BaseException, folders: Sequence[str]) -> str | None:
    """Which folder the system does not let a trial write, why, and the remedy; ``None`` for any other error.

    ``folders`` are those that a trial writes to, the first one its own. A full, broken or read-only disk is none of a
    trial's doing, wherever it is; missing rights are so in these folders alone.
    """
    if not isinstance(error, OSError) or isinstance(error, StorageError):
        return None
    number, reason = _read_system_error(error)
    place = None if error.filename is None else str(error.filename)
    own = [folder for folder in folders if place is not None and _is_within(place, folder)]
    if number not in _REFUSALS and not (number in _RIGHTS_REFUSED and own):
        return None
    where = own[0] if own else folders[0] if place is None else str(Path(place).parent)
    return f"{where} cannot be written ({reason}); {_REMEDIES[number]}"


def _read_system_error(error: OSError) -> tuple[int | None, str | None]:
    """Number and text of the system's error."""
    if error.errno is None and "requested and" in str(error):  # so NumPy tells of a full disk
        return errno.ENOSPC, os.strerror(errno.ENOSPC)
    return error.errno, error.strerror


def _is_within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


class StudyFileError(AuxtuneError):
    """All that is wrong with a study file, in the order of its lines; mistakes in overrides come last."""

    def __init__(self, origin: str, mistakes: Sequence[Mistake]) -> None:
        self.origin = origin
        self.mistakes = sorted(mistakes, key=_sort_key)
        super().__init__("\n".join(self._line(mistake) for mistake in self.mistakes))

    def _line(self, mistake: Mistake) -> str:
        override = isinstance(mistake.place, str)
        where = f"--set {hide_secrets(str(mistake.place))}" if override else f"{self.origin}:{mistake.place}"
        return f"{where}: {mistake.key}: {mistake.message}" if mistake.key else f"{where}: {mistake.message}"


def _sort_key(mistake: Mistake) -> tuple[bool, int]:
    return (True, 0) if isinstance(mistake.place, str) else (False, mistake.place)


class StudyDataError(AuxtuneError):
    """Tasks or an encoder that a study names cannot be used; every reason, one per line."""


class ResourceError(AuxtuneError):
    """A trial asks for more than any machine at hand has."""


class ClusterError(AuxtuneError):
    """The cluster that a study is to run on cannot be worked with."""


class SelectorError(AuxtuneError):
    """A selector cannot answer this study, or did what its contract forbids."""


class BudgetTooSmall(AuxtuneError):
    """The budget is below what confirm and the selector need at the least."""


class DriftError(AuxtuneError):
    """The study differs from what its ledger was begun with."""


class LedgerError(AuxtuneError):
    """The durable record of a study cannot be read or written."""


class LedgerDamaged(LedgerError):
    """A part of the ledger is missing, unreadable or of an unknown format; nothing was changed."""


class Locked(LedgerError):
    """Another process writes to this study's ledger."""

    exit_code = 4


class EvidenceError(AuxtuneError):
    """Evidence that a study rests on is gone or damaged."""


class StorageError(AuxtuneError, OSError):
    """An object store refuses what it is asked, or does not answer. ``lasting``: to ask again would be pointless."""

    def __init__(self, place: str, reason: str = "it does not answer", lasting: bool = False) -> None:
        super().__init__(errno.EIO, reason, place)
        self.lasting = lasting

    def __reduce__(self) -> tuple[type[StorageError], tuple[str, str, bool]]:
        return type(self), (self.filename, self.strerror or "", self.lasting)

    def __str__(self) -> str:
        return (
            f"{self.filename}: the object store cannot be used: {self.strerror}; see that this machine reaches it, and "
            "that credentials and endpoint are in its environment and still valid, and give the command again. What "
            "was recorded before is safe"
        )


class HangError(AuxtuneError):
    """A worker did not begin in time; the study can be resumed."""


class Unwritable(AuxtuneError):
    """A trial cannot write its files; the study is paused until it can."""

    exit_code = 3


class TooManyFailures(AuxtuneError):
    """So many trials failed that going on is pointless: many in a row, or all that an answer would rest on."""

    exit_code = 3


class Interrupted(AuxtuneError):
    """The study was stopped on request and can be continued."""

    exit_code = 130
