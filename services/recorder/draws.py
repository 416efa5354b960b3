"""Predictions that were drawn for reviewers: each is the first word on its input, before anybody says anything.

So what users volunteer never decides whether an audited input teaches versions or judges them, and a reviewer is asked
whoever else has answered.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Select, select
from sqlmodel import col

from services.recorder.facts import Stored
from services.recorder.join import ANSWER, AUDIT, Answer, Joined, answer_of
from services.recorder.sql import among, chunks
from shared.tables import Prediction


def new(stored: Stored) -> list[Joined]:
    """The draws among new predictions."""
    drawn = [row for row in stored.predictions.values() if row["audit"]]
    return [
        _word(row["event_id"], row["occurred_at"], row["prediction_id"], row["user_key"], answer_of(row))
        for row in drawn
    ]


def of(connection: Connection, examples: Iterable[str]) -> list[Joined]:
    """All draws of some inputs."""
    query: Select[*tuple[Any, ...]] = select(
        col(Prediction.event_id),
        col(Prediction.occurred_at),
        col(Prediction.prediction_id),
        col(Prediction.user_key),
        *ANSWER,
    ).where(col(Prediction.audit).is_(True))
    return [
        _word(event_id, at, key, user, Answer(*answer))
        for some in chunks(examples)
        for event_id, at, key, user, *answer in connection.execute(
            query.where(among(connection, Prediction.example_id, some))
        )
    ]


def _word(event_id: str, at: Any, prediction_id: str, user: str | None, answer: Answer) -> Joined:
    return Joined(event_id, at, prediction_id, user, AUDIT, answer, None, None)
