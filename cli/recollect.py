"""A model's log out of SQL, as events in the order of their time: what the aggregator would have heard."""

from __future__ import annotations

from collections.abc import Iterator
from statistics import median
from typing import TypeVar

from sqlalchemy import Engine
from sqlmodel import Session, SQLModel, col, select
from sqlmodel.sql.expression import SelectOfScalar

from schemas.events import (
    CandidateTrained,
    Event,
    FeedbackReceived,
    ModelStateChanged,
    PredictionServed,
    ReviewDecided,
)
from shared.tables import FeedbackRow, ModelRow, Prediction, Request, Review, StateChange, Verdict, Version

AGGREGATOR = "aggregator"  # who asks by a trigger; people ask too
NO_REQUEST_S = 60.0  # what a request takes when none is on record

EventType = TypeVar("EventType", bound=Event)


def recollect(engine: Engine, model: str) -> list[Event]:
    """Predictions that somebody spoke of, what was said, reviews, versions and reigns."""
    with Session(engine) as session:
        known = session.get(ModelRow, model)
        base = {} if known is None else {"task": known.task, "base": known.base}
        found = [
            *_predictions(session, model),
            *_feedback(session, model),
            *(_event(ReviewDecided, row) for row in session.exec(select(Review).where(Review.model == model))),
            *(_event(CandidateTrained, row, **base) for row in session.exec(_versions(model))),
            *(_event(ModelStateChanged, row, **base) for row in session.exec(_states(model))),
        ]
    return sorted(found, key=lambda event: (event.occurred_at, not isinstance(event, PredictionServed), event.event_id))


def asked(engine: Engine, model: str) -> list[Request]:
    """The requests on record that a trigger made, oldest first."""
    mine = select(Request).where(Request.model == model, Request.requested_by == AGGREGATOR)
    with Session(engine) as session:
        return list(session.exec(mine.order_by(col(Request.occurred_at), col(Request.request_id))))


def takes(engine: Engine, model: str) -> float:
    """The median of seconds from a request to the first verdict on what came of it."""
    first: dict[str, float] = {}
    pairs = (
        select(Request, Verdict.occurred_at)
        .join(Version, col(Version.request_id) == col(Request.request_id))
        .join(Verdict, col(Verdict.candidate) == col(Version.version))
        .where(Request.model == model, Request.requested_by == AGGREGATOR)
    )
    with Session(engine) as session:
        for request, at in session.exec(pairs):
            seconds = (at - request.occurred_at).total_seconds()
            first[request.request_id] = min(seconds, first.get(request.request_id, seconds))
    return median(first.values()) if first else NO_REQUEST_S


def _predictions(session: Session, model: str) -> Iterator[PredictionServed]:
    spoken = select(FeedbackRow.prediction_id).where(FeedbackRow.model == model)
    for row in session.exec(select(Prediction).where(col(Prediction.prediction_id).in_(spoken))):
        yield _event(PredictionServed, row)


def _feedback(session: Session, model: str) -> Iterator[FeedbackReceived]:
    for row in session.exec(select(FeedbackRow).where(FeedbackRow.model == model)):
        yield _event(FeedbackReceived, row, feedback={"kind": row.kind, "value": row.value})


def _versions(model: str) -> SelectOfScalar[Version]:
    return select(Version).where(Version.model == model)


def _states(model: str) -> SelectOfScalar[StateChange]:
    return select(StateChange).where(StateChange.model == model, StateChange.alias == "champion")


def _event(kind: type[EventType], row: SQLModel, **more: object) -> EventType:
    """The event that a row was made of; what only the row has is left out."""
    facts = row.model_dump(include=set(kind.model_fields))
    return kind.model_validate({"source": "recorder", **facts, **more})
