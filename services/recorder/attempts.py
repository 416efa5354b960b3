"""Which record killed the recorder: how often it began at a record and did not get past it, kept in SQL.

A record that ends the process (out of memory, a crash in C) leaves no exception. So the first batch of each partition
after a start is marked before it is recorded; a mark that is found again says that somebody died there. Then records
go one by one, each marked, until the suspect batch is behind us, and who was tried MOST times is put aside. All other
batches cost nothing.
"""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field

from sqlalchemy import ColumnElement, Engine, delete, select
from sqlalchemy.exc import DBAPIError
from sqlmodel import col

from services.recorder.records import Part, Polled, Record
from services.recorder.sql import lock, replace
from shared.tables import Attempt

MOST = 3  # times that a record may end the process


@dataclass
class Attempts:
    """The marks of this process. `batch_size` is how far a suspect batch may reach."""

    engine: Engine
    batch_size: int
    proven: set[Part] = field(default_factory=set)
    careful: dict[Part, int] = field(default_factory=dict)
    mine: dict[Part, tuple[int, int]] = field(default_factory=dict)
    shared: dict[Part, int] = field(default_factory=dict)

    def begin(self, polled: Polled) -> bool:
        """Mark where partitions that are new to this process begin; whether records must go one by one."""
        new = {part: records[0].offset for part, records in polled.items() if part not in self.proven}
        for part, first in new.items():
            if part in self.mine:
                continue  # this process is alive: it waits for something, and tries again
            offset, tries = self._mark_of(part)
            if offset == first and tries > 0:
                self.careful[part] = first + self.batch_size
                self.mine[part] = first, tries
                self.shared[part] = int(tries == 1)  # who died once may have died of any record of the batch
            else:
                self._mark(part, first, 1)
        return any(part in self.careful for part in polled)

    def tried(self, record: Record) -> int:
        """How often this record was tried alone, or in a batch that ended the process; now it is once more."""
        part = Part(record.topic, record.partition)
        if part not in self.careful:
            return 0
        offset, tries = self.mine.get(part, (-1, 0))
        if offset != record.offset:
            tries = self.shared.get(part, 0)
        if tries < MOST:
            self._mark(part, record.offset, tries + 1)
        return tries

    def past(self, polled: Polled) -> None:
        """What was polled is recorded."""
        for part, records in polled.items():
            if records[-1].offset + 1 >= self.careful.get(part, 0):
                self.careful.pop(part, None)
                self.mine.pop(part, None)
                self.proven.add(part)

    def forgive(self) -> None:
        """Take back the marks of what was begun and not finished: a stop is no crash. Best effort."""
        with contextlib.suppress(DBAPIError), self.engine.connect() as connection:
            for part in self.mine:
                connection.execute(delete(Attempt).where(_is(part)))
            connection.commit()

    def _mark_of(self, part: Part) -> tuple[int, int]:
        with self.engine.connect() as connection:
            query = select(col(Attempt.offset), col(Attempt.tries)).where(_is(part))
            row = connection.execute(query).one_or_none()
        return (row.offset, row.tries) if row else (-1, 0)

    def _mark(self, part: Part, offset: int, tries: int) -> None:
        with self.engine.connect() as connection:
            lock(connection)
            replace(connection, [Attempt(topic=part.topic, partition=part.partition, offset=offset, tries=tries)])
            connection.commit()
        self.mine[part] = offset, tries


def _is(part: Part) -> ColumnElement[bool]:
    return (col(Attempt.topic) == part.topic) & (col(Attempt.partition) == part.partition)
