"""What the product asks of a store, of a folder and of an object store alike."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from object_store import BUCKET, S3Server, s3_server

from auxtune.orchestrator.storage.protocol import StoredPath
from auxtune.orchestrator.storage.stores import is_local, parse_path, store_of


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture(params=["local", "s3"])
def home(request: pytest.FixtureRequest, tmp_path: Path) -> StoredPath:
    """A folder in which nothing lies yet, on this machine and in an object store."""
    if request.param == "local":
        return parse_path(str(tmp_path / "studies"))
    request.getfixturevalue("server")
    return parse_path(f"s3://{BUCKET}/{uuid.uuid4().hex}")


def test_a_name_is_created_once_and_replaced_whole(home: StoredPath) -> None:
    store, path = store_of(home), home / "deep" / "a"
    assert store.create(path, b"first") and not store.create(path, b"second")
    assert path.read_bytes() == b"first"
    with pytest.raises(RuntimeError):
        store.replace(path, _write_half)
    assert path.read_bytes() == b"first"
    store.replace(path, lambda file: file.write(b"third"))
    store.replace_text(home / "deep" / "b", "β")
    assert path.read_bytes() == b"third" and (home / "deep" / "b").read_text(encoding="utf-8") == "β"
    assert store.measure_size(home) == 7 and store.measure_size(path) == 5
    assert {read: content for read, content in store.prefetch([path]).items() if content != b"third"} == {}
    store.delete(path)
    store.delete(path)
    store.delete(home)
    assert not home.exists()


def test_a_folder_is_published_once_and_fetched_whole(home: StoredPath) -> None:
    store, target = store_of(home), home / "key"
    assert store.find_published(target) is None
    assert [_publish(home, text, is_usable) for text, is_usable in (("1", False), ("2", True), ("3", False))] == [
        True,
        False,
        True,
    ]
    published = store.find_published(target)
    assert published is not None
    with store.fetch(published) as folder:
        assert (folder / "file").read_text() == "3"
    assert not [path for path in home.iterdir() if path.name.startswith(".draft")], "no draft is left"


def test_files_of_a_working_folder_come_to_the_store(home: StoredPath) -> None:
    store, target = store_of(home), home / "attempt"
    target.mkdir(parents=True, exist_ok=True)
    with store.open_working_folder(target, "test-") as folder:
        (folder / "file").write_text("1")
        store.put_file(folder / "file", target / "file")
    assert (target / "file").read_text() == "1"
    assert folder.exists() == is_local(home)


def _write_half(file: object) -> None:
    raise RuntimeError("half of it")


def _publish(home: StoredPath, text: str, is_usable: bool) -> bool:
    store = store_of(home)
    with store.open_draft(home, f".draft.{text}") as draft:
        (draft / "file").write_text(text)
        return store.publish(draft, home / "key", lambda: is_usable, lambda: home / f".damaged.{text}")
