"""``auxtune compare``: several studies of one question, at equal cost."""

from __future__ import annotations

import json
from pathlib import Path

import click

from auxtune.orchestrator.commands.place import StudyPlace
from auxtune.orchestrator.storage.protocol import StoredPath


@click.command("compare", epilog="Example: auxtune compare studies/with-tag studies/with-autosem --to compared.html")
@click.argument("study_dirs", nargs=-1, required=True, type=StudyPlace())
@click.option("--to", type=click.Path(path_type=Path), metavar="FILE", help="Also write a page for a browser there.")
@click.option("--json", "as_json", is_flag=True, help="Print one object instead of tables.")
def command(study_dirs: tuple[StoredPath, ...], to: Path | None, as_json: bool) -> None:
    """Compare the answers of finished studies, STUDY_DIRS, that differ in selector, seed and budget alone.

    What their selections score on the test split, differences seed by seed, and what their searches cost. Intervals
    are corrected for how many differences there are; a study is named better only if it is so by these, against every
    other, and at no more cost.
    """
    from rich.console import Console

    from auxtune.orchestrator.answer.comparison import compare_studies
    from auxtune.orchestrator.errors import AuxtuneError
    from auxtune.orchestrator.report.comparison_page import compare_tables, comparison_page
    from auxtune.orchestrator.report.study_page import write_page
    from auxtune.orchestrator.session.answered import read_answered
    from auxtune.orchestrator.study import Study
    from auxtune.orchestrator.views.terminal import render_terminal

    if len(study_dirs) < 2:
        raise click.UsageError("expected the folders of two studies or more")
    found = compare_studies([read_answered(Study.from_folder(folder).file) for folder in study_dirs])
    if to is not None:
        try:
            write_page(comparison_page(found), to)
        except OSError as error:
            raise AuxtuneError(f"{to}: cannot be written: {error.strerror or error}; choose another file") from error
    if as_json:
        click.echo(json.dumps(found.as_json(), indent=2, ensure_ascii=False, allow_nan=False))
    else:
        Console().print(render_terminal(compare_tables(found)), overflow="ignore", crop=False)
