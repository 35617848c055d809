"""The command ``auxtune``: a table of subcommands, each in a file of its own that is imported when it is asked for.

Errors that a message can explain are printed to stderr as plain lines and end the command with their exit code
(``errors``); a traceback is a defect.
"""

from __future__ import annotations

import sys
from importlib import import_module
from typing import Any

import click

from auxtune.orchestrator.errors import AuxtuneError, Interrupted
from auxtune.orchestrator.written_signs import write_any_sign

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
