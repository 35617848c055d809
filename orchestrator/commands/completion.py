"""``auxtune completion``: the script that makes a shell complete ``auxtune``."""

from __future__ import annotations

import click
from click.shell_completion import get_completion_class

SHELLS = ("bash", "zsh", "fish")


@click.command("completion", epilog="Example: auxtune completion bash >> ~/.bashrc")
@click.argument("shell", type=click.Choice(SHELLS))
@click.pass_context
def command(context: click.Context, shell: str) -> None:
    """Print the script that makes SHELL complete commands, options, studies, trials, selectors and examples.

    For zsh it goes to the end of ~/.zshrc, for fish into ~/.config/fish/completions/auxtune.fish.
    """
    root, kind = context.find_root(), get_completion_class(shell)
    if kind is None:
        raise click.UsageError(f"expected a shell that this click knows, found {shell}; update click")
    click.echo(kind(root.command, {}, "auxtune", "_AUXTUNE_COMPLETE").source())
