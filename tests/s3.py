"""A store that speaks S3, for tests: moto's server in this process, which may go away and come back."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import boto3
import pytest
from moto.server import ThreadedMotoServer
from s3fs import S3FileSystem
from werkzeug.serving import WSGIRequestHandler

from tests.conftest import free_port

BUCKET = "learnback"


@dataclass
class S3:
    """The server, and its one bucket as its owner sees it."""

    port: int

    def __post_init__(self) -> None:
        self.start()
        self.bucket = boto3.resource("s3").Bucket(BUCKET)
        self.bucket.create()
        self.bucket.objects.all().delete()  # all servers of this process share what they hold

    def start(self) -> None:
        """Answer; what was stored before is still there."""
        self.server = ThreadedMotoServer("127.0.0.1", self.port, verbose=False)
        self.server.start()

    def stop(self) -> None:
        """Refuse connections."""
        self.server.stop()
        assert self.server._server is not None
        self.server._server.server_close()

    def keys(self) -> set[str]:
        """The names of all objects."""
        return {one.key for one in self.bucket.objects.all()}


@contextmanager
def s3(patch: pytest.MonkeyPatch) -> Iterator[S3]:
    """Run the server while the block lasts, with the variables that lead to it."""
    port = free_port()
    patch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:{port}")
    patch.setenv("AWS_ACCESS_KEY_ID", "key")
    patch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    patch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    patch.setenv("AWS_MAX_ATTEMPTS", "1")  # a store that is away is noticed after 12 s else
    patch.setattr(WSGIRequestHandler, "protocol_version", "HTTP/1.0")  # no connection outlives the server
    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    S3FileSystem.clear_instance_cache()  # it keeps what an earlier test's variables led to
    here = S3(port)
    try:
        yield here
    finally:
        here.stop()
