"""What is wrong with a task's data, all of it at once.

Whoever reads data raises ``DataError`` with every problem it can see; ``ErrorCollector`` gathers those of several
files and tasks, so that one run shows one list. Rows are numbered from 1, a header not counted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from difflib import get_close_matches

SHOWN = 3  # further rows named before a message counts the rest


class DataError(ValueError):
    """Task data that cannot be used; ``messages`` say where, what was expected, what found, what to do."""

    def __init__(self, messages: Sequence[str]) -> None:
        # Half a character, of a file that is not UTF-8, could not be printed.
        self.messages = tuple(message.encode("utf-8", "backslashreplace").decode() for message in messages)
        super().__init__(self.messages)

    def __str__(self) -> str:
        return "\n".join(self.messages)


class ErrorCollector:
    """Collects the messages of several ``DataError``s, so that they are raised as one."""

    def __init__(self) -> None:
        self.messages: list[str] = []

    @contextmanager
    def collect(self, prefix: str = "") -> Iterator[None]:
        """Keep the messages of a ``DataError`` raised inside, each behind ``prefix``, and continue."""
        try:
            yield
        except DataError as error:
            self.messages += [prefix + message for message in error.messages]

    def raise_any(self) -> None:
        """Raise ``DataError`` with all that was collected, if there was anything."""
        if self.messages:
            raise DataError(self.messages)


def report_rows(place: str, column: str | None, bad: Sequence[tuple[int, str]]) -> list[str]:
    """No message, or one for the rows of a file with the same kind of problem.

    ``bad`` holds (row, what is wrong there): the first is told in full, a few more by number, the rest as a
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
    """``; did you mean `x`?`` or nothing."""
    match = find_closest(name, names)
    return f"; did you mean `{match}`?" if match else ""


def find_closest(name: str, names: Iterable[str], cutoff: float = 0.6) -> str | None:
    """The name most like ``name``, alike by ``cutoff`` at least, where 1 is equal; ``None`` if there is none."""
    return next(iter(get_close_matches(name, list(names), n=1, cutoff=cutoff)), None)
