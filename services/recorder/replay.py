"""The log once more, into an empty database: the same rows as the live one, whatever happened to it in between.

Erasures and what was put aside are read first. A record that the live recorder put aside is not taken now either: it
may have been the log's second event of an id, or have ended the process, and only its letter knows. Nothing is
published.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from itertools import islice

from sqlalchemy import Engine, select
from sqlmodel import SQLModel, col

from services.recorder.batch import SERVICE
from services.recorder.intake import SHELVES, Intake
from services.recorder.recording import Recording
from services.recorder.records import Record, parted
from services.recorder.sql import lock
from services.recorder.tables import make_tables
from shared.artifacts import ArtifactStore
from shared.errors import BadInputError
from shared.kafka import Bus
from shared.policy import PolicyFile
from shared.tables import DeadLetter
from shared.topics import ERASURES, TOPICS, Topic

BATCH = 1000
FIRST = (*SHELVES, ERASURES)

Progress = Callable[[int, int], None]  # records done, and all of them


def replay(
    bus: Bus,
    engine: Engine,
    artifacts: ArtifactStore,
    policies: PolicyFile,
    progress: Progress,
    topics: tuple[Topic, ...] = TOPICS,
) -> int:
    """Rebuild a database from the topics, up to where they end now; how many records were read.

    Raises:
        BadInputError: the database is not empty.
        UnavailableError, DBAPIError: Kafka or SQL is away; begin again with an empty database.
    """
    prepare(engine)
    recording = Recording(Intake(bus, None, artifacts), engine, policies)
    rest = [topic for topic in topics if topic not in FIRST]
    done = 0
    with bus.follower(*FIRST) as first, bus.follower(*rest) as then:
        ends = (first.ends(), then.ends())
        total = first.span(ends[0]) + then.span(ends[1])
        for follower, until in zip((first, then), ends, strict=True):
            put_aside = places_of(engine)
            records = (_record(one) for one in follower.catch_up(until))
            for some in batches(records):
                recording.take(parted(one for one in some if (one.topic, one.partition, one.offset) not in put_aside))
                done += len(some)
                progress(min(done, total), total)
    return done


def prepare(engine: Engine) -> None:
    """Make the tables of an empty database.

    Raises:
        BadInputError: it holds something.
    """
    with engine.connect() as connection:
        lock(connection)
        make_tables(connection)
        for name, table in SQLModel.metadata.tables.items():
            if connection.execute(select(table).limit(1)).first() is not None:
                raise BadInputError(
                    "not_empty", f"The database holds rows already (table {name}); replay into a new one."
                )
        connection.commit()


def places_of(engine: Engine) -> set[tuple[str, int, int]]:
    """Where the records lie that the live recorder put aside."""
    query = select(col(DeadLetter.topic), col(DeadLetter.partition), col(DeadLetter.offset))
    with engine.connect() as connection:
        found = connection.execute(query.where(col(DeadLetter.service) == SERVICE)).all()
    return {(topic, partition, offset) for topic, partition, offset in found}


def batches(records: Iterable[Record]) -> Iterator[list[Record]]:
    """Records by the thousand."""
    remaining = iter(records)
    while some := list(islice(remaining, BATCH)):
        yield some


def _record(one: object) -> Record:
    return Record(*(getattr(one, name) for name in Record._fields))
