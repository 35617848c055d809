"""Relative paths start where the documentation says, and nothing of a task is lost on the way to its reader."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from auxtune.orchestrator.study_file.paths import list_task_sources, locate_study, resolve_model, resolve_tracking_uri
from auxtune.orchestrator.study_file.reading import StudyFile, parse_study
from auxtune.trials.data.sources import TaskSource

TASKS = """\
study: paths
primary: a
tasks:
  a: {path: rows/a, metric: "f1, accuracy", rows: 9, splits: {probe: 5, validation: 0.2, test: r.csv}}
  b: {files: {train: b.tsv, test: /data/b.tsv}, text: [x, y], label: z, kind: regression}
  c: {hub: org/c, config: small, revision: abc, split: train, tokens: words, tags: labels, labels: [N, V]}
  d: {path: ~/d.parquet}
selector: random_subset
budget: {trials: 30}
"""


def study(folder: Path, *overrides: str) -> StudyFile:
    return parse_study(TASKS, "study.yaml", folder, overrides, working_folder=Path("/work-folder"))


def test_sources_say_all_that_the_file_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    home = Path("/studies")
    assert list_task_sources(study(home)) == [
        TaskSource(
            "a",
            path=home / "rows/a",
            metrics=("f1", "accuracy"),
            rows=9,
            splits={"probe": 5, "validation": 0.2, "test": home / "r.csv"},
        ),
        TaskSource(
            "b",
            files={"train": home / "b.tsv", "test": Path("/data/b.tsv")},
            text=("x", "y"),
            label="z",
            kind="regression",
        ),
        TaskSource(
            "c",
            hub="org/c",
            config="small",
            revision="abc",
            split="train",
            tokens="words",
            tags="labels",
            labels=("N", "V"),
        ),
        TaskSource("d", path=Path("/home/me/d.parquet")),
    ]


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("tiny", "tiny"),
        ("org/model", "org/model"),
        ("bert-base-cased", "bert-base-cased"),
        ("here", "{folder}/here"),
        ("./not-here", "{folder}/not-here"),
        ("../up", "{parent}/up"),
        ("/models/bert", "/models/bert"),
        ("~/bert", "/home/me/bert"),
        ("./tiny", "{folder}/tiny"),
    ],
)
def test_an_encoder_is_a_folder_where_one_is_meant(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, written: str, meant: str
) -> None:
    monkeypatch.setenv("HOME", "/home/me")
    for name in ("here", "tiny"):
        (tmp_path / name).mkdir()
    encoder = resolve_model(study(tmp_path, f"model.name={written}")).name
    assert encoder == meant.format(folder=tmp_path, parent=tmp_path.parent)


def test_model_options_carry_over() -> None:
    override = "model={layers: 3, max_length: 64, pooling: mean, trust_remote_code: true}"
    model = resolve_model(study(Path("/studies"), override))
    assert (model.layers, model.max_length, model.pooling, model.trust_remote_code) == (3, 64, "mean", True)


def test_storage_and_tracking_start_at_the_working_folder() -> None:
    here = study(Path("/studies"))
    assert locate_study(here) == Path("/work-folder/studies/paths")
    assert resolve_tracking_uri(here) == "sqlite:////work-folder/mlflow.db"
    assert locate_study(replace(here, working_folder=Path("/other"))) == Path("/other/studies/paths")


@pytest.mark.parametrize("uri", ["sqlite:////data/mlflow.db", "http://host:5000", "postgresql://host/mlflow"])
def test_what_is_absolute_stays(uri: str) -> None:
    assert resolve_tracking_uri(study(Path("/studies"), f"tracking.uri={uri}")) == uri
    assert locate_study(study(Path("/studies"), "storage=/data/studies")) == Path("/data/studies/paths")
