"""Which events are new, which repeat one that is there, and which took the id of another.

An id is taken for ever. A repeat says the same under the same id and changes nothing; who says something else under it
comes too late: the first wins. Both are told by one digest of what an event says (`content_of`), which
each prediction and each feedback row keeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Generic, NamedTuple, TypeVar

from sqlalchemy import Connection, select
from sqlmodel import col

from schemas.events import Event, FeedbackReceived, PredictionServed
from services.recorder.sql import among, chunks
from shared.tables import FeedbackRow, Prediction

_NOT_SAID = {"event_id", "occurred_at", "source"}
Said = PredictionServed | FeedbackReceived
SaidType = TypeVar("SaidType", PredictionServed, FeedbackReceived)


class Fresh(NamedTuple, Generic[SaidType]):
    """An event that nobody sent before, and the digest of what it says."""

    event: SaidType
    content: str


@dataclass
class Sorted:
    """The events of a batch by what their ids tell, each in the order of the log."""

    predictions: list[Fresh[PredictionServed]] = field(default_factory=list)
    feedback: list[Fresh[FeedbackReceived]] = field(default_factory=list)
    repeats: list[Said] = field(default_factory=list)
    conflicts: list[Said] = field(default_factory=list)
    reasons: dict[int, str] = field(default_factory=dict)  # of the conflicts, by the event's `id()`


@dataclass(frozen=True)
class Taken:
    """Ids that are taken, and by what: event id and content."""

    predictions: dict[str, tuple[str, str]]
    events: dict[str, tuple[str, str]]

    def by(self, event: Said) -> tuple[str, str] | None:
        """What took one of the event's ids."""
        found = self.events.get(event.event_id)
        if found is None and type(event) is PredictionServed:
            return self.predictions.get(event.prediction_id)
        return found

    def take(self, event: Said, content: str) -> None:
        """Note that an event's ids are taken from now on."""
        self.events[event.event_id] = event.event_id, content
        if type(event) is PredictionServed:
            self.predictions[event.prediction_id] = event.event_id, content


def said_among(events: Iterable[Event]) -> list[Said]:
    """The predictions and the feedback, told by their exact type: `isinstance` of a pydantic class is Python code."""
    return [event for event in events if type(event) is PredictionServed or type(event) is FeedbackReceived]


def sort(connection: Connection, events: Sequence[Event]) -> Sorted:
    """Compare predictions and feedback with what is stored and with each other."""
    said = said_among(events)
    taken = _taken(connection, said)
    found = Sorted()
    for event in said:
        content = content_of(event)
        before = taken.by(event)
        if before is None:
            taken.take(event, content)
            if type(event) is PredictionServed:
                found.predictions.append(Fresh(event, content))
            elif type(event) is FeedbackReceived:
                found.feedback.append(Fresh(event, content))
        elif before == (event.event_id, content):
            found.repeats.append(event)
        else:
            found.conflicts.append(event)
            found.reasons[id(event)] = "id_conflict" if event.event_id in taken.events else "prediction_id_taken"
    return found


def _taken(connection: Connection, events: Sequence[Said]) -> Taken:
    predictions = select(col(Prediction.prediction_id), col(Prediction.event_id), col(Prediction.content))
    feedback = select(col(FeedbackRow.event_id), col(FeedbackRow.content))
    taken = Taken({}, {})
    for ids in chunks(event.prediction_id for event in events if type(event) is PredictionServed):
        for key, event_id, content in connection.execute(
            predictions.where(among(connection, Prediction.prediction_id, ids))
        ):
            taken.predictions[key] = event_id, content
    for ids in chunks(event.event_id for event in events):
        for _, event_id, content in connection.execute(predictions.where(among(connection, Prediction.event_id, ids))):
            taken.events[event_id] = event_id, content
        for event_id, content in connection.execute(feedback.where(among(connection, FeedbackRow.event_id, ids))):
            taken.events[event_id] = event_id, content
    return taken


def content_of(event: Event) -> str:
    """What an event says, as 32 hex digits: equal for a repeat, other for another event under the same id.

    When it was accepted and by which service is left out, since a repeat may come later and another way. So is what is
    not said (null): an optional field that a later release adds must not turn a repeat of years ago into a conflict.
    """
    said = event.__pydantic_serializer__.to_json(event, exclude=_NOT_SAID, exclude_none=True)
    return sha256(b"%s\n%s" % (type(event).__name__.encode(), said)).hexdigest()[:32]
