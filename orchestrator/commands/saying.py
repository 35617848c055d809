"""Lines for people, in as many as their terminal needs."""

from __future__ import annotations

import click


def say(line: str) -> None:
    """Print ``line``; on a terminal, wrapped between words. What a script reads is one line."""
    from auxtune.orchestrator.views.fitting import fitted

    click.echo(fitted(line))
