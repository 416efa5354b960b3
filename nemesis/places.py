"""Where everything is after a drain: rows of SQL, records of the dead letters and of the quarantine."""

from __future__ import annotations

import contextlib
import json
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, select
from sqlmodel import col

from nemesis.checker import Found, Place
from nemesis.history import digest_of
from nemesis.installation import Installation
from nemesis.story import answer_of, content_of
from shared.kafka import Bus
from shared.letters import Letter, read
from shared.tables import FeedbackRow, Prediction
from shared.topics import DEAD_LETTERS, QUARANTINE, Topic

RAW = re.compile(rb"raw-[0-9a-f]{16}")
NAMESPACE = re.compile(r"^[0-9a-f]{8}\.")  # of the app that sent it, before the id that it chose


def places(here: Installation) -> list[Found]:
    """Every unit that SQL and the shelves keep."""
    return [
        *stored(here.run.database_url),
        *put_aside(here.bus, DEAD_LETTERS, "dead"),
        *put_aside(here.bus, QUARANTINE, "quarantined"),
    ]


def stored(database_url: str) -> Iterator[Found]:
    """What SQL has."""
    engine = create_engine(database_url)
    with engine.connect() as connection:
        for row in connection.execute(select(*_columns(Prediction))).mappings():
            yield _prediction(dict(row))
        for row in connection.execute(select(*_columns(FeedbackRow))).mappings():
            yield Found(_own(row["event_id"]), content_of(dict(row)), "stored")
    engine.dispose()


def _columns(table: type[Prediction] | type[FeedbackRow]) -> list[Any]:
    names = ("event_id", "prediction_id", "model", "version", "input", "output")
    if table is FeedbackRow:
        names = ("event_id", "prediction_id", "kind", "value")  # type: ignore[assignment]
    return [col(getattr(table, name)) for name in names]


def _prediction(row: dict[str, Any]) -> Found:
    if row["prediction_id"].startswith("ask-"):
        unit = answer_of(row["prediction_id"], row["model"], row["input"])
        return Found(unit.id, unit.content, "stored")
    return Found(_own(row["event_id"]), content_of(row), "stored")


def put_aside(bus: Bus, topic: Topic, place: Place) -> Iterator[Found]:
    """What the recorder put aside; other services put aside copies of the same records. A letter's last word counts."""
    letters: dict[bytes, Found | None] = {}
    with bus.follower(topic) as follower:
        for record in follower.catch_up():
            letters[record.key] = None if record.value is None else _letter(read(record), record.value, place)
    yield from (letter for letter in letters.values() if letter is not None)


def spooled(file: Path) -> Iterator[Found]:
    """What a collector that has ended left in its spool; one that runs lets nobody look."""
    with contextlib.closing(sqlite3.connect(file)) as database:
        for (value,) in database.execute("SELECT value FROM spool"):
            yield _event(value or b"", "spool", "pending")


def _letter(letter: Letter, value: bytes, place: Place) -> Found | None:
    if letter.service != "recorder":
        return None
    if raw := RAW.search(value):
        return Found(raw.group().decode(), digest_of(value.hex()), place, letter.reason)
    return _event(value, letter.id, place, letter.reason)


def _event(value: bytes, where: str, place: Place, reason: str = "") -> Found:
    """The event that some bytes are; what is none was sent by nobody, and so is unexpected."""
    try:
        event = json.loads(value)
        body = {**event, **event.get("feedback", {})}
        return Found(_own(event["event_id"]), content_of(body), place, reason)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Found(where, "unreadable", place, reason)


def _own(event_id: str) -> str:
    """The id as the client sent it."""
    return NAMESPACE.sub("", event_id)
