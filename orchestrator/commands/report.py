"""``auxtune report``: the page of a study."""

from __future__ import annotations

import json
from pathlib import Path

import click

from auxtune.orchestrator.commands.place import StudyPlace
from auxtune.orchestrator.storage.protocol import StoredPath


@click.command("report", epilog="Example: auxtune report studies/quickstart --to quickstart.html")
@click.argument("study_dir", type=StudyPlace())
@click.option("--to", type=click.Path(path_type=Path), metavar="FILE", help="Write it there, not into the study.")
@click.option("--json", "as_json", is_flag=True, help="Print the page's text and numbers as one object; write no file.")
def command(study_dir: StoredPath, to: Path | None, as_json: bool) -> None:
    """Write the page of the study in the folder STUDY_DIR, report.html beside its selection.json.

    One file for a browser, to read, to send or to print: the answer, its controls, how the selector got there, what it
    cost, how to do it again. It can be written at any time, also of a study that is running, was interrupted or failed:
    then it says what is known so far. Reads the ledger and the evidence, neither the tasks' data nor the encoder.
    """
    from auxtune.orchestrator.errors import AuxtuneError
    from auxtune.orchestrator.report.material import read_material
    from auxtune.orchestrator.report.study_page import FILE, study_page, write_page
    from auxtune.orchestrator.study import Study

    if as_json and to is not None:
        raise click.UsageError("expected either --to or --json, found both: --json writes no file")
    study = Study.from_folder(study_dir)
    material = read_material(study.folder, study.file)
    page = study_page(material)
    if as_json:
        told = {"study": study.file.options.study, "state": material.state, **page.as_json()}
        click.echo(json.dumps(told, indent=2, ensure_ascii=False))
        return
    path = to or study.folder / FILE
    try:
        write_page(page, path)
    except OSError as error:
        reason = error.strerror or error
        raise AuxtuneError(f"{path}: cannot be written: {reason}; choose another file with --to") from error
    click.echo(f"{path}")
