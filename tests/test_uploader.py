"""What a worker makes comes to an object store: what changed, the report last, and a silence ends no training."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import BUCKET, S3Server, s3_server
from s3fs import S3FileSystem

from auxtune.orchestrator.engine import trainable
from auxtune.orchestrator.engine.trainable import AttemptUploader
from auxtune.orchestrator.errors import StorageError
from auxtune.orchestrator.storage.object_path import ObjectPath

HOME = ObjectPath(f"s3://{BUCKET}/studies/small/trials/0000/1")


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with s3_server() as server:
        yield server


@pytest.fixture
def puts(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are put, as they are."""
    names: list[str] = []
    put = S3FileSystem.put_file

    def noted(store: S3FileSystem, local: str, remote: str) -> None:
        put(store, local, remote)
        names.append(remote.removeprefix(f"{HOME.key}/"))

    monkeypatch.setattr(S3FileSystem, "put_file", noted)
    return names


def test_a_folder_of_this_machine_is_filled_where_it_is(tmp_path: Path) -> None:
    box = AttemptUploader(tmp_path / "attempt")
    assert box.folder == tmp_path / "attempt"
    box.publish()
    box.publish_all()
    box.close()
    assert list(tmp_path.iterdir()) == []


def test_what_changed_is_put_and_the_report_after_all_else(puts: list[str]) -> None:
    box = AttemptUploader(HOME)
    (box.folder / "checkpoint").mkdir()
    for name in ("result.json", "metrics.jsonl", "checkpoint/model", "alive", ".result.json"):
        (box.folder / name).write_text(name)
    box.publish()
    assert sorted(puts[:3]) == ["alive", "checkpoint/model", "metrics.jsonl"] and puts[3:] == ["result.json"]
    box.publish()
    assert len(puts) == 4
    with (box.folder / "metrics.jsonl").open("a") as file:
        file.write(", grown")
    (box.folder / "draft").write_text("checkpoint/modem")  # as long as what it replaces
    (box.folder / "draft").replace(box.folder / "checkpoint" / "model")
    box.publish()
    assert sorted(puts[4:]) == ["checkpoint/model", "metrics.jsonl"]
    assert (HOME / "metrics.jsonl").read_text() == "metrics.jsonl, grown"
    assert (HOME / "checkpoint" / "model").read_text() == "checkpoint/modem"
    folder = box.folder
    box.close()
    assert not folder.exists() and (HOME / "result.json").is_file()


def test_a_silent_store_ends_no_training_until_it_was_silent_for_long(
    server: S3Server, puts: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trainable, "PAUSE", 0.0)
    box = AttemptUploader(HOME)
    (box.folder / "alive").write_text("1")
    server.stop()
    box.publish()
    assert puts == []
    server.start()
    box.publish()
    assert puts == ["alive"]
    (box.folder / "alive").write_text("22")
    server.stop()
    monkeypatch.setenv("AUXTUNE_STORAGE_PATIENCE", "0")
    with pytest.raises(StorageError, match="Could not connect"):
        box.publish()
    with pytest.raises(StorageError, match="Could not connect"):
        box.publish_all()


def test_what_is_refused_for_good_is_said_at_once(server: S3Server) -> None:
    box = AttemptUploader(ObjectPath("s3://nobodys-bucket/studies/small/trials/0000/1"))
    (box.folder / "alive").write_text("1")
    with pytest.raises(StorageError, match="no bucket nobodys-bucket"):
        box.publish()
