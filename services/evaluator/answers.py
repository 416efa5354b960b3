"""What users said when they were asked at random, answer by answer, as it came: what trials and watches are fed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, Select, select
from sqlmodel import Session, col

from shared.label_schema import EVERY_LABEL, schemas
from shared.tables import FeedbackRow, Prediction


@dataclass(frozen=True)
class Answer:
    """The first that a user said of one prediction: whether it was right, and what would have been, if that is known.

    `user` is whom the version answered; `at`, when it did.
    """

    prediction: str
    version: str
    input: str
    right: bool
    target: str | None
    user: str | None
    at: datetime


def read_answers(engine: Engine, model: str, versions: Sequence[str], since: datetime, most: int) -> tuple[Answer, ...]:
    """At most so many solicited answers on what these versions served since a moment, in the order they were given.

    A later word on the same prediction is not heard, so that what was counted once stays as it is. Targets are read
    through the model's labels as they stand now.
    """
    said = statement(model, versions, since, most)
    with Session(engine) as session:
        labels = schemas(session, [model]).get(model, EVERY_LABEL)
        first: dict[str, Answer] = {}
        for prediction, version, text, wrong, target, user, at in session.execute(said):
            standing = None if target is None else labels.standing(target)
            first.setdefault(prediction, Answer(prediction, version, text, not wrong, standing, user, at))
    return tuple(first.values())


def statement(
    model: str, versions: Sequence[str], since: datetime, most: int
) -> Select[str, str, str, bool | None, str | None, str | None, datetime]:
    """What is asked of SQL: an index of solicited feedback serves it, however much was volunteered meanwhile."""
    return (
        select(
            col(Prediction.prediction_id),
            col(Prediction.version),
            col(Prediction.input),
            col(FeedbackRow.wrong),
            col(FeedbackRow.target),
            col(Prediction.user_key),
            col(Prediction.occurred_at),
        )
        .join(Prediction, col(Prediction.prediction_id) == col(FeedbackRow.prediction_id))
        .where(
            col(FeedbackRow.model) == model,
            col(FeedbackRow.occurred_at) >= since,
            col(FeedbackRow.solicited).is_(True),
            col(FeedbackRow.wrong).is_not(None),
            col(FeedbackRow.version).in_(list(versions)),
            col(Prediction.occurred_at) >= since,
        )
        .order_by(col(FeedbackRow.occurred_at), col(FeedbackRow.event_id))
        .limit(most)
    )
