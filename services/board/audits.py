"""Inputs that reviewers are asked for, and nothing else of them.

They are what chance drew for reviewers, and what it drew for users who did not answer, where the gate waits for it.

Who labels one must not know what a version said to it or what users said of that, or the labels would lean to who
serves. So there is no choosing either: oldest first, one at a time.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Engine, func, select
from sqlmodel import col

from services.board.database import records, rows
from shared.tables import Example, Prediction, Review, Verdict


@dataclass(frozen=True)
class Audit:
    """One input to be labelled, and the prediction by which it was drawn."""

    example_id: str
    prediction_id: str
    text: str


def is_open() -> ColumnElement[bool]:
    """Whether an example was drawn for reviewers and waits for one.

    It waits as long as the gate's window holds it. An input that users had spoken of before it was drawn is a lesson,
    and what a reviewer said of it would judge nobody.
    """
    drawn = select(col(Prediction.example_id)).where(
        col(Prediction.example_id) == col(Example.id), col(Prediction.audit).is_(True)
    )
    return (
        (col(Example.side) == "holdout")
        & col(Example.graduated).is_(False)
        & col(Example.reviewed).is_(None)
        & drawn.exists()
    )


def waiting(engine: Engine, model: str, limit: int = 200) -> tuple[Audit, ...]:
    """The inputs that wait: first those that the gate needs for a verdict, then the drawn ones; both oldest first."""
    wanted = _wanted(engine, model)
    asked_for = {one.example_id for one in wanted}
    return (*wanted, *(one for one in _drawn(engine, model, limit) if one.example_id not in asked_for))[:limit]


def _wanted(engine: Engine, model: str) -> tuple[Audit, ...]:
    """What users left open where a candidate that waits differs from the champion."""
    newest = select(Verdict).where(col(Verdict.model) == model, col(Verdict.decided_by) == "gate")
    verdicts = records(engine, newest.order_by(col(Verdict.occurred_at).desc(), col(Verdict.event_id)).limit(1))
    silent = [one for verdict in verdicts if verdict.outcome == "inconclusive" for one in verdict.silent or ()]
    decided = select(col(Review.subject)).where(
        col(Review.model) == model, col(Review.subject_kind) == "example", col(Review.prediction_id).is_not(None)
    )
    left = select(col(Prediction.example_id), col(Prediction.prediction_id), col(Prediction.input)).where(
        col(Prediction.prediction_id).in_(silent), col(Prediction.example_id).not_in(decided)
    )
    found = rows(engine, left.order_by(col(Prediction.occurred_at), col(Prediction.prediction_id)))
    return tuple(Audit(*one) for one in found)


def _drawn(engine: Engine, model: str, limit: int) -> tuple[Audit, ...]:
    """What chance drew for reviewers."""
    oldest = select(Example).where(col(Example.model) == model, is_open())
    found = records(engine, oldest.order_by(col(Example.first_at), col(Example.id)).limit(limit))
    drawn = (
        select(col(Prediction.example_id), func.min(col(Prediction.prediction_id)))
        .where(col(Prediction.example_id).in_([one.id for one in found]), col(Prediction.audit).is_(True))
        .group_by(col(Prediction.example_id))
    )
    by = {row[0]: str(row[1]) for row in rows(engine, drawn)}
    return tuple(Audit(one.id, by[one.id], one.text) for one in found if one.id in by)
