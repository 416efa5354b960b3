"""Events as rows: what each event says, written once, whatever is delivered again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, select
from sqlmodel import SQLModel, col

from schemas.events import (
    DriftDetected,
    ErrorSliceUpdated,
    Event,
    FeedbackReceived,
    ModelStateChanged,
    PredictionServed,
    PreferencePair,
    ReviewDecided,
    TrainingProgressed,
    TrainingRequested,
    UserErased,
    VerdictReached,
)
from services.recorder.sql import chunks, insert_new, replace
from shared.tables import (
    Drift,
    Erasure,
    ErrorSlice,
    FeedbackRow,
    Prediction,
    Progress,
    Request,
    Review,
    StateChange,
    Verdict,
)
from shared.text import example_id

PLAIN: dict[type[Event], type[SQLModel]] = {  # events whose row has their fields, by the same names
    ReviewDecided: Review,
    UserErased: Erasure,
    ErrorSliceUpdated: ErrorSlice,
    DriftDetected: Drift,
    TrainingRequested: Request,
    TrainingProgressed: Progress,
    VerdictReached: Verdict,
    ModelStateChanged: StateChange,
}
NEWEST = (Progress, ErrorSlice, Erasure)  # tables that keep the newest event of each key


@dataclass(frozen=True)
class Stored:
    """What was new: ids of predictions and feedback rows, and how many predictions took an id that was taken."""

    predictions: frozenset[str]
    feedback: frozenset[str]
    conflicts: int


def store(connection: Connection, events: Sequence[Event]) -> Stored:
    """Write the rows of events; an event id, or a prediction id, that is there already changes nothing."""
    tables: dict[type[SQLModel], list[SQLModel]] = defaultdict(list)
    for event in events:
        if (row := row_of(event)) is not None:
            tables[type(row)].append(row)
    new: dict[type[SQLModel], set[str]] = {}
    for table, rows in tables.items():
        if table in NEWEST:
            replace(connection, sorted(rows, key=lambda row: row.occurred_at), "occurred_at")  # type: ignore[attr-defined]
        else:
            new[table] = insert_new(connection, rows)
    predictions = [event for event in events if isinstance(event, PredictionServed)]
    return Stored(
        frozenset(new.get(Prediction, ())), frozenset(new.get(FeedbackRow, ())), _conflicts(connection, predictions)
    )


def _conflicts(connection: Connection, events: Sequence[PredictionServed]) -> int:
    """How many events came with the prediction id of another event."""
    first: dict[str, str] = {}
    for ids in chunks(event.prediction_id for event in events):
        query = select(col(Prediction.prediction_id), col(Prediction.event_id))
        found = connection.execute(query.where(col(Prediction.prediction_id).in_(ids)))
        first.update((row.prediction_id, row.event_id) for row in found)
    return len({event.event_id for event in events if first.get(event.prediction_id) != event.event_id})


def row_of(event: Event) -> SQLModel | None:
    """The row that says what an event says, where one row is enough (CandidateTrained needs more: see lineage)."""
    match event:
        case PredictionServed():
            return _prediction(event)
        case FeedbackReceived():
            return _feedback(event)
    if (table := PLAIN.get(type(event))) is None:
        return None
    return table(**{name: value for name, value in event.model_dump().items() if name in table.model_fields})


def _prediction(event: PredictionServed) -> Prediction:
    return Prediction(
        prediction_id=event.prediction_id,
        event_id=event.event_id,
        model=event.model,
        version=event.version,
        input=event.input,
        output=event.output,
        score=next((one.score for one in event.scores if one.label == event.output), None),
        scores=[{"label": one.label, "score": one.score} for one in event.scores],
        solicit=event.solicit,
        solicit_rate=event.solicit_rate,
        app=event.app,
        user_key=event.user_key,
        tags=dict(event.tags),
        example_id=example_id(event.model, event.input),
        occurred_at=event.occurred_at,
    )


def _feedback(event: FeedbackReceived) -> FeedbackRow:
    said = event.feedback.value
    return FeedbackRow(
        event_id=event.event_id,
        prediction_id=event.prediction_id,
        kind=event.feedback.kind,
        value=said.model_dump() if isinstance(said, PreferencePair) else said,
        app=event.app,
        user_key=event.user_key,
        tags=dict(event.tags),
        occurred_at=event.occurred_at,
    )
