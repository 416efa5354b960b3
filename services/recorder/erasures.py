"""A user asked to be forgotten: what the user said until then goes, and a redelivery does not bring it back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Connection, Row, Select, delete, select, update
from sqlmodel import col

from schemas.events import Event
from services.recorder.caps import Day
from services.recorder.identity import said_among
from services.recorder.join import JOINED_COLUMNS
from services.recorder.labels import Named
from services.recorder.sql import among, chunks
from shared.tables import Erasure, FeedbackRow, Prediction


@dataclass(frozen=True)
class Erased:
    """What lost a vote or a draw: examples, users' days, and labels; the feedback that went, and how many rows."""

    examples: frozenset[str] = frozenset()
    events: frozenset[str] = frozenset()
    days: frozenset[Day] = frozenset()
    labels: frozenset[Named] = frozenset()
    predictions: int = 0
    feedback: int = 0


def screen(connection: Connection, events: Sequence[Event]) -> list[Event]:
    """The events but for those that an erased user said before the erasure."""
    said = said_among(events)
    erased = forgotten(connection, {event.user_key for event in said if event.user_key})
    if not erased:
        return list(events)
    gone = {
        event.event_id for event in said if event.user_key in erased and event.occurred_at <= erased[event.user_key]
    }
    return [event for event in events if event.event_id not in gone]


def erase(connection: Connection, user: str, until: datetime) -> Erased:
    """Delete what a user said until a moment, and make others' feedback on the user's predictions orphans."""
    own = (col(FeedbackRow.user_key) == user) & (col(FeedbackRow.occurred_at) <= until)
    asked = (col(Prediction.user_key) == user) & (col(Prediction.occurred_at) <= until)
    predictions = list(connection.execute(select(col(Prediction.prediction_id)).where(asked)).scalars())
    audited = select(col(Prediction.example_id)).where(asked, col(Prediction.audit).is_(True))
    drawn = frozenset(connection.execute(audited).scalars())
    lost = list(_joined(connection, own))
    deleted = connection.execute(delete(FeedbackRow).where(own)).rowcount
    for ids in chunks(predictions):
        others = col(FeedbackRow.prediction_id).in_(ids) & col(FeedbackRow.model).is_not(None)
        lost += _joined(connection, others)
        blank = dict.fromkeys((*JOINED_COLUMNS, "agrees"))
        connection.execute(update(FeedbackRow).where(others).values(blank))
        connection.execute(delete(Prediction).where(col(Prediction.prediction_id).in_(ids)))
    found = _erased(lost, len(predictions), deleted)
    return replace(found, examples=found.examples | drawn)


def remove(connection: Connection, event_ids: Iterable[str]) -> Erased:
    """Delete some feedback, whoever said it."""
    lost: list[Row[Any]] = []
    deleted = 0
    for ids in chunks(event_ids):
        these = col(FeedbackRow.event_id).in_(ids)
        lost += _joined(connection, these)
        deleted += connection.execute(delete(FeedbackRow).where(these)).rowcount
    return _erased(lost, 0, deleted)


def _erased(lost: Sequence[Row[Any]], predictions: int, feedback: int) -> Erased:
    return Erased(
        frozenset(row.example_id for row in lost),
        frozenset(row.event_id for row in lost),
        frozenset(Day(row.model, row.user_key, row.occurred_at.astimezone(UTC).date()) for row in lost if row.user_key),
        frozenset((row.model, row.target) for row in lost if row.target is not None),
        predictions,
        feedback,
    )


def _joined(connection: Connection, which: Any) -> Sequence[Row[Any]]:
    query: Select[*tuple[Any, ...]] = select(
        col(FeedbackRow.event_id),
        col(FeedbackRow.example_id),
        col(FeedbackRow.model),
        col(FeedbackRow.user_key),
        col(FeedbackRow.occurred_at),
        col(FeedbackRow.target),
    )
    return connection.execute(query.where(which, col(FeedbackRow.example_id).is_not(None))).all()


def forgotten(connection: Connection, users: Iterable[str]) -> dict[str, datetime]:
    """Until when each of these users is forgotten, for those who asked for it."""
    query = select(col(Erasure.user_key), col(Erasure.occurred_at))
    return {
        user: until
        for some in chunks(users)
        for user, until in connection.execute(query.where(among(connection, Erasure.user_key, some)))
    }
