r"""The command ``auxtune``: a table of subcommands, each in a file of its own that is imported when it is asked for.

Errors that a message can explain are printed to stderr as plain lines and end the command with their exit code
(``errors``); a traceback is a defect.

Whatever is printed can be written, in any encoding: Latin-1 has no ``≥``, and ASCII no ``ü``. That is done once for
all output, in the streams themselves. Our own signs become what one would type for them; any other character becomes
its ``\uXXXX``, which JSON reads as that character. Under ``--json`` all become that.
"""

from __future__ import annotations

import codecs
import io
import sys
from collections.abc import Callable, Sequence
from encodings.ascii import IncrementalDecoder, IncrementalEncoder
from importlib import import_module
from typing import Any

import click

from auxtune.orchestrator.errors import AuxtuneError, Interrupted, explain_os_error

# Name -> its module, and its line in `auxtune --help`, for which no module is imported.
COMMANDS: dict[str, tuple[str, str]] = {
    "validate": ("validate", "Check a study and its data, and say what its splits can show."),
    "plan": ("plan", "Show what a study would train, and what that would cost."),
    "run": ("run", "Search, confirm and answer a study, or continue it."),
    "submit": ("submit", "Run a study on a cluster."),
    "status": ("status", "Show how far a study is, its best score and its cost."),
    "list": ("studies", "List the studies of a storage folder."),
    "show": ("show", "Show one trial: its proposal, attempts, traceback and log."),
    "report": ("report", "Write a study's page, report.html."),
    "stop": ("stop", "Stop a running study in order."),
    "resume": ("resume", "Continue an interrupted study, or extend a finished one."),
    "clean": ("clean", "Show what a study no longer needs, then delete it."),
    "compare": ("compare", "Compare the answers of finished studies at equal cost."),
    "ui": ("ui", "Open MLflow's pages on the runs of a study."),
    "doctor": ("doctor", "Examine a cluster file, or a cluster that is up."),
    "export": ("export", "Train on a study's answer, and save the model."),
    "predict": ("predict", "Predict the rows of a file with a saved model."),
    "simulate": ("simulate", "Run selectors against a recorded table, without training."),
    "suggest": ("suggest", "Suggest mixtures to train next, from runs made anywhere."),
    "selectors": ("selector_table", "List the selectors, with what they need and their options."),
    "examples": ("examples", "List study and cluster files to start from, or copy one."),
    "completion": ("completion", "Print the script that completes commands in a shell."),
}


class _Commands(click.Group):
    """Finds each command as ``command`` in its module of ``auxtune.orchestrator.commands``."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Run the command line, on an output of any encoding."""
        write_any_sign(sys.argv[1:] if not arguments or arguments[0] is None else arguments[0])
        return super().main(*arguments, **settings)

    def list_commands(self, context: click.Context) -> list[str]:
        """The commands in the order in which one meets them."""
        return list(COMMANDS)

    def format_commands(self, context: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the line of each command."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, line) in COMMANDS.items()])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command, or ``None`` for an unknown name."""
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"auxtune.orchestrator.commands.{COMMANDS[name][0]}").command
        return command

    def invoke(self, context: click.Context) -> Any:
        """Run the command. Errors that have an explanation end it with their exit code."""
        try:
            return super().invoke(context)
        except AuxtuneError as error:
            click.echo(f"{error}", err=True)
            context.exit(error.exit_code)
        except OSError as error:
            if (said := explain_os_error(error)) is None:
                raise
            click.echo(said, err=True)
            context.exit(AuxtuneError.exit_code)
        except KeyboardInterrupt:
            context.exit(Interrupted.exit_code)


@click.group(
    "auxtune",
    cls=_Commands,
    epilog="Example: auxtune examples cp quickstart.yaml && auxtune run quickstart.yaml",
)
@click.version_option(package_name="auxtune", message="auxtune %(version)s")
def main() -> None:
    """Find which tasks to train together, in what proportion, and whether it is worth it."""


_HANDLER, _ESCAPING = "auxtune.signs", "auxtune.escapes"
_PLAIN = "auxtune-ascii"  # a codec: ASCII, under a name that Click leaves alone
_TYPED = {
    "≥": ">=",
    "≤": "<=",
    "≈": "~",
    "≠": "!=",
    "±": "+/-",
    "×": "x",
    "·": ".",
    "−": "-",
    "–": "-",
    "—": "-",
    "…": "...",
    "→": "->",
    "←": "<-",
    "↑": "^",
    "↓": "v",
    "•": "*",
    "●": "*",
    "○": "o",
    "✓": "x",
    "✗": "-",
    "√": "sqrt ",
    "‘": "'",
    "’": "'",
    "“": '"',
    "”": '"',
    "\N{NO-BREAK SPACE}": " ",
    "\N{NARROW NO-BREAK SPACE}": " ",
    "\N{FIGURE SPACE}": " ",
    "\N{THIN SPACE}": " ",
}
_HORIZONTAL, _VERTICAL = "─━┄┅┈┉╌╍═╴╶╸╺╼╾", "│┃┆┇┊┋╎╏║╵╷╹╻╽╿"


def write_any_sign(arguments: Sequence[str]) -> None:
    """Let standard output and error write whatever is printed by the command that ``arguments`` ask for."""
    codecs.register_error(_HANDLER, lambda error: _replace_signs(error, _type_sign))
    codecs.register_error(_ESCAPING, lambda error: _replace_signs(error, _escape_sign))
    codecs.register(_find_codec)
    handler = _ESCAPING if "--json" in arguments else _HANDLER
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # Click takes an output that says it is ASCII for a mistake, and writes UTF-8 to it.
            ascii_only = codecs.lookup(stream.encoding).name in ("ascii", _PLAIN)
            stream.reconfigure(encoding=_PLAIN if ascii_only else stream.encoding, errors=handler)


def _type_sign(sign: str) -> str:
    if sign in _TYPED:
        return _TYPED[sign]
    if "\u2500" <= sign <= "\u257f":  # box drawing
        return "-" if sign in _HORIZONTAL else "|" if sign in _VERTICAL else "+"
    if "\u2580" <= sign <= "\u259f":  # blocks
        return "#"
    return _escape_sign(sign)


def _escape_sign(sign: str) -> str:
    r"""``\uXXXX``, twice beyond the first 65,536 signs, as in JSON."""
    units = sign.encode("utf-16-be", "surrogatepass")
    return "".join(f"\\u{units[place : place + 2].hex()}" for place in range(0, len(units), 2))


def _replace_signs(error: UnicodeError, by: Callable[[str], str]) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(map(by, error.object[error.start : error.end])), error.end


def _find_codec(name: str) -> codecs.CodecInfo | None:
    if name.replace("_", "-") != _PLAIN:
        return None
    return codecs.CodecInfo(
        codecs.ascii_encode,
        codecs.ascii_decode,
        incrementalencoder=IncrementalEncoder,
        incrementaldecoder=IncrementalDecoder,
        name=_PLAIN,
    )
