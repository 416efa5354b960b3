"""Feedback whose prediction never came: it waits, and after a while it is put aside.

When its time is over is said by the events themselves, never by a clock. That it was put aside is said by its letter:
once that is on the log the feedback is no row any more, and whatever a replay reads first, it comes to the same.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime, timedelta

from sqlalchemy import Connection
from sqlmodel import Session, col, select

from schemas.events import FeedbackReceived, in_utc
from services.recorder.records import Record
from services.recorder.sql import among, chunks
from shared.envelope import Outgoing, seal
from shared.kafka import Bus
from shared.letters import write
from shared.tables import DeadLetter, FeedbackRow
from shared.topics import FEEDBACK

ORPHAN = "orphan"
AT_ONCE = 500  # orphans that are put aside in one go


def overdue(connection: Connection, bus: Bus, now: datetime, patience: timedelta) -> list[Outgoing]:
    """The letters of feedback that has waited longer than its patience at a moment of the log."""
    waiting = select(FeedbackRow).where(col(FeedbackRow.model).is_(None), col(FeedbackRow.occurred_at) < now - patience)
    rows = Session(connection).scalars(waiting.order_by(col(FeedbackRow.occurred_at)).limit(AT_ONCE))
    return [_letter(bus, row) for row in rows]


def put_aside(connection: Connection, event_ids: Iterable[str]) -> set[str]:
    """Which of these events were put aside as orphans, and not sent again since."""
    found: set[str] = set()
    query = select(DeadLetter.event_id).where(col(DeadLetter.reason) == ORPHAN, col(DeadLetter.redriven).is_(False))
    if connection.execute(query.limit(1)).first() is None:
        return found  # most installations have none, and a thousand ids cost a millisecond
    for ids in chunks(event_ids):
        known = connection.execute(query.where(among(connection, DeadLetter.event_id, ids)))
        found |= {event_id for event_id in known.scalars() if event_id}
    return found


def _letter(bus: Bus, row: FeedbackRow) -> Outgoing:
    """The letter of an orphan, named by its event: the row does not know where its record lies."""
    out = seal(_event(row))
    topic = bus.name(FEEDBACK)
    written = int(row.occurred_at.timestamp() * 1000)
    record = Record(topic, -1, -1, out.key, out.value, out.headers, written)
    return write(record, "recorder", ORPHAN, "Its prediction did not come.", name=f"{topic}/{row.event_id}/recorder")


def _event(row: FeedbackRow) -> FeedbackReceived:
    said = {name: getattr(row, name) for name in ("event_id", "prediction_id", "app", "user_key", "tags")}
    feedback = {"kind": row.kind, "value": row.value}
    body = said | {"occurred_at": in_utc(row.occurred_at), "source": "collector", "feedback": feedback}
    return FeedbackReceived.model_validate_json(json.dumps(body))
