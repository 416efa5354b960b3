"""Feedback-to-fix: from a user's correction to the first answer of a version that gets its input right."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from statistics import quantiles

from sqlalchemy import Engine, Subquery, func, select
from sqlmodel import col

from services.board.database import row, rows
from services.board.lineage import names
from shared.tables import Example, FeedbackRow, Prediction, Version


@dataclass(frozen=True)
class FixTimes:
    """How long corrections took to be fixed, over those that are, and how many still wait."""

    fixed: int
    open: int
    p50_s: float | None
    p95_s: float | None


@dataclass(frozen=True)
class Fix:
    """One correction that a promoted version gets right."""

    text: str
    target: str
    name: str
    corrected_at: datetime
    served_at: datetime

    @property
    def seconds(self) -> float:
        """From the correction to the fix; clocks of two services may differ by a little, never below 0."""
        return max(0.0, (self.served_at - self.corrected_at).total_seconds())


def times(engine: Engine, model: str) -> FixTimes:
    """Feedback-to-fix over the train-side examples that someone corrected unasked."""
    corrected, served = _corrected(model), _first_served(model)
    fixed_at = func.coalesce(served.c.at, col(Example.fixed_at))
    found = rows(
        engine,
        select(corrected.c.at, fixed_at)
        .join(Example, col(Example.id) == corrected.c.example_id)
        .join(served, served.c.version == col(Example.fixed_in), isouter=True)
        .where(col(Example.side) == "train", col(Example.fixed_in).is_not(None)),
    )
    seconds = [max(0.0, (fixed - given).total_seconds()) for given, fixed in found]
    p50, p95 = percentiles(seconds)
    return FixTimes(len(seconds), _open(engine, model), p50, p95)


def latest(engine: Engine, model: str, limit: int = 8) -> tuple[Fix, ...]:
    """The newest fixes, newest first."""
    corrected, served = _corrected(model), _first_served(model)
    fixed_at = func.coalesce(served.c.at, col(Example.fixed_at))
    called = names(engine, model)
    found = rows(
        engine,
        select(col(Example.text), col(Example.target), col(Example.fixed_in), corrected.c.at, fixed_at)
        .join(corrected, corrected.c.example_id == col(Example.id))
        .join(served, served.c.version == col(Example.fixed_in), isouter=True)
        .where(col(Example.side) == "train", col(Example.fixed_in).is_not(None))
        .order_by(fixed_at.desc(), corrected.c.at.desc(), col(Example.id))
        .limit(limit),
    )
    return tuple(
        Fix(text, target or "", called.get(version, version), given, fixed)
        for text, target, version, given, fixed in found
    )


def percentiles(seconds: list[float]) -> tuple[float | None, float | None]:
    """The median and the 95th percentile, linear between neighbours; None without any value."""
    if not seconds:
        return None, None
    cuts = quantiles(seconds * 2 if len(seconds) == 1 else seconds, n=100, method="inclusive")
    return cuts[49], cuts[94]


def _corrected(model: str) -> Subquery:
    """When each example was first corrected by someone who was not asked."""
    return (
        select(col(FeedbackRow.example_id).label("example_id"), func.min(FeedbackRow.occurred_at).label("at"))
        .where(
            col(FeedbackRow.model) == model,
            col(FeedbackRow.kind) == "correction",
            col(FeedbackRow.wrong).is_(True),
            col(FeedbackRow.solicited).is_(False),
            col(FeedbackRow.example_id).is_not(None),
        )
        .group_by(col(FeedbackRow.example_id))
        .subquery()
    )


def _first_served(model: str) -> Subquery:
    """When each version that fixed something first answered.

    Looked for from its training on, so that the index on time ends the search at the first row.
    """
    fixing = select(col(Example.fixed_in)).where(col(Example.model) == model, col(Example.fixed_in).is_not(None))
    first = select(func.min(Prediction.occurred_at)).where(
        col(Prediction.model) == model,
        col(Prediction.version) == col(Version.version),
        col(Prediction.occurred_at) >= col(Version.occurred_at),
    )
    return (
        select(col(Version.version).label("version"), first.scalar_subquery().label("at"))
        .where(col(Version.version).in_(fixing.distinct()))
        .subquery()
    )


def _open(engine: Engine, model: str) -> int:
    corrected = _corrected(model)
    found = row(
        engine,
        select(func.count())
        .select_from(corrected)
        .join(Example, col(Example.id) == corrected.c.example_id)
        .where(col(Example.side) == "train", col(Example.fixed_in).is_(None)),
    )
    return int(found[0])
