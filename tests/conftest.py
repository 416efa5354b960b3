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
from sqlalchemy.exc import OperationalError

from local.postgres import binaries, postgres
from shared.errors import UnavailableError
from shared.kafka import Bus

START_S = 60
PULL_S = 300
KAFKA_IMAGE = os.environ.get("LEARNBACK_KAFKA_IMAGE", "apache/kafka:4.3.0")
POSTGRES_IMAGE = os.environ.get("LEARNBACK_POSTGRES_IMAGE", "postgres:17")
# Each container here is removed by its fixture; testcontainers would have one more watch over them, of another image.
os.environ.setdefault("TESTCONTAINERS_RYUK_DISABLED", "true")


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
    """A real broker: the given one, else a container where Docker has the image, else the embedded one."""
    if given := os.environ.get("LEARNBACK_TEST_KAFKA"):
        yield given
    elif docker_has(KAFKA_IMAGE):
        yield from _container()
    else:
        yield from _embedded()


def docker_has(image: str) -> bool:
    """Whether a Docker daemon answers and has an image, or can get it."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        return False
    if not subprocess.run(["docker", "image", "inspect", image], capture_output=True).returncode:
        return True
    try:
        return not subprocess.run(["docker", "pull", image], capture_output=True, timeout=PULL_S).returncode
    except subprocess.TimeoutExpired:
        return False


def _container() -> Iterator[str]:
    """One node of the image that docker-compose.yml names; what it tells clients is a port of this machine."""
    from testcontainers.core.container import DockerContainer

    port = free_port()
    settings = {
        "NODE_ID": "1",
        "PROCESS_ROLES": "broker,controller",
        "CONTROLLER_QUORUM_VOTERS": "1@localhost:9093",
        "LISTENERS": f"HOST://:{port},CONTROLLER://:9093",
        "ADVERTISED_LISTENERS": f"HOST://127.0.0.1:{port}",
        "LISTENER_SECURITY_PROTOCOL_MAP": "HOST:PLAINTEXT,CONTROLLER:PLAINTEXT",
        "INTER_BROKER_LISTENER_NAME": "HOST",
        "CONTROLLER_LISTENER_NAMES": "CONTROLLER",
        "LOG_DIRS": "/var/lib/kafka/data",
        "AUTO_CREATE_TOPICS_ENABLE": "false",
        "OFFSETS_TOPIC_NUM_PARTITIONS": "4",
        "OFFSETS_TOPIC_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_NUM_PARTITIONS": "4",
        "TRANSACTION_STATE_LOG_REPLICATION_FACTOR": "1",
        "TRANSACTION_STATE_LOG_MIN_ISR": "1",
        "GROUP_INITIAL_REBALANCE_DELAY_MS": "0",
    }
    container = DockerContainer(KAFKA_IMAGE).with_bind_ports(port, port)
    for name, value in settings.items():
        container = container.with_env(f"KAFKA_{name}", value)
    with container:
        deadline = time.monotonic() + START_S
        while True:
            try:
                Bus(f"127.0.0.1:{port}", prefix="started").create_topics()
                break
            except UnavailableError:
                if time.monotonic() > deadline:
                    raise
        yield f"127.0.0.1:{port}"


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
    """A real Postgres: the given one, else a container where Docker has the image, else the installed one."""
    if given := os.environ.get("LEARNBACK_TEST_POSTGRES"):
        yield given
        return
    if docker_has(POSTGRES_IMAGE):
        yield from _postgres_container()
        return
    if binaries() is None:
        pytest.skip("no Postgres here: install it, or set LEARNBACK_TEST_POSTGRES to a database's URL")
    with postgres(free_port()) as url:
        yield url


def _postgres_container() -> Iterator[str]:
    from testcontainers.core.container import DockerContainer

    port, password = free_port(), uuid.uuid4().hex
    container = DockerContainer(POSTGRES_IMAGE).with_bind_ports(5432, port)
    with container.with_env("POSTGRES_PASSWORD", password).with_env("POSTGRES_DB", "learnback"):
        url = f"postgresql+psycopg://postgres:{password}@127.0.0.1:{port}/learnback"
        engine, deadline = create_engine(url), time.monotonic() + START_S
        while True:
            try:
                engine.connect().close()
                break
            except OperationalError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.2)
        engine.dispose()
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
