"""From a body, a key and the clock to the event: pure, and the only place where a user's id is seen."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic_core import to_json

from schemas.events import (
    MAX_EXTENSIONS,
    Event,
    EventQuarantined,
    FeedbackReceived,
    LabelScore,
    ModelCard,
    PredictionServed,
    ReviewDecided,
    TrainingRequested,
    UserErased,
    in_utc,
)
from services.collector.requests import (
    AnyBody,
    Body,
    CommentBody,
    CorrectionBody,
    ErasureBody,
    NewerBody,
    NewerFeedback,
    PredictionBody,
    PreferenceBody,
    RatingBody,
    ReviewBody,
    Spoken,
    ThumbsBody,
    TrainingBody,
)
from shared.envelope import Sealed, carry, sealed
from shared.errors import RequestError
from shared.identity import user_key
from shared.ids import namespaced, new_id
from shared.text import example_id, short_hash

SOURCE = "collector"
AHEAD = timedelta(minutes=5)  # how far a sender's clock may be ahead of ours
RECENT = timedelta(days=30)  # as long as the topics keep what was said
RETAINED = timedelta(days=365)  # nothing older is kept anywhere, so it is not taken either
SANE = datetime(2000, 1, 1, tzinfo=UTC)  # before this, a clock was never set


@dataclass(frozen=True)
class Origin:
    """Who sent a body, when it came, and to whom: the key's app, the installation's secret, our clock and name.

    A page's key (`browser`) can be read by everybody: of its users only the `proven` one is believed.
    """

    app: str
    secret: bytes
    at: datetime
    instance: str
    reviewer: bool = False
    browser: bool = False
    proven: str | None = None

    def pseudonym(self, user: str | None) -> str | None:
        """What is kept of the app's id of a user: nothing when a page names one without a proof.

        Raises:
            RequestError: `wrong_user`, the proof is another one's.
        """
        if self.browser:
            if user is not None and self.proven not in (None, user):
                raise RequestError(403, "wrong_user", "The token is another user's.", "user")
            user = self.proven
        return None if user is None else user_key(self.secret, self.app, user)


def to_event(body: AnyBody, origin: Origin) -> Sealed:
    """The event that one body says, in its record.

    Raises:
        RequestError: `wrong_app`, `too_old` or `extensions_too_large`.
    """
    if body.app not in (None, origin.app) and not (isinstance(body, ErasureBody) and origin.reviewer):
        raise RequestError(403, "wrong_app", "The key is another app's.", "app")
    event_id = new_id() if body.event_id is None else namespaced(origin.app, body.event_id)
    if type(body) in _SAID:
        return _feedback(body, origin, event_id)
    return sealed(_MAKERS[type(body)](body, origin, event_id), origin.instance)


def warnings_of(body: AnyBody, origin: Origin, event: Sealed) -> list[str]:
    """What the sender should know of an event that was taken all the same."""
    told = []
    if type(body) in _NEWER:
        told.append("unknown_version")
    else:
        if body.model_extra:
            told.append("unknown_fields")
        if (said_at := getattr(body, "said_at", None)) is not None and _plausible(said_at, origin.at) is None:
            told.append("clock_skew")
    if event.user_key is None and getattr(body, "user", None) is not None:
        told.append("unproven_user")
    return told


def _beside(body: Body, at: datetime) -> dict[str, Any]:
    """What an event holds beyond our own fields; nothing, as a rule."""
    held: dict[str, Any] = {}
    if body.said_at is not None:
        held["said_at"] = _plausible(body.said_at, at)
    if body.model_extra:
        held["extensions"] = _extensions(body.model_extra)
    return held


def _plausible(said_at: datetime, at: datetime) -> datetime | None:
    """The sender's time if its clock can be right: a broken one says 1970, 9999 or the far future."""
    if at - RECENT <= said_at <= at + AHEAD:
        return said_at
    if SANE <= said_at < at - RETAINED:
        raise RequestError(422, "too_old", f"It was said more than {RETAINED.days} days ago.", "said_at")
    return None


def _extensions(unknown: dict[str, Any]) -> str:
    text = json.dumps(unknown, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    if len(text.encode()) > MAX_EXTENSIONS:
        raise RequestError(
            422, "extensions_too_large", f"Fields that are not known take more than {MAX_EXTENSIONS} bytes."
        )
    return text


def _quarantined(body: NewerBody, origin: Origin, event_id: str) -> EventQuarantined:
    said = body.model_dump(mode="json", exclude={"user", "event_id", "app"})
    return EventQuarantined(
        event_id=event_id,
        occurred_at=origin.at,
        source=SOURCE,
        schema_version=body.schema_version,
        becomes=body.becomes,
        prediction_id=body.prediction_id,
        app=origin.app,
        user_key=origin.pseudonym(body.user),
        body=json.dumps(said, ensure_ascii=False, sort_keys=True, separators=(",", ":")),
    )


def _feedback(body: Any, origin: Origin, event_id: str) -> Sealed:
    """Nearly everything that apps send. So its JSON is made without the event, which would check all fields again."""
    user_key, beside = origin.pseudonym(body.user), _beside(body, origin.at)
    if said_at := beside.get("said_at"):
        beside["said_at"] = in_utc(said_at)
    said = {
        **_BLANK,
        "event_id": event_id,
        "occurred_at": in_utc(origin.at),
        **beside,
        "prediction_id": body.prediction_id,
        "feedback": _SAID[type(body)](body),
        "app": origin.app,
        "user_key": user_key,
        "tags": body.tags,
    }
    record = carry(FeedbackReceived, event_id, origin.at, SOURCE, body.prediction_id, to_json(said), origin.instance)
    return Sealed(FeedbackReceived, event_id, origin.at, user_key, record)


def _prediction(body: PredictionBody, origin: Origin, event_id: str) -> PredictionServed:
    return PredictionServed(
        event_id=event_id,
        occurred_at=origin.at,
        source=SOURCE,
        **_beside(body, origin.at),
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
        **_beside(body, origin.at),
        subject_kind=body.subject_kind,
        subject=_subject(body),
        model=body.model,
        decision=body.decision,
        target=body.target,
        label=body.label,
        text=body.text,
        prediction_id=body.prediction_id,
        reviewer=body.reviewer or origin.app,
        app=origin.app,
        note=body.note,
    )


def _subject(body: ReviewBody) -> str:
    """What is decided on. The id of a label and of a text is a hash: they are free text, and an id is not."""
    if body.text is not None:
        return example_id(body.model, body.text)
    return short_hash("label", body.model, body.label) if body.label is not None else body.subject or ""


def _erasure(body: ErasureBody, origin: Origin, event_id: str) -> UserErased:
    return UserErased(
        event_id=event_id,
        occurred_at=origin.at,
        source=SOURCE,
        user_key=user_key(origin.secret, body.app or origin.app, body.user),
        requested_by=origin.app,
    )


def _training(body: TrainingBody, origin: Origin, event_id: str) -> TrainingRequested:
    return TrainingRequested(
        event_id=event_id,
        occurred_at=origin.at,
        source=SOURCE,
        **_beside(body, origin.at),
        request_id=event_id,
        model=body.model,
        trigger="added" if body.card else "person",
        detail=body.detail,
        requested_by=origin.app,
        card=ModelCard.model_validate(body.card.model_dump()) if body.card else None,
    )


# By exact type: `isinstance` of a pydantic class is a call into Python, and ten of them cost as much as all checks.
_SAID: dict[type[Spoken], Callable[[Any], dict[str, Any]]] = {
    **dict.fromkeys(
        (ThumbsBody, RatingBody, CorrectionBody, CommentBody), lambda body: {"kind": body.kind, "value": body.value}
    ),
    PreferenceBody: lambda body: {
        "kind": body.kind,
        "value": {"chosen": body.value.chosen, "rejected": body.value.rejected},
    },
}
# Each field in its place, so that this JSON is that of the event itself.
_BLANK: dict[str, Any] = {**dict.fromkeys(FeedbackReceived.model_fields), "source": SOURCE}
_NEWER = frozenset({NewerBody, NewerFeedback})
_MAKERS: dict[type[Any], Callable[[Any, Origin, str], Event]] = {
    PredictionBody: _prediction,
    ReviewBody: _review,
    TrainingBody: _training,
    **dict.fromkeys(_NEWER, _quarantined),
    ErasureBody: _erasure,
}
