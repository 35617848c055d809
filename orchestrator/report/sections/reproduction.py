"""How to do it again: the command, the study file, versions, seeds, and the digests of all that went in."""

from __future__ import annotations

import shlex
from collections.abc import Iterator
from datetime import datetime, timezone

from auxtune.orchestrator.planning.arms import SELECTION
from auxtune.orchestrator.record.accounts import Session
from auxtune.orchestrator.report.blocks import Block, Listing, Paragraph, Section, Table
from auxtune.orchestrator.report.material import Material


def reproduction_section(material: Material) -> Section:
    """What the last session was started with; where sessions differ, each."""
    return Section("reproduction", "How to do it again", tuple(_blocks(material)))


def _blocks(material: Material) -> Iterator[Block]:
    sessions = material.accounts.sessions
    last = sessions[-1].opened
    overrides = [f" --set {shlex.quote(override)}" for override in last.overrides]
    yield Listing("The command, in a folder with the study file", f"auxtune run study.yaml{''.join(overrides)}")
    yield Listing("study.yaml", last.study.rstrip("\n"))
    yield Table("Versions", ("package", "version"), tuple(_versions(sessions)))
    trained = [each[0] for each in material.arms.get(SELECTION, ()) if each]
    confirm = ", ".join(str(trial.proposal.seed) for trial in trained) or "not reached"
    yield Table("Seeds", ("of", "seed"), (("the study", str(material.problem.seed)), ("confirm, every arm", confirm)))
    known = last.fingerprint
    data = tuple((key.removeprefix("tasks."), value) for key, value in known.items() if key.startswith("tasks."))
    rest = tuple((key, value) for key, value in known.items() if not key.startswith("tasks."))
    if data:
        yield Table("Data, as digests of the rows that are left", ("task", "digest"), data)
    if rest:
        yield Table("The rest of the fingerprint: what must not change under a study", ("what", "digest"), rest)
    yield Table(
        "Sessions",
        ("session", "started (UTC)", "allowed to differ"),
        tuple((s.opened.session, _clock(s.opened.time), ", ".join(s.opened.drift) or "nothing") for s in sessions),
    )
    yield Paragraph(
        "On CPUs, one trial at a time, with as many threads and a budget in trials, the same study gives the same "
        "proposals, scores and selection. With several at once the order in which trials end decides what comes next; "
        f"`auxtune status --verify {material.folder.name}` checks that all of it followed from what was known then.",
        "note",
    )


def _versions(sessions: list[Session]) -> Iterator[tuple[str, str]]:
    """Each package once, with all versions that sessions ran it in."""
    for package in sessions[-1].opened.versions:
        found = dict.fromkeys(session.opened.versions.get(package, "unknown") for session in sessions)
        yield package, ", then ".join(found)


def _clock(moment: float) -> str:
    return datetime.fromtimestamp(moment, timezone.utc).strftime("%Y-%m-%d %H:%M:%S")
