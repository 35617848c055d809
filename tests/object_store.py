"""A real S3 server on loopback (moto's), for tests, and studies whose storage it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from unittest.mock import patch

import boto3
from s3fs import S3FileSystem
from small_study import STUDY, Process, StudyRun, small_study

from auxtune.orchestrator.storage.object_path import ObjectPath

BUCKET = "bucket"
# On a line of input, it closes its port or opens it again; stored objects stay.
SERVER = """
import sys
from moto.server import ThreadedMotoServer

for line in sys.stdin:
    if line == "stop\\n":
        server.stop()
    else:
        server = ThreadedMotoServer("127.0.0.1", int(sys.argv[1]), verbose=False)
        server.start()
    print("done", flush=True)
"""
HERE = {
    "AWS_ACCESS_KEY_ID": "me",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class S3Server:
    """A server process on a port of loopback, with one bucket; it may fall silent and come back."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._process = subprocess.Popen(
            [sys.executable, "-c", SERVER, str(self.port)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.start()
        self.client().create_bucket(Bucket=BUCKET)

    @property
    def environment(self) -> dict[str, str]:
        """The environment that a client needs."""
        return {**HERE, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}

    def client(self) -> Any:
        """Amazon's own client."""
        return boto3.client(
            "s3",
            endpoint_url=self.environment["AWS_ENDPOINT_URL"],
            region_name="us-east-1",
            aws_access_key_id="me",
            aws_secret_access_key="secret",
        )

    def start(self) -> None:
        """Accept connections."""
        self._tell("start")

    def stop(self) -> None:
        """Refuse connections."""
        self._tell("stop")

    def empty(self) -> None:
        """Forget all that was stored."""
        client = self.client()
        for page in client.get_paginator("list_objects_v2").paginate(Bucket=BUCKET):
            for each in page.get("Contents", ()):
                client.delete_object(Bucket=BUCKET, Key=each["Key"])
        S3FileSystem.clear_instance_cache()  # they remember what was in a folder

    def end(self) -> None:
        """End the process, and forget all that was stored."""
        self._process.kill()
        self._process.communicate()

    def _tell(self, word: str) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{word}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server, and this process's environment pointing at it."""
    server = S3Server()
    former = {key: os.environ.get(key) for key in server.environment}
    os.environ.update(server.environment)
    S3FileSystem.clear_instance_cache()  # cached clients keep the address of an earlier server
    try:
        yield server
    finally:
        S3FileSystem.clear_instance_cache()
        server.end()
        for key, value in former.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


STORAGE = f"s3://{BUCKET}/studies"
STORED = f"{STUDY}storage: {STORAGE}\n"


@dataclass
class StoredStudy(StudyRun):
    """The small study with its storage in the bucket."""

    storage: str = STORAGE
    endpoint: str | None = None
    """Where its commands reach the store, if not where this process does."""

    @property
    def folder(self) -> Path:
        """``<storage>/<study>``."""
        return ObjectPath(f"{self.storage}/small")

    def start(self, *arguments: str) -> Process:
        """``auxtune ARGUMENTS`` in the background."""
        with patch.dict(os.environ, {} if self.endpoint is None else {"AWS_ENDPOINT_URL": self.endpoint}):
            return super().start(*arguments)


def stored_study(home: Path, storage: str = STORAGE, endpoint: str | None = None) -> StoredStudy:
    """The small study's file and tasks in a folder, and the rest in the bucket."""
    small_study(home)
    (home / "study.yaml").write_text(STORED.replace(STORAGE, storage))
    return StoredStudy(home, storage, endpoint)
