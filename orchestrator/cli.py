"""The command ``auxtune``: a table of subcommands, each in a file of its own that is imported when it is asked for.

What a message can explain is printed as plain lines to stderr and ends with its exit code (``errors``); a traceback
is a defect.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from auxtune.orchestrator.errors import AuxtuneError, Interrupted
from auxtune.orchestrator.written_signs import write_any_sign

COMMANDS = {
    "validate": "validate",
    "plan": "plan",
    "run": "run",
    "submit": "submit",
    "status": "status",
    "list": "studies",
    "show": "show",
    "report": "report",
    "stop": "stop",
    "resume": "resume",
    "clean": "clean",
    "compare": "compare",
    "ui": "ui",
    "doctor": "doctor",
    "export": "export",
    "predict": "predict",
    "simulate": "simulate",
    "selectors": "selector_table",
    "examples": "examples",
    "completion": "completion",
}


class _Commands(click.Group):
    """Finds each command as ``command`` in its module of ``auxtune.orchestrator.commands``."""

    def main(self, *arguments: Any, **settings: Any) -> Any:
        """Runs the command line, on an output of whatever encoding."""
        write_any_sign(sys.argv[1:] if not arguments or arguments[0] is None else arguments[0])
        return super().main(*arguments, **settings)

    def list_commands(self, context: click.Context) -> list[str]:
        """The commands in the order in which one meets them."""
        return list(COMMANDS)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        """The command, or ``None`` for a name that is none."""
        if name not in COMMANDS:
            return None
        command: click.Command = import_module(f"auxtune.orchestrator.commands.{COMMANDS[name]}").command
        return command

    def invoke(self, context: click.Context) -> Any:
        """Runs the command. Errors that have an explanation end it with their exit code."""
        try:
            return super().invoke(context)
        except AuxtuneError as error:
            click.echo(f"{error}", err=True)
            context.exit(error.exit_code)
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
