"""From a body, a key and the clock to the event: pure, and the only place where a user's id is seen."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from pydantic import TypeAdapter

from schemas.events import (
    Event,
    Feedback,
    FeedbackReceived,
    LabelScore,
    ModelCard,
    PredictionServed,
    ReviewDecided,
    TrainingRequested,
)
from services.collector.requests import Body, PredictionBody, ReviewBody, Spoken, TrainingBody
from shared.identity import user_key
from shared.ids import namespaced, new_id

SOURCE = "collector"
_FEEDBACK: TypeAdapter[Feedback] = TypeAdapter(Feedback)


@dataclass(frozen=True)
class Origin:
    """Who sent a body, and when it came: the key's app, the installation's secret, the collector's clock."""

    app: str
    secret: bytes
    at: datetime

    def pseudonym(self, user: str | None) -> str | None:
        """What is kept of the app's id of a user."""
        return None if user is None else user_key(self.secret, self.app, user)


def to_event(body: Body, origin: Origin) -> Event:
    """The event that one body says."""
    event_id = new_id() if body.event_id is None else namespaced(origin.app, body.event_id)
    match body:
        case Spoken():
            return _feedback(body, origin, event_id)
        case PredictionBody():
            return _prediction(body, origin, event_id)
        case ReviewBody():
            return _review(body, origin, event_id)
        case TrainingBody():
            return _training(body, origin, event_id)
    raise TypeError(f"No event is made of {type(body).__name__}; add it here")


def _feedback(body: Spoken, origin: Origin, event_id: str) -> FeedbackReceived:
    return FeedbackReceived(
        event_id=event_id,
        occurred_at=origin.at,
        source=SOURCE,
        prediction_id=body.prediction_id,
        feedback=_FEEDBACK.validate_python(body.model_dump(include={"kind", "value"})),
        app=origin.app,
        user_key=origin.pseudonym(body.user),
        tags=body.tags,
    )


def _prediction(body: PredictionBody, origin: Origin, event_id: str) -> PredictionServed:
    return PredictionServed(
        event_id=event_id,
        occurred_at=origin.at,
        source=SOURCE,
        prediction_id=body.prediction_id,
        model=body.model,
        version=body.version,
        input=body.input,
        output=body.output,
        scores=tuple(LabelScore(label=score.label, score=score.score) for score in body.scores),
        solicit=body.solicit,
        solicit_rate=body.solicit_rate,
        app=origin.app,
        user_key=origin.pseudonym(body.user),
        tags=body.tags,
    )


def _review(body: ReviewBody, origin: Origin, event_id: str) -> ReviewDecided:
    return ReviewDecided(
        event_id=event_id,
        occurred_at=origin.at,
        source=SOURCE,
        subject_kind=body.subject_kind,
        subject=body.subject,
        model=body.model,
        decision=body.decision,
        target=body.target,
        reviewer=body.reviewer or origin.app,
        note=body.note,
    )


def _training(body: TrainingBody, origin: Origin, event_id: str) -> TrainingRequested:
    return TrainingRequested(
        event_id=event_id,
        occurred_at=origin.at,
        source=SOURCE,
        request_id=event_id,
        model=body.model,
        trigger="added" if body.card else "person",
        detail=body.detail,
        requested_by=origin.app,
        card=ModelCard.model_validate(body.card.model_dump()) if body.card else None,
    )
