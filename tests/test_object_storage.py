"""Storage in an object store, against a real S3 server on loopback: paths, fences, whole folders, silence."""

from __future__ import annotations

import json
import os
import pickle
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import gcsfs
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from object_store import BUCKET, S3Server, s3_server
from s3fs import S3FileSystem
from storage_proxy import storage_proxy
from synthetic_tasks import TASKS
from written_study import opened, written_study

from auxtune.orchestrator import cli
from auxtune.orchestrator.cluster import node_probe
from auxtune.orchestrator.errors import LedgerError, Locked, StorageError
from auxtune.orchestrator.planning.probe_texts import ProbeTexts, read_texts
from auxtune.orchestrator.record.driver import Heartbeat, find_active_driver
from auxtune.orchestrator.record.ledger import RANGE, Ledger, Segments, read_events
from auxtune.orchestrator.record.results import EVIDENCE, Entry, EvidenceStore
from auxtune.orchestrator.storage.object_path import ObjectPath, survive_silence
from auxtune.orchestrator.storage.object_store import POINTER, ObjectStore
from auxtune.orchestrator.storage.stores import is_local, parse_path, store_of
from auxtune.trials.checkpoint import read_checkpoint, write_checkpoint
from auxtune.trials.probes.hidden_states import choose_shared_texts
from auxtune.trials.result import Cost


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as server:
        yield server


@pytest.fixture
def home(server: S3Server, request: pytest.FixtureRequest) -> ObjectPath:
    """A folder of the bucket that no other test uses."""
    return ObjectPath(f"s3://{BUCKET}/{abs(hash(request.node.name))}")


def entry(maker: str) -> Entry:
    return Entry("hidden_states", "run", ("a",), maker, 3, Cost(1.0, 0.0, 1.0), 0.5, {"a": {"accuracy": 0.5}})


def test_a_place_in_a_store_reads_like_a_path() -> None:
    path = parse_path("s3://bucket/studies/")
    assert not is_local(path) and str(path / "a" / "ledger") == "s3://bucket/studies/a/ledger"
    assert str((path / "a").parent) == "s3://bucket/studies" and (path / "a.json").name == "a.json"
    assert path.resolve() == path == path.absolute()
    copy = pickle.loads(pickle.dumps(path / "a"))
    assert type(copy) is ObjectPath and copy == path / "a" and str(copy) == "s3://bucket/studies/a"
    assert sorted([path / "b", path / "a"]) == [path / "a", path / "b"] and len({path, copy.parent}) == 1
    assert parse_path("studies") == Path("studies") and is_local(parse_path("/s3:/x"))


def test_what_would_take_it_for_a_file_of_this_machine_is_refused() -> None:
    path = ObjectPath("s3://bucket/x")
    for attempt in (os.fspath, np.load, Path, open):
        with pytest.raises(TypeError, match="ObjectPath"):
            attempt(path)
    assert not {"rename", "touch", "link_to", "symlink_to"} & {*dir(path)}
    with pytest.raises(ValueError, match="mode 'a'"):
        path.open("a")  # type: ignore[call-overload]


def test_files_and_folders(home: ObjectPath) -> None:
    store = store_of(home)
    assert not home.exists() and not home.is_dir() and list(home.glob("*")) == []
    with pytest.raises(FileNotFoundError):
        (home / "a").read_bytes()
    with pytest.raises(FileNotFoundError):
        list(home.iterdir())
    before = time.time()
    store.replace(home / "deep" / "a.txt", lambda file: file.write("α\nβ\n".encode()))
    (home / "b").write_text("1")
    (home / "b").write_text("22")
    assert home.is_dir() and (home / "deep").is_dir() and not (home / "b").is_dir() and (home / "b").is_file()
    assert sorted(path.name for path in home.iterdir()) == ["b", "deep"] and store.measure_size(home) == 8
    with (home / "deep" / "a.txt").open(encoding="utf-8") as file:
        assert file.readlines() == ["α\n", "β\n"]
    for path in (home / "b", home, home / "deep"):
        assert before - 2 <= path.stat().st_mtime <= time.time() + 2
    assert (home / "b").stat().st_size == 2
    (home / "b").unlink()
    (home / "b").unlink(missing_ok=True)
    store.delete(home)
    store.delete(home)
    assert not home.exists()


def test_of_many_who_create_a_name_one_does_and_that_stays(home: ObjectPath) -> None:
    with ThreadPoolExecutor(8) as pool:
        won = list(pool.map(lambda number: store_of(home).create(home / "name", str(number).encode()), range(8)))
    assert won.count(True) == 1 and (home / "name").read_bytes() == str(won.index(True)).encode()


def test_what_was_created_though_the_reply_was_lost_is_known_as_our_own(home: ObjectPath) -> None:
    store = store_of(home)
    assert store.create(home / "name", b"mine") and store.create(home / "name", b"mine")
    assert not store.create(home / "name", b"another's")


def test_a_missing_bucket_is_named() -> None:
    with pytest.raises(StorageError, match="no bucket nowhere-here; make it"):
        (ObjectPath("s3://nowhere-here") / "x").write_text("1")


def test_segments_are_read_in_order_and_merged(home: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("auxtune.orchestrator.record.ledger.RANGE", 4)
    segments = Segments(home)
    for number in range(1, 11):
        assert segments.create(number, b"%d\n" % number)
    assert not segments.create(7, b"other\n")
    read = list(Segments(home).lines())
    assert [int(line) for _, line in read] == list(range(1, 11))
    assert [path.name for path, _ in read[3:5]] == ["00000001-00000004.jsonl", "00000005-00000008.jsonl"]
    assert RANGE == 500


def test_a_takeover_fences_the_former_writer(home: ObjectPath) -> None:
    first = Ledger(home / "ledger", opened("first"))
    second = Ledger(home / "ledger", opened("second"))
    first.append(opened("late"))
    with pytest.raises(Locked, match="session second"):
        first.flush()
    second.close("done")
    assert [getattr(event, "session", None) for event in read_events(home / "ledger")] == ["first", "second", "second"]


def test_a_heartbeat_keeps_a_second_driver_away(home: ObjectPath, monkeypatch: pytest.MonkeyPatch) -> None:
    with Heartbeat(home, "one"):
        assert (home / "heartbeat.json").is_file()
        monkeypatch.setattr("os.getpid", lambda: 1)  # whoever asks is another process
        sign = find_active_driver(home)
        assert sign is not None and sign.session == "one"
        with pytest.raises(Locked, match=f"auxtune stop {home}"), Heartbeat(home, "two"):
            pass
        monkeypatch.undo()
    assert find_active_driver(home) is None and not home.exists()


def test_a_folder_is_there_with_its_pointer_and_not_before(home: ObjectPath, tmp_path: Path) -> None:
    store = ObjectStore()
    (tmp_path / "deep").mkdir()
    (tmp_path / "deep" / "file").write_text("1")
    store.upload(tmp_path, home / "half-done")
    assert store.find_published(home) is None
    assert store.publish(tmp_path, home, lambda: False, lambda: home)
    (tmp_path / "deep" / "file").write_text("2")
    assert not store.publish(tmp_path, home, lambda: True, lambda: home), "what is there and of use stays"
    found = store.find_published(home)
    assert found is not None
    with store.fetch(found) as copy:
        assert (copy / "deep" / "file").read_text() == "1"
    assert not copy.exists()
    assert sorted(path.name for path in home.iterdir()) == sorted([POINTER, found.name, "half-done"])
    assert store.publish(tmp_path, home, lambda: False, lambda: home), "what is of no use gives way"
    again = store.find_published(home)
    assert again is not None and again != found and (again / "deep" / "file").read_text() == "2"
    with store.fetch(home / "nothing") as copy:
        assert list(copy.iterdir()) == []


def test_evidence_is_kept_once_and_checked(home: ObjectPath) -> None:
    store = EvidenceStore(home)
    arrays = {"x": np.arange(6.0).reshape(2, 3)}
    assert store.find("key") is None and list(store) == []
    start = threading.Barrier(4)

    def measured(number: int) -> bool:
        start.wait()
        return store.create("key", entry(f"study {number}"), {"x": arrays["x"] + number})

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(measured, range(4)))
    assert won.count(True) == 1
    found = store.find("key")
    assert found is not None and found.study == f"study {won.index(True)}", "one's entry with another's arrays"
    assert (store.arrays("key")["x"] == arrays["x"] + won.index(True)).all()
    assert list(store) == ["key"]
    folder = store_of(home).find_published(home / EVIDENCE / "key")
    assert folder is not None
    (folder / "arrays.npz").write_bytes(b"damaged")
    assert store.find("key") is None
    assert store.create("key", entry("later 1"), arrays)
    assert (store.arrays("key")["x"] == arrays["x"]).all()


@pytest.fixture
def nobody(server: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[pytest.MonkeyPatch]:
    """From here on nobody listens at the endpoint; undone, the server does again."""
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    S3FileSystem.clear_instance_cache()
    yield monkeypatch
    monkeypatch.undo()
    S3FileSystem.clear_instance_cache()


def test_a_store_that_cannot_be_reached_is_not_an_empty_one(nobody: pytest.MonkeyPatch) -> None:
    home = ObjectPath(f"s3://{BUCKET}/unreached")
    for question in (
        lambda: EvidenceStore(home).find("key"),
        lambda: find_active_driver(home),
        lambda: read_events(home / "ledger"),
        lambda: home.is_file(),
    ):
        with pytest.raises(StorageError, match=r"s3://bucket/unreached.*cannot be used.*endpoint"):
            question()


def test_events_that_could_not_be_written_are_kept(server: S3Server, nobody: pytest.MonkeyPatch) -> None:
    home = ObjectPath(f"s3://{BUCKET}/kept/ledger")
    nobody.setenv("AWS_ENDPOINT_URL", server.environment["AWS_ENDPOINT_URL"])
    ledger = Ledger(home, opened("first"))
    nobody.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    S3FileSystem.clear_instance_cache()
    ledger.append(opened("kept"))
    with pytest.raises(LedgerError, match=r"cannot be written.*Could not connect"):
        ledger.flush()
    nobody.setenv("AWS_ENDPOINT_URL", server.environment["AWS_ENDPOINT_URL"])
    S3FileSystem.clear_instance_cache()
    ledger.flush()
    assert [getattr(event, "session", None) for event in read_events(home)] == ["first", "kept"]


def test_of_a_ledger_whose_replies_are_lost_each_event_is_there_once(
    server: S3Server, home: ObjectPath, monkeypatch: pytest.MonkeyPatch
) -> None:
    with storage_proxy(server.port) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.endpoint)
        S3FileSystem.clear_instance_cache()
        proxy.lost_share = 0.3
        ledger = Ledger(home / "ledger", opened("0"))
        for number in range(1, 6):
            ledger.append(opened(str(number)))
            ledger.flush()
        monkeypatch.undo()
    S3FileSystem.clear_instance_cache()
    assert proxy.came["lost"] > 0
    assert [getattr(event, "session", None) for event in read_events(home / "ledger")] == [*"012345"]


def test_patience_outlasts_a_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that goes away and comes back: whoever is patient does not notice."""
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    with s3_server() as server:
        path = ObjectPath(f"s3://{BUCKET}/x")
        path.write_text("1")
        server.stop()
        back = threading.Timer(4.0, server.start)
        back.start()
        with pytest.raises(StorageError):
            path.read_text()
        with survive_silence():
            assert not store_of(path).create(path, b"2")
        back.join()
        assert path.read_text() == "1"


def test_patience_ends(nobody: pytest.MonkeyPatch) -> None:
    nobody.setenv("AUXTUNE_STORAGE_PATIENCE", "1")
    with pytest.raises(StorageError), survive_silence():
        ObjectPath(f"s3://{BUCKET}/x").write_text("1")


def test_doctor_finds_a_store_that_does_not_refuse_what_is_there(
    server: S3Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Some services that speak S3 ignore the condition: then nothing would keep two drivers apart."""
    place = f"s3://{BUCKET}/doctor"
    assert node_probe.write(place, "one") == {"error": None}
    assert node_probe.read(place, ["one", "two"]) == ["one"]
    node_probe.remove(place, "one")
    assert node_probe.read(place, ["one"]) == []
    whole_put = S3FileSystem.pipe_file

    def heedless(store: S3FileSystem, path: str, value: bytes, mode: str) -> None:
        whole_put(store, path, value)

    monkeypatch.setattr(S3FileSystem, "pipe_file", heedless)
    assert "two drivers" in node_probe.write(place, "two")["error"]


def test_commands_take_a_place_in_a_store_for_a_folder(home: ObjectPath) -> None:
    def said(*arguments: str) -> str:
        result = CliRunner().invoke(cli.main, list(arguments))
        assert result.exit_code == 0, result.output
        return result.output

    study = written_study(home / "small")
    store = EvidenceStore(home)
    assert store.create("unnamed", entry("gone"), {"x": np.zeros(3)})
    [row] = json.loads(said("list", str(home), "--json"))
    assert (row["study"], row["state"], row["folder"]) == ("small", "interrupted", f"{home}/small")
    assert "ValueError: no such word" in said("show", str(study), "1")
    assert "small: nothing is running" in said("stop", str(study))
    found = json.loads(said("clean", str(study), "--json"))
    assert not found["deleted"] and {each["kind"] for each in found["paths"]} == {
        "Ray's scratch",
        "checkpoints",
        "superseded attempts",
        "stale evidence",
    }
    assert said("clean", str(study), "--yes").count("../.evidence/unnamed") == 1
    assert "nothing to delete" in said("clean", str(study)) and list(store) == []
    assert not (study / "trials" / "0000" / "2" / "checkpoint").exists()
    assert (study / "trials" / "0000" / "2" / "result.json").is_file()
    assert (study / "trials" / "0002" / "1" / "checkpoint" / "model").is_file(), "trial 2 has no outcome yet"


def test_weights_and_shared_texts_come_back_as_they_were(home: ObjectPath) -> None:
    store = EvidenceStore(home)
    tensors = {"encoder.weight": torch.arange(6.0).reshape(2, 3)}
    assert store.weights("run") is None
    assert store.create("run", entry("small 1"), None, lambda folder: write_checkpoint(folder, tensors, {"tasks": []}))
    kept = store.weights("run")
    assert kept is not None
    with store_of(kept).fetch(kept) as folder:
        read, document = read_checkpoint(folder)
    assert torch.equal(read["encoder.weight"], tensors["encoder.weight"]) and document == {"tasks": []}

    two = {name: TASKS[name] for name in ("sign", "share.of")}
    first = ProbeTexts(home, two, "one").folder
    assert first == home / ".texts" / choose_shared_texts(two).digest
    assert read_texts(first).digest == first.name
    assert ProbeTexts(home, TASKS, "one").folder == first, "a new candidate changes nothing"


def test_the_other_store_is_asked_the_same_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """No GCS server is at hand; that one cannot be reached must not look as if there were nothing."""
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "http://127.0.0.1:9")
    monkeypatch.setattr(gcsfs.retry.asyncio, "sleep", _no_sleep)
    path = parse_path("gs://bucket/studies")
    for question in (path.is_dir, path.exists, lambda: read_events(path / "ledger")):
        with pytest.raises(StorageError, match=r"gs://bucket/studies.*Cannot connect to host 127.0.0.1:9"):
            question()


async def _no_sleep(seconds: float) -> None:
    """Between gcsfs's own attempts, of which the last waits half a minute."""
