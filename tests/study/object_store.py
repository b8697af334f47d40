"""A real S3-compatible server in a process of its own, which answers 503 while a file is there."""

import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from uuid import uuid4

import boto3
import pytest

from tests.study.servers import free_port

_START_S = 300.0
_SERVER = """
import sys
from pathlib import Path
from moto.server import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import run_simple

port, switch = int(sys.argv[1]), Path(sys.argv[2])
store = DomainDispatcherApplication(create_backend_app)

def sometimes(environ, start_response):
    if not switch.exists():
        return store(environ, start_response)
    start_response("503 Service Unavailable", [("Content-Type", "application/xml")])
    return [b"<Error><Code>ServiceUnavailable</Code><Message>Please try again.</Message></Error>"]

run_simple("127.0.0.1", port, sometimes, threaded=True)
"""


class ObjectStore:
    """The server, with a bucket of its own for each test."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._port = free_port()
        self._switch = folder / "away"
        self._process: subprocess.Popen[bytes] | None = None
        self.endpoint = f"http://127.0.0.1:{self._port}"
        self.bucket = ""

    @property
    def environment(self) -> Mapping[str, str]:
        """How a process reaches it."""
        return {
            "AWS_ENDPOINT_URL": self.endpoint,
            "AWS_ACCESS_KEY_ID": "tester",
            "AWS_SECRET_ACCESS_KEY": "s3cret-of-tester",
            "AWS_REGION": "us-east-1",
        }

    @property
    def url(self) -> str:
        """What TRIALWRIGHT_STORE would be."""
        return f"s3://{self.bucket}/trialwright"

    def start(self) -> None:
        with (self._folder / "store.log").open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _SERVER, str(self._port), str(self._switch)],
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        give_up_at = time.monotonic() + _START_S
        while not self._answers():
            if time.monotonic() > give_up_at or self._process.poll() is not None:
                pytest.fail(f"the store did not start: {(self._folder / 'store.log').read_text()[-2000:]}")
            time.sleep(0.1)
        self.use_new_bucket()

    def use_new_bucket(self) -> None:
        self.bucket = f"bucket-{uuid4().hex[:8]}"
        self.client.create_bucket(Bucket=self.bucket)

    def stop(self) -> None:
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait(30)

    @property
    def client(self) -> "boto3.client":
        """A way to look at it, and to damage it, that is not ours."""
        return boto3.client(
            "s3",
            endpoint_url=self.endpoint,
            region_name="us-east-1",
            aws_access_key_id="tester",
            aws_secret_access_key=self.environment["AWS_SECRET_ACCESS_KEY"],
        )

    def objects(self, below: str = "") -> dict[str, int]:
        """Sizes of the objects by name; a store's marks of empty folders are none."""
        pages = self.client.get_paginator("list_objects_v2").paginate(Bucket=self.bucket)
        listed = [one for page in pages for one in page.get("Contents", [])]
        return {
            one["Key"]: one["Size"] for one in listed if below in one["Key"] and not one["Key"].endswith("/")
        }

    def cut(self, name: str, num_bytes: int) -> None:
        """Leave the beginning of an object only."""
        content = self.client.get_object(Bucket=self.bucket, Key=name)["Body"].read()
        self.client.put_object(Bucket=self.bucket, Key=name, Body=content[:num_bytes])

    def delete(self, name: str) -> None:
        self.client.delete_object(Bucket=self.bucket, Key=name)

    @contextmanager
    def away(self) -> Iterator[None]:
        """Every request is answered with 503 for the duration of a block."""
        self._switch.touch()
        try:
            yield
        finally:
            self._switch.unlink(missing_ok=True)

    def _answers(self) -> bool:
        try:
            with urllib.request.urlopen(self.endpoint, timeout=10) as reply:  # noqa: S310 (our own server)
                return bool(reply.status == 200)
        except OSError:
            return False


@contextmanager
def object_store(folder: Path) -> Iterator[ObjectStore]:
    """A server that runs for the duration of a block."""
    store = ObjectStore(folder)
    try:
        store.start()
        yield store
    finally:
        store.stop()
