"""The rows that a candidate is judged on, read from SQL: solicited holdout, golden anchor, corrections to fix."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from shared.tables import Example, FeedbackRow

MOST_CORRECTIONS = 2000  # newest open corrections that a verdict looks at; bounds its cost


@dataclass(frozen=True)
class Row:
    """One input, its right output and who gave it."""

    id: str
    text: str
    target: str
    user: str | None


@dataclass(frozen=True)
class Evidence:
    """Everything a candidate is looked at with."""

    solicited: tuple[Row, ...]
    anchor: tuple[Row, ...]
    corrections: tuple[Row, ...]


def gather(engine: Engine, model: str, window: int, taught: Collection[str]) -> Evidence:
    """The evidence on a model now, without the ids that the candidate was trained on, whatever SQL says of them."""
    with Session(engine) as session:
        rows = select(Example.id, Example.text, Example.target, Example.user_key).where(Example.model == model)
        open_rows = rows.where(Example.status == "holdout", col(Example.learned_in).is_(None))
        solicited = open_rows.where(Example.side == "holdout").order_by(col(Example.first_at).desc()).limit(window)
        anchor = rows.where(Example.side == "anchor")
        corrected = (
            select(FeedbackRow.example_id)
            .where(FeedbackRow.model == model, FeedbackRow.kind == "correction")
            .where(col(FeedbackRow.wrong).is_(True), col(FeedbackRow.solicited).is_(False))
        )
        corrections = (
            rows.where(Example.status == "train", col(Example.fixed_in).is_(None), col(Example.id).in_(corrected))
            .order_by(col(Example.first_at).desc())
            .limit(MOST_CORRECTIONS)
        )
        found = [
            tuple(Row(id, text, target, user) for id, text, target, user in session.exec(query) if target is not None)
            for query in (solicited, anchor, corrections)
        ]
    fresh = tuple(row for row in found[0] if row.id not in taught)
    return Evidence(fresh, found[1], found[2])
