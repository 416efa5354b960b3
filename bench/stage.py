"""What is measured, as processes in a folder of the bench's own: a broker, services, peers; gone at the end."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

from local.layout import HOST
from local.readiness import last_words
from shared.errors import FatalError
from shared.kafka import Bus

READY_S = 180  # a peer makes its database at its first start
STOP_S = 20
TURN_S = 0.02


def free_port(count: int = 1) -> int:
    """A port on loopback that is free now, with `count - 1` free ones after it."""
    while True:
        with contextlib.ExitStack() as stack:
            first = stack.enter_context(socket.socket())
            first.bind((HOST, 0))
            port: int = first.getsockname()[1]
            try:
                for offset in range(1, count):
                    stack.enter_context(socket.socket()).bind((HOST, port + offset))
            except OSError:
                continue
            return port


@contextlib.contextmanager
def program(
    command: Sequence[str], log: Path, variables: Mapping[str, str] | None = None, folder: Path | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """A process with its output in a file, ended with the block, and with all that it started."""
    with log.open("ab") as file:
        process = subprocess.Popen(
            [*command],
            env={**os.environ, **(variables or {})},
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        _end(process)


def await_ready(process: subprocess.Popen[bytes], log: Path, is_ready: Callable[[], bool]) -> float:
    """Wait until a process is ready, and return the seconds that took.

    Raises:
        FatalError: it ended, or is not ready in time.
    """
    started = time.monotonic()
    while not is_ready():
        if process.poll() is not None or time.monotonic() - started > READY_S:
            raise FatalError(f"What should write to {log.name} is not ready. {last_words(log)}")
        time.sleep(TURN_S)
    return time.monotonic() - started


def answers(port: int, path: str, status: int = 200) -> Callable[[], bool]:
    """Whether `GET path` answers with the status."""

    def ask() -> bool:
        connection = http.client.HTTPConnection(HOST, port, timeout=2)
        try:
            connection.request("GET", path)
            return connection.getresponse().status == status
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    return ask


def is_open(port: int) -> Callable[[], bool]:
    """Whether something listens on the port."""

    def ask() -> bool:
        with contextlib.suppress(OSError), socket.create_connection((HOST, port), 1):
            return True
        return False

    return ask


@contextlib.contextmanager
def broker(folder: Path, port: int) -> Iterator[tuple[Bus, subprocess.Popen[bytes]]]:
    """The embedded Kafka on its folder, with all topics; a second one on the same folder goes on where it was."""
    folder.mkdir(parents=True, exist_ok=True)
    log = folder / "broker.log"
    with program([sys.executable, "-m", "local.broker", str(folder / "data"), str(port)], log) as process:
        await_ready(process, log, is_open(port))
        bus = Bus(f"{HOST}:{port}", "bench")
        bus.create_topics()
        yield bus, process


def _end(process: subprocess.Popen[bytes]) -> None:
    """Ask, then kill; whatever it forked is in its session and goes too."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGCONT)  # a stopped process hears nothing until it goes on
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
    process.wait()
