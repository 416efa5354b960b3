"""Events as rows: what each event says, written once, whatever is delivered again."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, inspect
from sqlmodel import SQLModel

from schemas.events import (
    DecisionAnswered,
    DriftDetected,
    ErrorSliceUpdated,
    Event,
    FeedbackReceived,
    LabelScore,
    ModelStateChanged,
    PredictionServed,
    PreferencePair,
    ReviewDecided,
    TrainingProgressed,
    TrainingRequested,
    UserErased,
    VerdictReached,
)
from services.recorder import identity
from services.recorder.identity import Fresh, Said
from services.recorder.redaction import redact
from services.recorder.rows import Row, insert
from services.recorder.sql import insert_new, replace
from shared.tables import (
    Decision,
    Drift,
    Erasure,
    ErrorSlice,
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
    DecisionAnswered: Decision,
}
NEWEST = (Progress, ErrorSlice, Erasure)  # tables that keep the newest event of each key


@dataclass(frozen=True)
class Stored:
    """What a batch brought: new predictions (rows by id), new feedback (the join writes it), ids of all new events."""

    predictions: dict[str, Row]
    feedback: tuple[Fresh[FeedbackReceived], ...]
    events: frozenset[str]
    repeats: tuple[Said, ...] = ()
    conflicts: tuple[Said, ...] = ()
    reasons: Mapping[int, str] = field(default_factory=dict)


def store(connection: Connection, events: Sequence[Event], redaction: bool = True) -> Stored:
    """Write what events say; an event id, or a prediction id, that is there already changes nothing.

    Repeats are told by what was sent; what is kept of it has no personal data, unless `redaction` is off.
    """
    said = identity.sort(connection, events)
    if redaction:
        said.feedback = [Fresh(_redacted_feedback(one.event), one.content) for one in said.feedback]
    predictions: dict[str, Row] = {}
    insert(connection, Prediction, _kept(said.predictions, redaction, predictions))
    written = _store_plain(connection, events)
    written |= {one.event.event_id for one in said.predictions} | {one.event.event_id for one in said.feedback}
    return Stored(
        predictions,
        tuple(said.feedback),
        frozenset(written),
        tuple(said.repeats),
        tuple(said.conflicts),
        said.reasons,
    )


def _kept(fresh: Iterable[Fresh[PredictionServed]], redaction: bool, rows: dict[str, Row]) -> Iterator[Row]:
    """The rows of predictions as they are asked for, which are noted by their ids."""
    for event, content in fresh:
        row = _prediction(_redacted_prediction(event) if redaction else event, content)
        rows[event.prediction_id] = row
        yield row


def _redacted_prediction(event: PredictionServed) -> PredictionServed:
    """The event without personal data. Labels are looked at when the output is one that held any."""
    input_, output = redact(event.input), redact(event.output)
    if (input_, output) == (event.input, event.output):
        return event
    scores = event.scores
    if output != event.output:
        scores = tuple(LabelScore(label=redact(one.label), score=one.score) for one in scores)
    return event.model_copy(update={"input": input_, "output": output, "scores": scores})


def _redacted_feedback(event: FeedbackReceived) -> FeedbackReceived:
    """The event without personal data in a correction, a comment or a preference."""
    said = event.feedback.value
    if isinstance(said, PreferencePair):
        said = PreferencePair(chosen=redact(said.chosen), rejected=redact(said.rejected))
    elif isinstance(said, str):
        said = redact(said)
    if said == event.feedback.value:
        return event
    return event.model_copy(update={"feedback": event.feedback.model_copy(update={"value": said})})


def _store_plain(connection: Connection, events: Sequence[Event]) -> set[str]:
    """Write the rows of events that have one row with their own fields; the ids of those that were new."""
    tables: dict[type[SQLModel], list[tuple[str, SQLModel]]] = defaultdict(list)
    for event in events:
        if (table := PLAIN.get(type(event))) is not None:
            said = event.model_dump(include=set(table.model_fields))
            tables[table].append((event.event_id, table(**said)))
    written: set[str] = set()
    for table, told in tables.items():
        rows = [row for _, row in told]
        if table in NEWEST:
            replace(connection, sorted(rows, key=lambda row: row.occurred_at), "occurred_at")  # type: ignore[attr-defined]
            written |= {event_id for event_id, _ in told}
        else:
            new = insert_new(connection, rows)
            key = inspect(table).primary_key[0].name
            written |= {event_id for event_id, row in told if getattr(row, key) in new}
    return written


def _score(event: PredictionServed) -> float | None:
    """Of the output, when the version gave one."""
    for one in event.scores:
        if one.label == event.output:
            return one.score
    return None


def _prediction(event: PredictionServed, content: str) -> Row:
    return {
        "content": content,
        "prediction_id": event.prediction_id,
        "event_id": event.event_id,
        "model": event.model,
        "version": event.version,
        "input": event.input,
        "output": event.output,
        "score": _score(event),
        "scores": [{"label": one.label, "score": one.score} for one in event.scores],
        "solicit": event.solicit,
        "solicit_rate": event.solicit_rate,
        "audit": event.audit,
        "audit_rate": event.audit_rate,
        "app": event.app,
        "user_key": event.user_key,
        "tags": event.tags,
        "example_id": example_id(event.model, event.input),
        "occurred_at": event.occurred_at,
    }
