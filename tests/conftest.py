"""Fixtures that every kind of test may use."""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from local.postgres import binaries, postgres
from shared.kafka import Bus

START_S = 60


def free_port(count: int = 1) -> int:
    """A port on loopback that is free now, with `count - 1` free ones after it."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind(("127.0.0.1", 0))
            port: int = first.getsockname()[1]
            try:
                for offset in range(1, count):
                    stack.enter_context(socket.socket()).bind(("127.0.0.1", port + offset))
            except OSError:
                continue
            return port


@pytest.fixture(scope="session")
def kafka_servers() -> Iterator[str]:
    """A real broker: the given address, else a container where Docker answers, else the embedded one."""
    if given := os.environ.get("LEARNBACK_TEST_KAFKA"):
        yield given
        return
    if os.environ.get("LEARNBACK_TEST_DOCKER"):
        yield from _container()
        return
    yield from _embedded()


def _container() -> Iterator[str]:
    from testcontainers.community.kafka import KafkaContainer

    with KafkaContainer(os.environ["LEARNBACK_TEST_DOCKER"]).with_kraft() as kafka:
        yield kafka.get_bootstrap_server()


def _embedded() -> Iterator[str]:
    folder = Path(tempfile.mkdtemp(prefix="learnback-kafka-"))
    port = free_port(2)
    with (folder / "broker.log").open("wb") as log:
        broker = subprocess.Popen(
            [sys.executable, "-m", "local.broker", str(folder / "data"), str(port)], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + START_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            if broker.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"The broker did not start: {(folder / 'broker.log').read_text()[-2000:]}")
            time.sleep(0.1)
        yield f"127.0.0.1:{port}"
    finally:
        broker.terminate()
        broker.wait(30)
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    """A real Postgres: the given one, else one of its own where Debian's is installed."""
    if given := os.environ.get("LEARNBACK_TEST_POSTGRES"):
        yield given
        return
    if binaries() is None:
        pytest.skip("no Postgres here: install it, or set LEARNBACK_TEST_POSTGRES to a database's URL")
    with postgres(free_port()) as url:
        yield url


@pytest.fixture
def new_schema(postgres_url: str) -> Iterator[Callable[[], str]]:
    """Makes URLs of empty databases: schemas of their own, gone after the test."""
    admin, made = create_engine(postgres_url), []

    def make() -> str:
        made.append(f"t{uuid.uuid4().hex[:10]}")
        with admin.begin() as connection:
            connection.execute(text(f"CREATE SCHEMA {made[-1]}"))
        return f"{postgres_url}?options=-csearch_path%3D{made[-1]}"

    yield make
    with admin.begin() as connection:
        for name in made:
            connection.execute(text(f"DROP SCHEMA {name} CASCADE"))
    admin.dispose()


@pytest.fixture
def bus(kafka_servers: str) -> Bus:
    """A fresh set of topics for one test."""
    bus = Bus(kafka_servers, prefix=f"t{uuid.uuid4().hex[:10]}")
    bus.create_topics()
    return bus
