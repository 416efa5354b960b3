"""What the recorder does between two batches: overdue orphans, bytes of the erased, and what Postgres' planner knows.

A deleted row's bytes are overwritten at once (`secure_delete`). But where SQLite moved a row from one page to another
while the table grew, its old copy stays in the page's unused part until `VACUUM` writes the file anew; what is deleted
stays in the write-ahead log until it is cut; and a letter that was taken back stays in Kafka's newest segment until
something is written after it.

Postgres looks at its tables once a minute. A backlog has by then put 300,000 rows into tables that its planner knows as
empty, and looks names up by indexes of a thousand times as many rows (docs/log.md).
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from sqlalchemy import Engine, func, select, text

from services.recorder import orphans
from shared.kafka import Publisher
from shared.letters import tombstone
from shared.observe import DEAD_LETTERED
from shared.tables import Receipt
from shared.topics import DEAD_LETTERS, QUARANTINE

ROLL_AFTER_S = (
    7.0,
    20.0,
)  # what is written 5 s after a segment began closes it; the second is for a slow one
VACUUM_AFTER_S = 5.0  # erasures come in groups, as one person's in several apps
ROLL = "roll"  # the key of a record that says nothing
SKETCH = 10  # a sample of 3,000 rows: a few ms each, and enough to tell which index is the short one
DOUBLED = text(
    "SELECT relname FROM pg_stat_user_tables WHERE schemaname = current_schema()"
    " AND n_mod_since_analyze > greatest(n_live_tup / 2, 1000) ORDER BY relname"
)


@dataclass
class Chores:
    """The chores of one process. `patience` is how long feedback waits for its prediction, by the events' own time."""

    engine: Engine
    publisher: Publisher
    patience: timedelta
    rolls: list[float] = field(default_factory=list)
    vacuum_at: float | None = None
    to_cut: bool = False

    def at_start(self) -> None:
        """Finish what an erasure before a crash may have left undone."""
        if self._receipts():
            self.after_erasure()

    def after_erasure(self) -> None:
        """Somebody was erased a moment ago."""
        if self.engine.dialect.name == "sqlite":
            self.vacuum_at = self.vacuum_at or time.monotonic() + VACUUM_AFTER_S
        self.rolls = [time.monotonic() + after for after in ROLL_AFTER_S]

    def turn(self, newest: datetime | None, caught_up: bool) -> None:
        """Do what is due. `newest` is the latest event of the log so far.

        Raises:
            UnavailableError, DBAPIError: Kafka or SQL is away; it is done the next time.
        """
        if newest is not None and caught_up:
            self._put_orphans_aside(newest)
        if self.engine.dialect.name == "postgresql":
            self._tell_planner()
        if self.vacuum_at is not None and time.monotonic() >= self.vacuum_at:
            self._vacuum()
            self.vacuum_at, self.to_cut = None, True
        if self.to_cut:
            self.to_cut = not self._cut()
        if self.rolls and time.monotonic() >= self.rolls[0]:
            self.publisher.send(tombstone(ROLL, DEAD_LETTERS), tombstone(ROLL, QUARANTINE))
            self.rolls.pop(0)

    def _put_orphans_aside(self, newest: datetime) -> None:
        """Only of a log that is read to its end: the prediction could be what comes next."""
        with self.engine.connect() as connection:
            out = orphans.overdue(connection, self.publisher.bus, newest, self.patience)
        if out:
            self.publisher.send(*out)
            DEAD_LETTERED.labels("recorder", orphans.ORPHAN).inc(len(out))

    def _tell_planner(self) -> None:
        """Analyse the tables that have doubled since somebody did."""
        with self.engine.begin() as connection:
            doubled = connection.execute(DOUBLED).scalars().all()
            if doubled:
                connection.exec_driver_sql(f"SET LOCAL default_statistics_target = {SKETCH}")
                connection.exec_driver_sql(f"ANALYZE {', '.join(doubled)}")

    def _receipts(self) -> int:
        with self.engine.connect() as connection:
            return connection.execute(select(func.count()).select_from(Receipt)).scalar_one()

    def _vacuum(self) -> None:
        """Write the file anew, unless no erasure came since it was: a crash must not make each start do it."""
        receipts = self._receipts()
        with self.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            if connection.exec_driver_sql("PRAGMA user_version").scalar_one() == receipts:
                return
            connection.exec_driver_sql("PRAGMA temp_store=FILE")  # the new file is as large as the old one
            try:
                connection.exec_driver_sql("VACUUM")
            finally:
                connection.exec_driver_sql("PRAGMA temp_store=MEMORY")
            connection.exec_driver_sql(f"PRAGMA user_version={receipts}")

    def _cut(self) -> bool:
        """Empty the write-ahead log; False while a reader still needs it."""
        with self.engine.connect() as connection:
            busy, _, _ = connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)").one()
        return not busy
