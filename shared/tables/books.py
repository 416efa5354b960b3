"""What the recorder keeps of its own work: erasures, what was put aside, the ledger, and how far it has read."""

from __future__ import annotations

from datetime import datetime

from sqlalchemy import Column, Connection, Index, select, text
from sqlmodel import Field, SQLModel, col

from shared.tables.columns import UtcTime, time_column


class Erasure(SQLModel, table=True):
    """The newest UserErased of each user: nothing that the user said until then may be stored again."""

    user_key: str = Field(primary_key=True)
    requested_by: str
    occurred_at: datetime = Field(sa_column=time_column())


class Receipt(SQLModel, table=True):
    """What an erasure deleted: counts, and nothing of what was said."""

    event_id: str = Field(primary_key=True, description="The UserErased.")
    user_key: str = Field(index=True)
    predictions: int
    feedback: int
    examples: int
    dead_letters: int
    occurred_at: datetime = Field(sa_column=time_column())


class Taint(SQLModel, table=True):
    """A version that learned from an erased user, and the request that shall replace it."""

    version: str = Field(primary_key=True)
    request_id: str = Field(primary_key=True)


class DeadLetter(SQLModel, table=True):
    """Where a record that was put aside came from and why; the bytes stay on the topic."""

    id: str = Field(primary_key=True, description="topic/partition/offset of the record, with the service.")
    topic: str
    partition: int
    offset: int
    service: str
    reason: str = Field(index=True)
    detail: str
    attempts: int = 1
    quarantined: bool = Field(default=False, description="It waits for a newer Learnback, or for a person.")
    redriven: bool = Field(default=False, description="It was sent to its topic again.")
    event_id: str | None = Field(default=None, index=True, description="As the record's bytes tell.")
    user_key: str | None = Field(default=None, index=True, description="As the record's bytes tell.")
    said_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    occurred_at: datetime = Field(sa_column=time_column())


class LedgerRow(SQLModel, table=True):
    """What one process said it accepted in one minute, and what became of the events that arrived from it.

    It tells how events came, and not what is known: a replay may meet an erasure before what it erases, and counts
    that as erased and not as stored. So the digest leaves it out.
    """

    __tablename__ = "ledger"
    instance: str = Field(primary_key=True)
    bucket: datetime = Field(sa_column=Column(UtcTime, primary_key=True))
    accepted: int = Field(default=0, description="What it said, the last time.")
    unresolved: int = Field(default=0, description="Refused after they were sent: they may have arrived.")
    told_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    arrived: int = Field(default=0, description="Records read, but for those that its log sent twice.")
    stored: int = 0
    repeats: int = Field(default=0, description="Accepted again under the same id, and stored once.")
    conflicts: int = Field(default=0, description="Under an id that another event had taken.")
    dead: int = 0
    quarantined: int = 0
    erased: int = Field(default=0, description="Of users who had asked to be forgotten.")
    missing: int = Field(default=0, description="max(accepted, arrived) less everything above that became of them.")
    __table_args__ = (
        Index("ledger_by_bucket", "bucket"),
        Index("ledger_open", "missing", sqlite_where=text("missing <> 0"), postgresql_where=text("missing <> 0")),
    )


class Consumed(SQLModel, table=True):
    """The next offset of each partition, written in the same transaction as what was read up to it."""

    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    next_offset: int


class Attempt(SQLModel, table=True):
    """How often the recorder began at a record and did not get past it (see services.recorder.attempts)."""

    topic: str = Field(primary_key=True)
    partition: int = Field(primary_key=True)
    offset: int
    tries: int


def consumed(connection: Connection) -> dict[tuple[str, int], int]:
    """How far it has read: the next offset of each partition (topic and number)."""
    query = select(col(Consumed.topic), col(Consumed.partition), col(Consumed.next_offset))
    return {(topic, part): offset for topic, part, offset in connection.execute(query)}
