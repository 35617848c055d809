"""What is wrong with a task's data, all of it at once.

Code that reads data raises ``DataError`` with every problem it can see; ``ErrorCollector`` gathers those of several
files and tasks, so that one run shows one list. Rows are numbered from 1, a header not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from difflib import get_close_matches

SHOWN = 3  # further rows named before a message counts the rest


@dataclass(frozen=True)
class DataProblem:
    """One problem in words: where, what was expected, what was found, what to do."""

    text: str
    task: str | None = None  # the task whose data it is about, if it is about one
    encoder: str | None = None  # the encoder that it is about instead

    def __str__(self) -> str:
        if self.task is not None:
            return f"task {self.task}: {self.text}"
        return self.text if self.encoder is None else f"encoder {self.encoder}: {self.text}"


class DataError(ValueError):
    """Task data that cannot be used, or an encoder that cannot read it; all ``problems`` at once."""

    def __init__(self, problems: Iterable[str | DataProblem]) -> None:
        self.problems = tuple(_make_printable(problem) for problem in problems)
        super().__init__(self.problems)

    @property
    def messages(self) -> tuple[str, ...]:
        """The problems as text, each with the task or encoder that it is about."""
        return tuple(map(str, self.problems))

    def __str__(self) -> str:
        return "\n".join(self.messages)


def _make_printable(problem: str | DataProblem) -> DataProblem:
    problem = problem if isinstance(problem, DataProblem) else DataProblem(problem)
    # Half a character, from a file that is not UTF-8, could not be printed.
    return replace(problem, text=problem.text.encode("utf-8", "backslashreplace").decode())


class ErrorCollector:
    """Collects the problems of several ``DataError``s, so that they are raised as one."""

    def __init__(self) -> None:
        self.problems: list[str | DataProblem] = []

    @contextmanager
    def collect(self, prefix: str = "", task: str | None = None) -> Iterator[None]:
        """Keep the problems of a ``DataError`` raised inside, after ``prefix`` or as problems of ``task``."""
        try:
            yield
        except DataError as error:
            self.problems += [
                replace(problem, text=prefix + problem.text, task=task or problem.task) for problem in error.problems
            ]

    def raise_any(self) -> None:
        """Raise ``DataError`` with all that was collected, if there was anything."""
        if self.problems:
            raise DataError(self.problems)


def report_rows(place: str, column: str | None, bad: Sequence[tuple[int, str]]) -> list[str]:
    """No message, or one for the rows of a file with the same kind of problem.

    ``bad`` holds (row, what is wrong there): the first is reported in full, a few more by number, the rest as a
    count.
    """
    if not bad:
        return []
    row, what = bad[0]
    more = [str(row) for row, _ in bad[1 : SHOWN + 1]]
    rest = len(bad) - 1 - len(more)
    also = f" (also row {', '.join(more)}{f' and {rest} more' if rest else ''})" if more else ""
    return [f"{place}, row {row}{f', column `{column}`' if column else ''}: {what}{also}"]


def join_names(names: Iterable[str]) -> str:
    """Names for a message: the first twenty, then a count."""
    names = list(names)
    rest = f" and {len(names) - 20} more" if len(names) > 20 else ""
    return (", ".join(names[:20]) or "none") + rest


def suggest_name(name: str, names: Iterable[str]) -> str:
    """``; did you mean `x`?``, or empty text if no name is close."""
    match = find_closest(name, names)
    return f"; did you mean `{match}`?" if match else ""


def find_closest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name most similar to ``name``, by at least ``cutoff`` (1 is equal); ``None`` if there is none."""
    return next(iter(get_close_matches(name, list(names), n=1, cutoff=cutoff)), None)
