"""What goes along with a study that is submitted: its local files, under keys that name the copies, within bounds."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from auxtune.orchestrator.cluster import bundle as bundles
from auxtune.orchestrator.cluster.bundle import MANIFEST, pack, read_versions
from auxtune.orchestrator.cluster.entrypoint import _unpack_bundle
from auxtune.orchestrator.errors import AuxtuneError, StudyDataError
from auxtune.orchestrator.study_file.paths import resolve_model
from auxtune.orchestrator.study_file.reading import StudyFile, parse_study, read_study

STUDY = """
study: shipped
primary: tickets
tasks:
  tickets: {path: "${DATA}/tickets.csv", text: [a], label: b}
  folder: {path: folder}
  parts: {files: {train: train.csv, test: test.csv}, text: [a], label: b, splits: {probe: probe.csv}}
  mood: {builtin: mood}
selector: random_subset
earlier: log
budget: {trials: 4}
"""


@pytest.fixture
def study(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StudyFile:
    home = tmp_path / "home"
    for name in ("data/tickets.csv", "folder/train.jsonl", "train.csv", "test.csv", "probe.csv", "log/rows.csv"):
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(f"a,b\n{name},1\n")
    monkeypatch.setenv("DATA", str(home / "data"))
    (home / "study.yaml").write_text(STUDY)
    return read_study(home / "study.yaml", ["budget.trials=5"])


def packed(study: StudyFile, folder: Path) -> bundles.Bundle:
    folder.mkdir()
    return pack(study, folder)


def test_a_study_finds_its_files_in_the_bundle_and_nowhere_else(study: StudyFile, tmp_path: Path) -> None:
    bundle = packed(study, tmp_path / "bundle")
    manifest = json.loads((bundle.folder / MANIFEST).read_text())
    assert (bundle.folder / "study.yaml").read_text() == STUDY  # unexpanded, as it was written
    there = parse_study(STUDY, "there", bundle.folder, manifest["overrides"])
    assert there.options.budget.trials == 5
    tasks = there.options.tasks
    paths = [tasks["tickets"].path, tasks["parts"].files.train, tasks["parts"].files.test, tasks["parts"].splits.probe]
    names = ["data/tickets.csv", "train.csv", "test.csv", "probe.csv"]
    for path, name in zip(paths, names, strict=True):
        assert (bundle.folder / path).read_text() == f"a,b\n{name},1\n"
    assert (bundle.folder / tasks["folder"].path / "train.jsonl").exists()
    assert (bundle.folder / there.options.earlier[0].table / "rows.csv").exists()
    assert tasks["mood"].builtin == "mood"


def test_runs_made_elsewhere_go_along_with_what_is_said_of_them(study: StudyFile, tmp_path: Path) -> None:
    for folder in ("one", "two"):
        (study.folder / folder).mkdir()
        (study.folder / folder / "runs.csv").write_text(f"w:mood,y:loss\n1,{len(folder)}\n# {folder}\n")
    listed = "earlier=[log, {csv: one/runs.csv, target: loss, mode: min}, {csv: two/runs.csv}]"
    named = read_study(study.folder / "study.yaml", [listed])
    bundle = packed(named, tmp_path / "bundle")
    overrides = json.loads((bundle.folder / MANIFEST).read_text())["overrides"]
    table, first, second = parse_study(STUDY, "there", bundle.folder, overrides).options.earlier
    assert (bundle.folder / table.table / "rows.csv").exists()
    assert (first.target, first.mode, second.target, second.mode) == ("loss", "min", None, "max")
    for entry, folder in ((first, "one"), (second, "two")):
        assert (bundle.folder / entry.csv).read_text().endswith(f"# {folder}\n")
    (study.folder / "two" / "runs.csv").write_text("w:mood,y:loss\n1,5\n")
    assert packed(named, tmp_path / "again").digest != bundle.digest
    (study.folder / "one" / "runs.csv").unlink()
    with pytest.raises(StudyDataError, match=r"earlier\.1: expected a file or folder, found nothing at .*one/runs.csv"):
        packed(named, tmp_path / "missing")


def test_an_encoder_goes_along_if_it_is_a_folder_and_not_if_it_is_in_a_package(
    study: StudyFile, tmp_path: Path
) -> None:
    (study.folder / "encoder").mkdir()
    (study.folder / "encoder" / "config.json").write_text("{}")
    named = read_study(study.folder / "study.yaml", ["model.name=encoder"])
    bundle = packed(named, tmp_path / "bundle")
    manifest = json.loads((bundle.folder / MANIFEST).read_text())
    there = parse_study(STUDY, "there", bundle.folder, manifest["overrides"])
    assert (Path(resolve_model(there).name) / "config.json").is_relative_to(bundle.folder)
    assert (Path(resolve_model(there).name) / "config.json").is_file()

    packaged = read_study(study.folder / "study.yaml", ["model.name=package:some/encoder"])
    assert not (packed(packaged, tmp_path / "other").folder / "files" / "encoder").exists()


def test_the_digest_follows_content_overrides_and_nothing_else(study: StudyFile, tmp_path: Path) -> None:
    first, again = packed(study, tmp_path / "1"), packed(study, tmp_path / "2")
    assert first.digest == again.digest
    (study.folder / "test.csv").write_text("a,b\nother,1\n")
    assert packed(study, tmp_path / "3").digest != first.digest


def test_what_is_too_large_or_missing_is_refused_with_a_way_out(study: StudyFile, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(bundles, "MOST", 50)
    with pytest.raises(StudyDataError, match=r"at most 0 MiB can be sent .* --no-ship"):
        packed(study, tmp_path / "1")
    (study.folder / "train.csv").unlink()
    with pytest.raises(StudyDataError, match=r"tasks\.parts\.files\.train: expected a file or folder, .* --no-ship"):
        packed(study, tmp_path / "2")
    (tmp_path / "3").mkdir()
    bare = pack(study, tmp_path / "3", ship=False)
    assert (bare.size, len(list(bare.folder.iterdir()))) == (0, 2)


def test_it_is_unpacked_where_the_next_job_finds_it(study: StudyFile, tmp_path: Path) -> None:
    home, bundle = tmp_path / "there", packed(study, tmp_path / "bundle")
    home.mkdir()
    command = _unpack_bundle(bundle.folder, home)
    kept = home / "submitted" / "shipped"
    assert command[:2] == ["run", str(kept / "study.yaml")]
    assert command[-2:] == ["--address", "auto"]
    (kept / "files" / "mark").write_text("as it was")
    _unpack_bundle(bundle.folder, home)
    assert (kept / "files" / "mark").exists()
    (study.folder / "test.csv").write_text("a,b\nother,1\n")
    _unpack_bundle(packed(study, tmp_path / "other").folder, home)
    assert not (kept / "files" / "mark").exists()


def test_other_versions_there_are_refused(study: StudyFile, tmp_path: Path) -> None:
    bundle = packed(study, tmp_path / "bundle")
    manifest = json.loads((bundle.folder / MANIFEST).read_text())
    assert manifest["versions"] == read_versions()
    manifest["versions"]["ray"] = "1.0.0"
    (bundle.folder / MANIFEST).write_text(json.dumps(manifest))
    with pytest.raises(AuxtuneError, match=r"ray is .* here and 1\.0\.0 where the study was submitted"):
        _unpack_bundle(bundle.folder, tmp_path)
    assert read_versions()["python"] == f"{sys.version_info[0]}.{sys.version_info[1]}"
