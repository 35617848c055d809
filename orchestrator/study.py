"""A study in Python: ``Study.from_yaml("study.yaml").run()``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from auxtune.orchestrator.errors import StudyFileError
from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.study_file.reading import StudyFile, parse_study, read_study

if TYPE_CHECKING:
    from auxtune.orchestrator.export.export import Exported
    from auxtune.orchestrator.record.events import Event
    from auxtune.orchestrator.record.ledger import LedgerReader
    from auxtune.orchestrator.session.session import Result


def _find_working_folder(study: StudyFile, folder: StoredPath) -> Path:
    """The working folder of a study that was run into ``folder``; both may have been moved.

    The current folder where nothing tells: a folder that is gone is not created again.
    """
    if study.working_folder.is_dir():
        return study.working_folder
    from auxtune.orchestrator.storage.stores import is_local

    storage, parts = Path(study.options.storage), folder.parent.parts
    below = len(storage.parts)
    is_beside = is_local(folder) and 0 < below < len(parts) and parts[-below:] == storage.parts
    return Path(*parts[:-below]) if is_beside else Path.cwd()


def _ignore(said: object) -> None:
    """Ignore it."""


@dataclass(frozen=True)
class Study:
    """One question, ready to be asked. Nothing is read or started before ``run``."""

    file: StudyFile
    ledger: LedgerReader | None = field(default=None, repr=False, compare=False)
    """The reader of its ledger, if it was read before: nothing is read twice."""

    @classmethod
    def from_yaml(cls, path: str | Path, overrides: Sequence[str] = ()) -> Study:
        """The study in a file, with overrides such as ``"training.steps=200"``. Raises ``StudyFileError``."""
        return cls(read_study(Path(path), overrides))

    @classmethod
    def from_folder(cls, folder: str | StoredPath, overrides: Sequence[str] = ()) -> Study:
        """The study that was run into ``folder``, from its ledger; relative paths start where its last session's did.

        The folders are those of the last session whose study folder exists: others may have run on another machine.

        Raises ``StudyFileError`` where the folder holds no study, ``LedgerDamaged`` where it cannot be read.
        """
        from auxtune.orchestrator.errors import Mistake
        from auxtune.orchestrator.record.events import Opened
        from auxtune.orchestrator.record.ledger import LedgerReader
        from auxtune.orchestrator.storage.stores import parse_path

        folder = parse_path(str(folder)).resolve()
        ledger = LedgerReader(folder / "ledger")
        opened = [event for event in ledger.read_new() if isinstance(event, Opened)]
        if not opened:
            message = "expected the folder of a study (<storage>/<study>), found no ledger in it"
            raise StudyFileError(str(folder), [Mistake(1, "", message)])
        last = opened[-1]
        place = next((each for each in reversed(opened) if Path(each.study_folder).is_dir()), last)
        origin, overrides = str(folder / "study.yaml"), (*last.overrides, *overrides)
        study = parse_study(last.study, origin, Path(place.study_folder), overrides, Path(place.working_folder))
        if folder.name != study.options.study:
            message = f"expected a folder of the study's name, {study.options.study}; rename it back"
            raise StudyFileError(str(folder), [Mistake(1, "study", message)])
        # The storage may have been moved: it is where the folder is.
        options = study.options.model_copy(update={"storage": str(folder.parent)})
        return cls(replace(study, options=options, working_folder=_find_working_folder(study, folder)), ledger)

    @property
    def folder(self) -> StoredPath:
        """Where the study is, or will be: ``<storage>/<study>``."""
        from auxtune.orchestrator.study_file.paths import locate_study

        return locate_study(self.file)

    def status(self) -> dict[str, Any]:
        """Where it stands, as ``auxtune status --json``; also while another process runs it.

        Raises ``LedgerError`` where it was never begun or cannot be read.
        """
        from auxtune.orchestrator.record.accounts import sum_up
        from auxtune.orchestrator.views.status import describe_status

        return describe_status(self.folder, sum_up(self.folder, self.read_events()), self.file.options)

    def read_events(self) -> list[Event]:
        """All events of its ledger up to now, none if it was never begun; those read before are not read again.

        Raises ``LedgerDamaged``.
        """
        from auxtune.orchestrator.record.ledger import LedgerReader

        reader = self.ledger or LedgerReader(self.folder / "ledger")
        reader.read_new()
        return list(reader.events)

    def run(
        self, listener: Callable[[Event], None] = _ignore, allow_drift: bool = False, address: str | None = None
    ) -> Result:
        """Run it, or resume it, to its answer; ``listener`` gets every event once it is durable, up to its close.

        On this machine, or on the cluster at ``address``, ``host:port`` of its head or ``auto``, from one of its nodes.
        Raises what ``session.run_session`` raises.
        """
        from auxtune.orchestrator.session.session import run_session

        return run_session(self.file, listener, allow_drift, address, self.ledger)

    def export(
        self,
        to: str | Path,
        seed: int | None = None,
        group: int | None = None,
        allow_drift: bool = False,
        listener: Callable[[str], None] = _ignore,
        arm: str = "selection",
    ) -> Exported:
        """Train on the selection of the finished study, and save the model as the new folder ``to``, or one per group.

        ``arm`` may name one of its controls instead, such as the one that ``selection.json`` recommends. ``listener``
        hears of progress, a line at a time. Raises what ``export.export_study`` raises.
        """
        from auxtune.orchestrator.export.export import export_study

        return export_study(self.file, Path(to), seed, group, allow_drift, listener, arm)
