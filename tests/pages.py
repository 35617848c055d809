"""The Markdown pages of this repository as fenced blocks, and a reader who follows them.

CONTRIBUTING.md tells authors what the comment above a block means.
"""

from __future__ import annotations

import atexit
import csv
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory, mkdtemp

from nursery import Nursery

ROOT = Path(__file__).parents[1]
PAGES = (ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").glob("*.md")))
STUDY_PAGES = (ROOT / "README.md", ROOT / "docs" / "how-it-works.md", ROOT / "docs" / "mlflow.md")  # one study's
FIRST_PAGES = (ROOT / "docs" / "first-study.md", ROOT / "docs" / "exporting.md")  # likewise
IN_A_CLONE = ROOT / "docs" / "adding-a-task-kind.md"
SITE, HUB = "site", "huggingface"  # where pip installs to, and what was had from the hub
MARKS = {
    "file": re.compile(r"file: (?P<name>[\w./-]+)(, (?P<rows>\d+) rows like these)?"),
    "not run": re.compile(r"not run: (?P<why>.+)"),
    "ends": re.compile(r"ends with (?P<code>\d+)"),
    "prints": re.compile(r"prints"),
}
COMMANDS = {
    "sh": ("bash", "-euo", "pipefail", "-c"),
    "python": (),  # a reader's own
    "diff": ("bash", "-euo", "pipefail", "-c", 'printf %s "$0" | git apply -'),  # a change to existing files
}
_BLOCK = re.compile(r"(?:^<!-- (?P<comment>.*) -->\n)?^```(?P<language>.*)\n(?P<text>(?:.*\n)*?)^```$", re.MULTILINE)


@dataclass(frozen=True)
class Block:
    """A fenced block: where it is, its language, the comment right above it, its text."""

    place: str
    language: str
    comment: str
    text: str

    def mark(self, kind: str) -> re.Match[str] | None:
        """The match of the comment, if it is of this kind."""
        return MARKS[kind].fullmatch(self.comment)

    @property
    def runs(self) -> bool:
        """Whether a reader would type it."""
        return self.language in COMMANDS and not self.mark("file") and not self.mark("not run")


def blocks(page: Path) -> list[Block]:
    """The blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(
            place=f"{page.name}:{text.count(chr(10), 0, match.start('text'))}",
            language=match["language"],
            comment=match["comment"] or "",
            text=match["text"],
        )
        for match in _BLOCK.finditer(text)
    ]


@cache
def make_place() -> Path:
    """A folder for all readers of this process."""
    folder = TemporaryDirectory(prefix="warm")
    atexit.register(folder.cleanup)
    return Path(folder.name)


@cache
def start_nursery(place: Path, environment: tuple[tuple[str, str], ...]) -> Nursery:
    """What readers with this environment have their commands forked from."""
    nursery = Nursery(Path(mkdtemp(dir=place)), dict(environment))
    atexit.register(nursery.close)
    return nursery


@dataclass
class Reader:
    """Follows pages in a folder, where nothing is downloaded and pip installs into that folder.

    ``smaller`` maps text of a page to what is typed in its place, to take less time; ``typed`` holds all commands.
    ``is_warm``: commands are forked from a process that has imported the product, as it was at the start.
    """

    folder: Path
    smaller: dict[str, str] = field(default_factory=dict)
    typed: str = ""
    is_warm: bool = True
    output: str = ""  # of the last command
    _commands: str = str(Path(sys.executable).parent)
    _program: tuple[str, ...] = (sys.executable, "-c")
    _installed: Path | None = None  # where pip installs to, if that is not in ``folder``

    def follow(self, *pages: Path) -> None:
        """Do what each block says. Raises ``AssertionError`` naming the first block that does not do as promised."""
        with self._warm() if self.is_warm else nullcontext():
            for page in pages:
                self._follow(page)

    @contextmanager
    def _warm(self) -> Iterator[None]:
        """Have ``auxtune`` and Python's programs forked meanwhile, from one process for all readers.

        It has one place for what they install, which is empty for each.
        """
        place, cold = make_place(), (self._commands, self._program)
        for name in (SITE, HUB):
            shutil.rmtree(place / name, ignore_errors=True)
        self._installed, self._commands = place, f"{place}{os.pathsep}{self._commands}"
        nursery = start_nursery(place, tuple(sorted(self._environment().items())))
        nursery.write_command(place)
        self._program = (*nursery.caller("call"), "-c")
        try:
            yield
        finally:
            self._installed, (self._commands, self._program) = None, cold

    def _follow(self, page: Path) -> None:
        for block in blocks(page):
            if file := block.mark("file"):
                text = block.text if file["rows"] is None else _numbered(block.text, int(file["rows"]))
                (self.folder / file["name"]).write_text(text, encoding="utf-8")
            elif block.mark("prints"):
                self._compare(block)
            elif block.runs:
                self._type(block)

    def _type(self, block: Block) -> None:
        text = block.text
        for shown, typed in self.smaller.items():
            text = text.replace(shown, typed)
        done = subprocess.run(
            [*(self._program if block.language == "python" else COMMANDS[block.language]), text],
            cwd=self.folder,
            env=self._environment(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=400,
        )
        self.typed, self.output = self.typed + text, done.stdout
        ends = block.mark("ends")
        expected = int(ends["code"]) if ends else 0
        assert done.returncode == expected, f"{block.place}: ended with {done.returncode}\n{done.stdout}"

    def _compare(self, block: Block) -> None:
        """Each line shown is among those printed, in order, whatever the spaces."""
        printed = iter([" ".join(line.split()) for line in self.output.splitlines()])
        for line in filter(None, (" ".join(line.split()) for line in block.text.splitlines())):
            pattern = re.compile(".*".join(map(re.escape, line.split("…"))))
            assert any(map(pattern.fullmatch, printed)), f"{block.place}: not printed: {line}\n{self.output}"

    def _environment(self) -> dict[str, str]:
        # pytest's name the test, and would have every reader's commands forked from a process of its own.
        ours = {name: value for name, value in os.environ.items() if not name.startswith(("AUXTUNE_", "PYTEST_"))}
        place = self._installed or self.folder
        site = str(place / SITE)
        return ours | {
            "PATH": f"{self._commands}{os.pathsep}{os.environ['PATH']}",
            "COLUMNS": "80",
            "HF_HOME": str(place / HUB),
            "HF_HUB_OFFLINE": "1",
            "PIP_TARGET": site,
            "PIP_NO_DEPS": "1",
            "PIP_NO_INDEX": "1",
            "PIP_NO_BUILD_ISOLATION": "0",  # pip reads it as the value of --build-isolation
            "PYTHONPATH": site,
        }


def _numbered(text: str, count: int) -> str:
    """A csv file of ``count`` rows: those of ``text`` in turn, each number added to the first cell."""
    header, *rows = csv.reader(text.splitlines())
    chosen = (rows[number % len(rows)] for number in range(count))
    lines = [",".join((f"{first} {number}", *rest)) for number, (first, *rest) in enumerate(chosen)]
    return "\n".join([",".join(header), *lines]) + "\n"
