"""Feedback meets its prediction, whichever came first. Until then it is an orphan: visible, with no model."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, bindparam, select, update
from sqlmodel import col

from services.recorder.sql import chunks
from shared.tables import FeedbackRow, Prediction

RIGHT_STARS = 4  # of five: four and five say that the output was right, one and two that it was wrong
WRONG_STARS = 2


@dataclass(frozen=True)
class Judgement:
    """What one feedback tells of its prediction: the right output, and whether the served one was wrong."""

    target: str | None
    wrong: bool | None


@dataclass(frozen=True)
class Joined:
    """A feedback that found its prediction."""

    event_id: str
    occurred_at: datetime
    user_key: str | None
    model: str
    version: str
    example_id: str
    text: str
    solicited: bool
    target: str | None
    wrong: bool | None

    @property
    def moment(self) -> tuple[datetime, str]:
        """Its place in the order of all feedback, equal in every replay."""
        return self.occurred_at, self.event_id


def judge(kind: str, value: Any, output: str) -> Judgement:
    """What a feedback of this kind and value says of the served output. White space around an output means nothing."""
    served = output.strip() or None
    if kind == "correction":
        right = str(value).strip() or None
        return Judgement(right, None if right is None else right != served)
    right_or_wrong = {"up": False, "down": True}.get(str(value)) if kind == "thumbs" else None
    if kind == "rating":
        right_or_wrong = False if value >= RIGHT_STARS else True if value <= WRONG_STARS else None
    return Judgement(served if right_or_wrong is False else None, right_or_wrong)


def find(connection: Connection, prediction_ids: Iterable[str]) -> list[Joined]:
    """The orphans of these predictions whose prediction is there, judged; `attach` writes it down."""
    query = select(
        col(FeedbackRow.event_id),
        col(FeedbackRow.occurred_at),
        col(FeedbackRow.user_key),
        col(FeedbackRow.kind),
        col(FeedbackRow.value),
        col(Prediction.model),
        col(Prediction.version),
        col(Prediction.example_id),
        col(Prediction.input),
        col(Prediction.output),
        col(Prediction.solicit),
    ).join_from(FeedbackRow, Prediction, col(FeedbackRow.prediction_id) == col(Prediction.prediction_id))
    found: list[Joined] = []
    for ids in chunks(prediction_ids):
        orphans = query.where(col(FeedbackRow.prediction_id).in_(ids), col(FeedbackRow.model).is_(None))
        for event_id, at, user, kind, value, model, version, example, text, output, solicit in connection.execute(
            orphans
        ):
            said = judge(kind, value, output)
            found.append(Joined(event_id, at, user, model, version, example, text, solicit, said.target, said.wrong))
    return found


def attach(connection: Connection, joined: Sequence[Joined], counted: frozenset[str]) -> None:
    """Write what the join told. `counted` are the event ids of those that are votes within their user's cap."""
    if not joined:
        return
    statement = (
        update(FeedbackRow)
        .where(col(FeedbackRow.event_id) == bindparam("of"))
        .values({name: bindparam(name) for name in JOINED_COLUMNS})
    )
    connection.execute(
        statement,
        [
            {
                "of": one.event_id,
                "model": one.model,
                "version": one.version,
                "example_id": one.example_id,
                "solicited": one.solicited,
                "target": one.target,
                "wrong": one.wrong,
                "counted": None if one.target is None else one.event_id in counted,
            }
            for one in joined
        ],
    )


JOINED_COLUMNS = ("model", "version", "example_id", "solicited", "target", "wrong", "counted")
