"""What SQL has of what the demo sent: nothing may be missing, nothing may be there twice."""

from __future__ import annotations

import time
from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Engine, func
from sqlmodel import Session, col, select

from local.demo.users import Traffic
from shared.ids import namespaced
from shared.tables import FeedbackRow, Prediction, Version

POLL_S = 0.3


@dataclass(frozen=True)
class Stored:
    """Counts of predictions and feedback together, but for `feedback`. `lost`: answered with 2xx and not in SQL."""

    feedback: int
    lost: int
    duplicates: int


def wait_stored(engine: Engine, model: str, traffic: Traffic, timeout_s: float) -> Stored:
    """What is stored of a model's traffic when nothing is missing any more, or when the time is over."""
    deadline = time.monotonic() + timeout_s
    while (stored := _count(engine, model, traffic)).lost and time.monotonic() < deadline:
        time.sleep(POLL_S)
    return stored


def _count(engine: Engine, model: str, traffic: Traffic) -> Stored:
    said = {namespaced(model, event_id) for event_id in traffic.said}  # the demo's app has its model's name
    answered = {answer.prediction_id for answer in traffic.answers if answer}
    with Session(engine) as session:
        predictions = session.exec(select(Prediction.prediction_id).where(Prediction.model == model)).all()
        mine = col(FeedbackRow.prediction_id).like(f"{model}-%")
        feedback = session.exec(select(FeedbackRow.event_id).where(mine)).all()
        judged = session.exec(select(func.count(func.distinct(col(FeedbackRow.prediction_id)))).where(mine)).one()
    lost_feedback = max(0, traffic.stats.accepted - len(set(feedback) & said))
    return Stored(
        feedback=len(feedback),
        lost=len(answered - set(predictions)) + lost_feedback,
        duplicates=_surplus(predictions, answered) + _surplus(feedback, said) + len(feedback) - judged,
    )


def _surplus(stored: Collection[str], sent: set[str]) -> int:
    """Rows beyond one for each event that was sent."""
    return len(stored) - len(set(stored) & sent)


def training_speed(engine: Engine, model: str) -> float | None:
    """Examples per second over all increments after the first version; None without any."""
    with Session(engine) as session:
        rows = session.exec(
            select(Version.examples_per_s, Version.train_seconds).where(
                Version.model == model, col(Version.parent).is_not(None)
            )
        ).all()
    seconds = sum(took for _, took in rows)
    return sum(speed * took for speed, took in rows) / seconds if seconds else None


def labels_of(engine: Engine, version: str) -> list[str]:
    """The labels that a version knows."""
    with Session(engine) as session:
        return session.get_one(Version, version).labels
