"""A body that never ends costs the collector no memory, whatever it says of its length.

With a gigabyte: `python -m tests.unit.test_collector_memory 1000`.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from shared.identity import Keyring, create_secret, read_secret
from tests.conftest import free_port

PIECE = b" " * 1_000_000
WAIT_S = 60
MOST_MB = 50


@contextlib.contextmanager
def collector(folder: Path) -> Iterator[tuple[int, int, str]]:
    """A collector's process: its id, port and a key. Its broker is away, which does not matter here."""
    create_secret(folder / "secret")
    key = Keyring(folder / "keys.json", read_secret(folder / "secret")).create("shop")
    port = free_port()
    environment = {
        **os.environ,
        "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1",
        "LEARNBACK_SECRET_FILE": str(folder / "secret"),
        "LEARNBACK_KEYS_FILE": str(folder / "keys.json"),
        "LEARNBACK_COLLECTOR_PORT": str(port),
        "LEARNBACK_COLLECTOR_SPOOL_FILE": str(folder / "spool.db"),
    }
    process = subprocess.Popen([sys.executable, "-m", "services.collector"], env=environment)
    try:
        deadline = time.monotonic() + WAIT_S
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            assert time.monotonic() < deadline, "The collector does not listen."
            time.sleep(0.05)
        yield process.pid, port, key
    finally:
        process.terminate()
        process.wait(WAIT_S)


def most_mb(pid: int) -> float:
    """The most memory that a process ever had."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) / 1000


def stream(port: int, key: str, megabytes: int, *headers: str, chunked: bool) -> bytes:
    """Send a body without stopping at the answer; returns what came back."""
    lines = ["POST /v1/feedback HTTP/1.1", "Host: x", f"Authorization: Bearer {key}", "Content-Type: application/json"]
    with socket.create_connection(("127.0.0.1", port), WAIT_S) as client:
        client.sendall("\r\n".join([*lines, *headers, "", ""]).encode())
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            for _ in range(megabytes):
                client.sendall(b"%x\r\n%b\r\n" % (len(PIECE), PIECE) if chunked else PIECE)
        with contextlib.suppress(ConnectionResetError):
            return client.recv(65_536)
    return b""


def streamed(folder: Path, megabytes: int) -> tuple[float, set[bytes]]:
    """How much memory two endless bodies and an endless header cost (MB), and the statuses that they got."""
    with collector(folder) as (pid, port, key):
        stream(port, key, 1, "Content-Length: 2", chunked=False)
        before = most_mb(pid)
        answers = [
            stream(port, key, megabytes, "Transfer-Encoding: chunked", chunked=True),
            stream(port, key, megabytes, f"Content-Length: {megabytes * len(PIECE)}", chunked=False),
        ]
        return most_mb(pid) - before, {answer[:12] for answer in answers}


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the memory of a process from /proc")
def test_a_body_without_end_costs_no_memory(tmp_path: Path) -> None:
    grown, statuses = streamed(tmp_path, 200)
    assert statuses == {b"HTTP/1.1 413"}
    assert grown < MOST_MB


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        print(*streamed(Path(folder), int(sys.argv[1])))  # noqa: T201
