"""Cleaning a study: what goes, what stays whatever happens, and who may not be disturbed."""

from __future__ import annotations

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result
from written_study import start_driver, written_study

from auxtune.orchestrator import cli


def clean(folder: Path, *arguments: str, answer: str | None = None) -> Result:
    return CliRunner().invoke(cli.main, ["clean", str(folder), *arguments], input=answer)


def files(folder: Path) -> set[str]:
    """Every file below ``folder``, links not followed."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}


@pytest.fixture
def study(tmp_path: Path) -> Path:
    return written_study(tmp_path / "small")


SCRATCH = {"tune/first/scratch"}
OF_ENDED = {"trials/0000/2/checkpoint/model", "trials/0001/1/checkpoint/model"}
SUPERSEDED = {
    f"trials/0000/1/{name}"
    for name in ("metrics.jsonl", "predictions.npz", "alive", "checkpoint/model", "weights/model")
}


def test_what_an_unfinished_study_may_need_stays(study: Path) -> None:
    before = files(study)
    result = clean(study, "--yes")
    assert result.exit_code == 0, result.output
    assert before - files(study) == SCRATCH | OF_ENDED | SUPERSEDED
    assert {"trials/0002/1/checkpoint/model", "trials/0000/2/weights/model", "trials/0000/1/log.txt"} < files(study)


def test_of_a_study_that_is_done_only_the_weights_stay(tmp_path: Path) -> None:
    study = written_study(tmp_path / "small", "done")
    before = files(study)
    assert clean(study, "--yes").exit_code == 0
    assert before - files(study) == SCRATCH | OF_ENDED | SUPERSEDED | {"trials/0002/1/checkpoint/model"}
    assert "nothing to delete" in clean(study).stdout


@pytest.mark.parametrize(("arguments", "answer", "code"), [((), "n\n", 0), ((), "", 2), (("--json",), None, 0)])
def test_nothing_goes_without_a_yes(study: Path, arguments: tuple[str, ...], answer: str | None, code: int) -> None:
    before = files(study)
    result = clean(study, *arguments, answer=answer)
    assert result.exit_code == code and files(study) == before


def test_sizes_are_shown_before_the_question_and_a_yes_deletes(study: Path) -> None:
    (study / "tune" / "first" / "scratch").write_text("x" * 2_500_000)
    result = clean(study, answer="y\n")
    assert "Ray's scratch               2.5 MB  tune" in result.stdout
    assert result.exit_code == 0 and not (study / "tune").exists()


def test_json_names_every_path_with_its_bytes(study: Path) -> None:
    shown = json.loads(clean(study, "--yes", "--json").stdout)
    sizes = {str(Path(each["path"]).relative_to(study)): each["bytes"] for each in shown["paths"]}
    assert shown["deleted"] is True and sizes["tune"] == 5000 and shown["bytes"] == sum(sizes.values())
    assert not any(Path(each["path"]).exists() for each in shown["paths"])


def test_while_it_asks_no_driver_can_begin(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    signs = []

    def asked(question: str) -> bool:
        signs.append((study / "heartbeat.json").exists())
        return False

    monkeypatch.setattr("click.confirm", asked)
    assert clean(study).exit_code == 0
    assert signs == [True] and not (study / "heartbeat.json").exists()


def test_while_a_driver_is_alive_nothing_is_deleted(study: Path) -> None:
    driver = start_driver(study)
    before = files(study)
    result = clean(study, "--yes")
    assert result.exit_code == 4 and f"process {driver.pid}" in result.stderr
    assert before - files(study) == set()
    driver.kill()
    driver.communicate()
    assert clean(study, "--yes").exit_code == 0 and not (study / "tune").exists()


def test_evidence_that_another_study_may_have_begun_to_use_meanwhile_stays(
    study: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    evidence = tmp_path / ".evidence" / "key"
    evidence.mkdir(parents=True)
    (evidence / "evidence.json").write_text("{}")
    drivers = []

    def begins_meanwhile(*_: object) -> bool:
        drivers.append(start_driver(written_study(tmp_path / "other")))
        return True

    monkeypatch.setattr(click, "confirm", begins_meanwhile)
    shown = clean(study)
    assert shown.exit_code == 0 and "stale evidence" in shown.stdout
    drivers[0].kill()
    drivers[0].communicate()
    assert evidence.is_dir() and not (study / "tune").exists()
    assert clean(study, "--yes").exit_code == 0 and not evidence.exists()


def test_no_link_is_followed_nor_anything_deleted_behind_one(study: Path, tmp_path: Path) -> None:
    outside = tmp_path / "outside"
    for name in ("tune", "trials/0000", "trials/0001/1/checkpoint"):
        place = outside / name
        place.parent.mkdir(parents=True, exist_ok=True)
        (study / name).rename(place)
        (study / name).symlink_to(place)
    before = files(outside)
    assert len(before) > 5
    assert "nothing to delete" in clean(study, "--yes").stdout
    assert files(outside) == before and (study / "tune").is_symlink()


def test_a_link_inside_what_goes_does_not_take_its_target_along(study: Path, tmp_path: Path) -> None:
    target = tmp_path / "precious"
    target.mkdir()
    (target / "file").write_text("y" * 100_000)
    (study / "tune" / "link").symlink_to(target)
    (study / "tune" / "file").symlink_to(target / "file")
    shown = json.loads(clean(study, "--yes", "--json").stdout)
    assert not (study / "tune").exists() and (target / "file").exists()
    assert next(each["bytes"] for each in shown["paths"] if each["path"].endswith("tune")) < 10_000


def test_a_folder_without_a_study_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "tune").mkdir()
    result = clean(tmp_path, "--yes")
    assert result.exit_code == 2 and "expected the folder of a study" in result.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["tune"]
