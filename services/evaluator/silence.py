"""Users who were asked and did not answer, and reviewers who label in their place, read from SQL."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from sqlalchemy import Engine, exists, func
from sqlmodel import Session, col, select

from services.evaluator.rows import Row
from shared.label_schema import EVERY_LABEL, schemas
from shared.tables import Example, FeedbackRow, Prediction, Review
from shared.text import AFTER_HEX, CLASS


def asked(session: Session, model: str, window: int, begin: datetime) -> list[Row]:
    """The newest inputs since a moment of which users were asked whether the answer was right, and nobody said so.

    Not those that are lessons, or near-duplicates of one: a version may have learned them, and they judge nobody.
    """
    told = exists().where(
        col(FeedbackRow.prediction_id) == col(Prediction.prediction_id), col(FeedbackRow.wrong).is_not(None)
    )
    judges = exists().where(col(Example.id) == col(Prediction.example_id), col(Example.status) == "holdout")
    start = func.substr(col(Prediction.example_id), 1, CLASS)
    is_near = (col(Example.id) >= start) & (col(Example.id) < start.concat(AFTER_HEX))
    lesson = exists().where(is_near, col(Example.side) != "holdout")
    query = (
        select(
            Prediction.example_id,
            func.min(Prediction.input),
            func.min(Prediction.user_key),
            func.min(Prediction.prediction_id),
        )
        .where(Prediction.model == model, col(Prediction.solicit).is_(True), col(Prediction.occurred_at) >= begin)
        .where(~told, ~judges, ~lesson)
        .group_by(col(Prediction.example_id))
        .order_by(func.max(Prediction.occurred_at).desc(), col(Prediction.example_id))
        .limit(window)
    )
    return [Row(example, text, "", user, prediction=one) for example, text, user, one in session.exec(query)]


def labelled(session: Session, model: str, silent: Sequence[Row]) -> tuple[tuple[Row, ...], tuple[Row, ...]]:
    """What reviewers labelled of the silent rows, and what is still silent; neither holds what nobody could tell."""
    said = select(Review.subject, Review.target).where(
        Review.model == model, Review.subject_kind == "example", col(Review.prediction_id).is_not(None)
    )
    in_order = session.exec(said.order_by(col(Review.occurred_at), col(Review.event_id))).all()
    found: dict[str, str | None] = dict(in_order)
    labels = schemas(session, [model]).get(model, EVERY_LABEL)
    targets = {row.id: labels.standing(target) for row in silent if (target := found.get(row.id)) is not None}
    rows = [replace(row, target=target) for row in silent if (target := targets.get(row.id)) is not None]
    return tuple(rows), tuple(row for row in silent if row.id not in found)


def decided(engine: Engine, model: str, predictions: Collection[str]) -> int:
    """How many of some predictions reviewers have labelled, or have said of that nobody could tell."""
    with Session(engine) as session:
        said = select(func.count(func.distinct(Review.prediction_id))).where(
            Review.model == model, Review.subject_kind == "example", col(Review.prediction_id).in_(predictions)
        )
        return session.exec(said).one()


def audited(session: Session, rows: Sequence[Row]) -> list[Row]:
    """The rows, marked where a reviewer labelled what was drawn for one."""
    ids = [row.id for row in rows]
    drawn = select(Prediction.example_id).where(col(Prediction.audit).is_(True), col(Prediction.example_id).in_(ids))
    known = set(session.exec(select(Example.id).where(Example.reviewed == "relabel", col(Example.id).in_(drawn))))
    return [replace(row, audited=row.id in known) for row in rows]
