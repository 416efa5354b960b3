"""Where a model fails: the slices that the aggregator counts, ranked, and what was said in one of them."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

from sqlalchemy import Engine, Executable, and_, case, func, select
from sqlmodel import col

from services.board.database import rows
from services.board.lineage import marks
from services.board.proportion import Difference, Proportion, difference
from shared.tables import ErrorSlice

Kind = Literal["label", "confusion", "app", "tag"]
BINS = 24  # bars of a sparkline


@dataclass(frozen=True)
class Slice:
    """One slice over a window; `before` and `after` are the two reigns around the newest change of the champion."""

    slice: str
    errors: Proportion
    before: Proportion
    after: Proportion
    bars: tuple[int, ...]

    @property
    def name(self) -> str:
        """The slice without its kind."""
        return self.slice.split("=", 1)[-1]

    @property
    def pair(self) -> tuple[str, str]:
        """Predicted and right label of a confusion slice."""
        predicted, _, right = self.name.partition("→")
        return predicted, right

    @property
    def change(self) -> Difference | None:
        """How the error rate moved with the newest change of the champion; below 0 is better."""
        return difference(self.before, self.after)


@dataclass(frozen=True)
class Turn:
    """The newest change of the champion, and the times between which buckets count as before it."""

    start: datetime
    end: datetime
    after: datetime


def worst(engine: Engine, model: str, kind: Kind, since: datetime | None = None, limit: int = 50) -> tuple[Slice, ...]:
    """The slices with the most failures (rate × volume) since a time, those with the higher rate first among equals."""
    turn = _turn(engine, model)
    found = rows(engine, _ranked(model, kind, since, turn, limit))
    bars = _bars(engine, model, [slice_ for slice_, *_ in found], since)
    return tuple(
        Slice(
            slice_,
            Proportion(int(wrong), int(judged)),
            Proportion(int(wrong_before), int(judged_before)),
            Proportion(int(wrong_after), int(judged_after)),
            bars.get(slice_, ()),
        )
        for slice_, wrong, judged, wrong_before, judged_before, wrong_after, judged_after in found
    )


def _ranked(model: str, kind: Kind, since: datetime | None, turn: Turn | None, limit: int) -> Executable:
    wrong, judged, bucket = col(ErrorSlice.wrong), col(ErrorSlice.judged), col(ErrorSlice.bucket)
    before = and_(bucket >= turn.start, bucket <= turn.end) if turn else bucket.is_(None)
    after = bucket >= turn.after if turn else bucket.is_(None)
    statement = (
        select(
            col(ErrorSlice.slice),
            func.sum(wrong).label("wrong"),
            func.sum(judged).label("judged"),
            func.sum(case((before, wrong), else_=0)),
            func.sum(case((before, judged), else_=0)),
            func.sum(case((after, wrong), else_=0)),
            func.sum(case((after, judged), else_=0)),
        )
        .where(col(ErrorSlice.model) == model, col(ErrorSlice.slice).startswith(f"{kind}=", autoescape=True))
        .group_by(col(ErrorSlice.slice))
        .having(func.sum(wrong) > 0)
        .order_by(func.sum(wrong).desc(), func.sum(judged), col(ErrorSlice.slice))
        .limit(limit)
    )
    return statement if since is None else statement.where(bucket >= since)


def _turn(engine: Engine, model: str) -> Turn | None:
    """A bucket in which the champion changed belongs to neither side."""
    changes = marks(engine, model)
    if len(changes) < 2:
        return None
    widest = rows(engine, select(func.max(ErrorSlice.bucket_seconds)).where(col(ErrorSlice.model) == model))[0][0] or 0
    return Turn(changes[-2].at, changes[-1].at - timedelta(seconds=widest), changes[-1].at)


def _bars(engine: Engine, model: str, slices: list[str], since: datetime | None) -> dict[str, tuple[int, ...]]:
    """Failures over time in `BINS` equal steps, the same steps for every slice."""
    wanted = select(col(ErrorSlice.slice), col(ErrorSlice.bucket), col(ErrorSlice.wrong)).where(
        col(ErrorSlice.model) == model, col(ErrorSlice.slice).in_(slices)
    )
    found = rows(engine, wanted if since is None else wanted.where(col(ErrorSlice.bucket) >= since))
    if not found:
        return {}
    first, last = min(bucket for _, bucket, _ in found), max(bucket for _, bucket, _ in found)
    step = max((last - first) / (BINS - 1), timedelta(seconds=1))
    bars = {slice_: [0] * BINS for slice_ in slices}
    for slice_, bucket, wrong in found:
        bars[slice_][min(BINS - 1, (bucket - first) // step)] += wrong
    return {slice_: tuple(counts) for slice_, counts in bars.items()}
