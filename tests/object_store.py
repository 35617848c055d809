"""A real S3 server on loopback (moto's), for tests, and studies whose storage it is."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from s3fs import S3FileSystem
from small_study import StudyRun

from auxtune.orchestrator.storage.object_path import ObjectPath

BUCKET = "bucket"
SERVER = "from moto.server import main; import sys; main(sys.argv[1:])"
HERE = {
    "AWS_ACCESS_KEY_ID": "me",
    "AWS_SECRET_ACCESS_KEY": "secret",
    "AWS_DEFAULT_REGION": "us-east-1",
    "AWS_EC2_METADATA_DISABLED": "true",
}


class S3Server:
    """A server process on a port of loopback, with one bucket; it may go away and come back, then empty."""

    def __init__(self) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.start()

    @property
    def environment(self) -> dict[str, str]:
        """What a client must have in its environment."""
        return {**HERE, "AWS_ENDPOINT_URL": f"http://127.0.0.1:{self.port}"}

    def start(self) -> None:
        """Start it and make the bucket."""
        import boto3

        command = [sys.executable, "-c", SERVER, "-H", "127.0.0.1", "-p", str(self.port)]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        end = time.monotonic() + 60
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                break
            except OSError:
                assert self.process.poll() is None and time.monotonic() < end, "the server did not start"
                time.sleep(0.1)
        client = boto3.client(
            "s3", endpoint_url=self.environment["AWS_ENDPOINT_URL"], region_name="us-east-1",
            aws_access_key_id="me", aws_secret_access_key="secret",
        )
        client.create_bucket(Bucket=BUCKET)

    def stop(self) -> None:
        """End it, with all that it held."""
        self.process.kill()
        self.process.wait()


@contextmanager
def s3_server() -> Iterator[S3Server]:
    """A server, and this process's environment pointing at it."""
    server = S3Server()
    former = {key: os.environ.get(key) for key in server.environment}
    os.environ.update(server.environment)
    S3FileSystem.clear_instance_cache()                # its clients know the address of a former one
    try:
        yield server
    finally:
        S3FileSystem.clear_instance_cache()
        server.stop()
        for key, value in former.items():
            os.environ.pop(key) if value is None else os.environ.update({key: value})


class StoredStudy(StudyRun):
    """The small study with its storage in the bucket."""

    storage = ObjectPath(f"s3://{BUCKET}/studies")

    @property
    def folder(self) -> Path:
        """``<storage>/<study>``."""
        return self.storage / "small"
