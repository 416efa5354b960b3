"""Recorders as processes on a real broker, and where a test looks at what they did."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from click.testing import CliRunner
from sqlalchemy import func, select
from sqlalchemy.exc import OperationalError
from sqlmodel import Session, SQLModel

from cli.__main__ import learnback
from shared.kafka import Bus
from shared.tables import Consumed, open_database
from tests.conftest import free_port

DEADLINE_S = 60


@dataclass
class Desk:
    """Where a test's recorders keep things, and the command line of who runs them."""

    bus: Bus
    folder: Path
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder}/learnback.db"

    @property
    def settings(self) -> dict[str, str]:
        return {
            "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": self.bus.servers,
            "LEARNBACK_TOPIC_PREFIX": self.bus.prefix,
            "LEARNBACK_DATABASE_URL": self.url,
            "LEARNBACK_ARTIFACTS_URL": f"file://{self.folder}/artifacts",
            "LEARNBACK_POLICY_FILE": f"{self.folder}/learnback.toml",
        }

    def start(self, **more: str) -> subprocess.Popen[bytes]:
        """Run a recorder."""
        own = {"LEARNBACK_RECORDER_PORT": str(free_port())} | more
        command = [sys.executable, "-m", "services.recorder"]
        self.processes.append(subprocess.Popen(command, env=os.environ | self.settings | own))
        return self.processes[-1]

    def run(self, *arguments: str) -> str:
        """Run `learnback`; what it says."""
        done = CliRunner().invoke(learnback, arguments, env=self.settings, catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.stdout

    def rows(self, table: type[SQLModel]) -> list[Any]:
        """All rows of a table; none before there is a database."""
        engine = open_database(self.url)
        try:
            with Session(engine) as session:
                return list(session.scalars(select(table)).all())
        except OperationalError:
            return []
        finally:
            engine.dispose()

    def count(self, table: type[SQLModel]) -> int:
        """How many rows a table has."""
        return len(self.rows(table))

    def read(self) -> int:
        """How many records were taken."""
        engine = open_database(self.url)
        try:
            with engine.connect() as connection:
                return int(connection.execute(select(func.sum(Consumed.next_offset))).scalar_one() or 0)
        finally:
            engine.dispose()


@contextmanager
def desk(bus: Bus, folder: Path) -> Iterator[Desk]:
    """A desk whose recorders are gone in the end."""
    here = Desk(bus, folder)
    try:
        yield here
    finally:
        for process in here.processes:
            process.kill()
            process.wait(10)


def until(what: Callable[[], bool], deadline_s: float = DEADLINE_S) -> None:
    """Wait for it."""
    deadline = time.monotonic() + deadline_s
    while not what():
        assert time.monotonic() < deadline, "it did not come to pass in time"
        time.sleep(0.05)
