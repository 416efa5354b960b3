"""What SQL shows of recorders: snapshots, each in one transaction, and the ids of all events that are stored."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from sqlalchemy import Engine, create_engine, func, select, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import col

from bench.flow import LOOK_S
from shared.errors import FatalError
from shared.tables import FeedbackRow, LedgerRow, Prediction, consumed, open_database

PATIENCE_S = 120


@dataclass(frozen=True)
class Look:
    """One snapshot of SQL: records read, events stored, and events stored by the ledger; `read` is None without SQL."""

    read: int | None
    stored: int = 0
    ledger: int = 0


@dataclass
class Looks:
    """Snapshots of SQL, and the largest difference in any of them."""

    engine: Engine
    topics: frozenset[str]
    count: int = 0
    worst: int = 0

    def look(self) -> Look:
        """Take one, in one transaction."""
        try:
            with self.engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
                read = sum(end for (topic, _), end in consumed(connection).items() if topic in self.topics)
                rows = [
                    connection.execute(select(func.count()).select_from(table)).scalar_one()
                    for table in (Prediction, FeedbackRow)
                ]
                noted = select(func.coalesce(func.sum(col(LedgerRow.stored)), 0))
                seen = Look(read, sum(rows), connection.execute(noted).scalar_one())
        except DBAPIError:  # no table yet
            return Look(None)
        self.count += 1
        self.worst = max(self.worst, abs(read - seen.stored), abs(read - seen.ledger))
        return seen

    def wait(self, until: int) -> None:
        """Until so many records are read.

        Raises:
            FatalError: they are not in time.
        """
        deadline = time.monotonic() + PATIENCE_S
        while (seen := self.look()).read != until:
            if time.monotonic() > deadline:
                raise FatalError(f"The recorders stand still at {seen.read} of {until} events.")
            time.sleep(LOOK_S)


def ids(engine: Engine) -> list[str]:
    """The ids of all events that are stored."""
    with engine.connect() as connection:
        return [
            event_id
            for table in (Prediction, FeedbackRow)
            for event_id in connection.execute(select(col(table.event_id))).scalars()
        ]


def made(server: str, name: str) -> str:
    """The URL of a new database."""
    engine = create_engine(server, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    engine.dispose()
    return f"{server.rpartition('/')[0]}/{name}"


@contextmanager
def opened(url: str) -> Iterator[Engine]:
    """An engine that is let go of at the end."""
    engine = open_database(url)
    try:
        yield engine
    finally:
        engine.dispose()
