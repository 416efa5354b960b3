"""Served accuracy: how often the answers that users were asked about at random were right.

Only solicited answers count: whoever volunteers has mostly seen an error, so volunteered feedback says where a model
fails and not how good it is. Each prediction counts once, by the last thing said of it, at the time it was served.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, Subquery, case, func, or_, select
from sqlmodel import col

from services.board.database import row, rows
from services.board.proportion import Proportion
from shared.tables import FeedbackRow, Prediction, StateChange

WINDOW = 100  # answers in one rolling value: a band of ±10 points at worst; 1,000 predictions at 10 % solicited
POINTS = 240  # points of a drawn curve: about one for every three pixels
FIRST_DRAWN = 10  # a rolling value on fewer answers is all band


@dataclass(frozen=True)
class Point:
    """Accuracy over the last `WINDOW` answers up to a time."""

    at: datetime
    accuracy: Proportion


@dataclass(frozen=True)
class ServedBy:
    """What a version served in one reign, counted from 1: in all, and over its first and last `window` answers."""

    version: str
    reign: int
    accuracy: Proportion
    first: Proportion
    last: Proportion


def answers(model: str) -> Subquery:
    """One row a judged solicited prediction: `prediction_id`, `version`, `at` and `right` (0 or 1)."""
    said_last = func.row_number().over(
        partition_by=col(FeedbackRow.prediction_id),
        order_by=[col(FeedbackRow.occurred_at).desc(), col(FeedbackRow.event_id).desc()],
    )
    said = (
        select(col(FeedbackRow.prediction_id), col(FeedbackRow.wrong), said_last.label("place"))
        .where(
            col(FeedbackRow.model) == model,
            col(FeedbackRow.solicited).is_(True),
            col(FeedbackRow.wrong).is_not(None),
        )
        .subquery()
    )
    return (
        select(
            col(Prediction.prediction_id),
            col(Prediction.version),
            col(Prediction.occurred_at).label("at"),
            case((said.c.wrong, 0), else_=1).label("right"),
        )
        .join(said, said.c.prediction_id == col(Prediction.prediction_id))
        .where(said.c.place == 1)
        .subquery()
    )


def curve(engine: Engine, model: str, window: int = WINDOW) -> tuple[Point, ...]:
    """The rolling accuracy, at most about `POINTS` points of it, the newest always among them."""
    given = answers(model)
    order = [given.c.at, given.c.prediction_id]
    rolling = select(
        given.c.at,
        func.sum(given.c.right).over(order_by=order, rows=(1 - window, 0)).label("hits"),
        func.count().over(order_by=order, rows=(1 - window, 0)).label("n"),
        func.row_number().over(order_by=order).label("place"),
        func.count().over().label("total"),
    ).subquery()
    every = (rolling.c.total + POINTS - 1) // POINTS
    drawn = (
        select(rolling.c.at, rolling.c.hits, rolling.c.n)
        .where(rolling.c.n >= FIRST_DRAWN)
        .where(or_(rolling.c.place % every == 0, rolling.c.place == rolling.c.total))
        .order_by(rolling.c.place)
    )
    return tuple(Point(at, Proportion(int(hits), n)) for at, hits, n in rows(engine, drawn))


def first_and_last(engine: Engine, model: str, window: int = WINDOW) -> tuple[Proportion, Proportion]:
    """Accuracy over the first and the last `window` answers; halves of them, while there are not two windows."""
    given = answers(model)
    order = [given.c.at, given.c.prediction_id]
    placed = select(
        given.c.right,
        func.row_number().over(order_by=order).label("place"),
        func.count().over().label("total"),
    ).subquery()
    half = (placed.c.total + 1) // 2
    width = case((half < window, half), else_=window)
    early, late = placed.c.place <= width, placed.c.place > placed.c.total - width
    found = row(
        engine,
        select(
            func.sum(case((early, placed.c.right), else_=0)),
            func.sum(case((early, 1), else_=0)),
            func.sum(case((late, placed.c.right), else_=0)),
            func.sum(case((late, 1), else_=0)),
        ),
    )
    right_first, first, right_last, last = (int(value or 0) for value in found)
    return Proportion(right_first, first), Proportion(right_last, last)


def by_reign(engine: Engine, model: str, window: int = WINDOW) -> tuple[ServedBy, ...]:
    """What each version served, apart for each time that it was champion (a rollback brings one back)."""
    given = answers(model)
    reign = (
        select(func.count())
        .select_from(StateChange)
        .where(
            col(StateChange.model) == model,
            col(StateChange.alias) == "champion",
            col(StateChange.occurred_at) <= given.c.at,
        )
        .scalar_subquery()
    )
    timed = select(given.c.version, given.c.right, given.c.at, given.c.prediction_id, reign.label("reign")).subquery()
    order, backwards = [timed.c.at, timed.c.prediction_id], [timed.c.at.desc(), timed.c.prediction_id.desc()]
    group = [timed.c.version, timed.c.reign]
    placed = select(
        *group,
        timed.c.right,
        func.row_number().over(partition_by=group, order_by=order).label("place"),
        func.row_number().over(partition_by=group, order_by=backwards).label("back"),
    ).subquery()
    early, late = placed.c.place <= window, placed.c.back <= window
    counted = select(
        placed.c.version,
        placed.c.reign,
        func.sum(placed.c.right),
        func.count(),
        func.sum(case((early, placed.c.right), else_=0)),
        func.sum(case((early, 1), else_=0)),
        func.sum(case((late, placed.c.right), else_=0)),
        func.sum(case((late, 1), else_=0)),
    ).group_by(placed.c.version, placed.c.reign)
    return tuple(
        ServedBy(version, reign, *(Proportion(int(figures[i]), int(figures[i + 1])) for i in (0, 2, 4)))
        for version, reign, *figures in rows(engine, counted)
    )


def by_version(engine: Engine, model: str) -> dict[str, Proportion]:
    """Accuracy of each version over all that it served."""
    given = answers(model)
    counted = select(given.c.version, func.sum(given.c.right), func.count()).group_by(given.c.version)
    return {version: Proportion(int(hits), n) for version, hits, n in rows(engine, counted)}
