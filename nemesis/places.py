"""Where everything is after a drain: rows of SQL, records of the dead letters and of the quarantine."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from sqlalchemy import create_engine, select
from sqlmodel import col

from nemesis.checker import Found
from nemesis.history import digest_of
from nemesis.installation import Installation
from nemesis.story import answer_of, content_of
from shared.kafka import Bus
from shared.tables import FeedbackRow, Prediction
from shared.topics import DEAD_LETTERS

RAW = re.compile(rb"raw-[0-9a-f]{16}")
NAMESPACE = re.compile(r"^[0-9a-f]{8}\.")  # of the app that sent it, before the id that it chose


def places(here: Installation) -> list[Found]:
    """Every unit that anything keeps."""
    return [*stored(here.run.database_url), *dead(here.bus)]


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


def dead(bus: Bus) -> Iterator[Found]:
    """What the recorder put aside; other services put aside copies of the same records."""
    letters: dict[str, Found] = {}
    with bus.follower(DEAD_LETTERS) as follower:
        for record in follower.catch_up():
            headers = {name: value.decode("utf-8", "replace") for name, value in record.headers}
            if headers.get("x-dlq-service") == "recorder":
                place = "/".join(headers[f"x-dlq-{part}"] for part in ("topic", "partition", "offset"))
                letters[place] = _letter(place, record.value or b"", headers["x-dlq-reason"])
    yield from letters.values()


def _letter(place: str, value: bytes, reason: str) -> Found:
    if raw := RAW.search(value):
        return Found(raw.group().decode(), digest_of(value.hex()), "dead", reason)
    try:
        event = json.loads(value)
        body = {**event, **event.get("feedback", {})}
        return Found(_own(event["event_id"]), content_of(body), "dead", reason)
    except (ValueError, KeyError, TypeError, AttributeError):
        return Found(place, "unreadable", "dead", reason)


def _own(event_id: str) -> str:
    """The id as the client sent it."""
    return NAMESPACE.sub("", event_id)
