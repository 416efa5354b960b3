"""Learning velocity: how fast what users say becomes right answers. From SQL alone, so anyone can compute it again."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, case, func, select
from sqlmodel import col

from services.board import fixes, lineage, served
from services.board.database import row, rows
from services.board.proportion import Difference, Proportion, difference
from shared.tables import FeedbackRow, Prediction, Verdict, Version


@dataclass(frozen=True)
class Repeats:
    """Judged answers on inputs that somebody had corrected before, and how many were wrong again."""

    judged: int
    wrong: int


@dataclass(frozen=True)
class Promotion:
    """Served accuracy around a change of the champion: the old one's last answers, the new one's first."""

    at: datetime
    name: str
    rollback: bool
    before: Proportion
    after: Proportion
    change: Difference | None


@dataclass(frozen=True)
class Velocity:
    """The figures of one model."""

    model: str
    predictions: int
    feedback: int
    first: Proportion
    now: Proportion
    by_version: dict[str, Proportion]
    increments: int
    promotions: int
    rejections: int
    inconclusive: int
    champions: tuple[Promotion, ...]
    fix_times: fixes.FixTimes
    repeats: Repeats

    @property
    def gain(self) -> float | None:
        """Served accuracy now less that at the start, as a share; None before there is both."""
        if self.now.value is None or self.first.value is None:
            return None
        return self.now.value - self.first.value

    @property
    def gain_per_100_feedback(self) -> float | None:
        """Gain for every 100 stored feedback events, as a share."""
        return None if self.gain is None or not self.feedback else self.gain / self.feedback * 100


def velocity(engine: Engine, model: str, window: int = served.WINDOW) -> Velocity:
    """Compute the figures; `window` is the number of solicited answers in «first», «now», «before» and «after».

    Increments and verdicts count what came after v0, which a person made champion. `feedback` counts what is joined
    with a prediction of the model.
    """
    first, now = served.first_and_last(engine, model, window)
    called = lineage.names(engine, model)
    outcomes = _outcomes(engine, model)
    return Velocity(
        model=model,
        predictions=_count(engine, model, Prediction),
        feedback=_count(engine, model, FeedbackRow),
        first=first,
        now=now,
        by_version={called.get(made, made): accuracy for made, accuracy in served.by_version(engine, model).items()},
        increments=_increments(engine, model),
        promotions=outcomes.get("promote", 0),
        rejections=outcomes.get("reject", 0),
        inconclusive=outcomes.get("inconclusive", 0),
        champions=_champions(lineage.marks(engine, model), served.by_reign(engine, model, window)),
        fix_times=fixes.times(engine, model),
        repeats=_repeats(engine, model),
    )


def _champions(marks: tuple[lineage.Mark, ...], reigns: tuple[served.ServedBy, ...]) -> tuple[Promotion, ...]:
    last = {(reign.version, reign.reign): reign.last for reign in reigns}
    first = {(reign.version, reign.reign): reign.first for reign in reigns}
    nothing = Proportion(0, 0)
    made = []
    for number, mark in enumerate(marks, 1):
        if mark.previous is None:
            continue
        before = last.get((mark.previous, number - 1), nothing)
        after = first.get((mark.version, number), nothing)
        made.append(Promotion(mark.at, mark.name, mark.rollback, before, after, difference(before, after)))
    return tuple(made)


def _count(engine: Engine, model: str, table: type[Prediction | FeedbackRow]) -> int:
    found = row(engine, select(func.count()).select_from(table).where(col(table.model) == model))
    return int(found[0])


def _increments(engine: Engine, model: str) -> int:
    found = row(
        engine,
        select(func.count()).select_from(Version).where(col(Version.model) == model, col(Version.parent).is_not(None)),
    )
    return int(found[0])


def _outcomes(engine: Engine, model: str) -> dict[str, int]:
    """How many candidates came to which outcome, by the last look at each."""
    last = func.row_number().over(
        partition_by=col(Verdict.candidate), order_by=[col(Verdict.occurred_at).desc(), col(Verdict.event_id)]
    )
    looks = (
        select(col(Verdict.outcome), last.label("place"))
        .join(Version, col(Version.version) == col(Verdict.candidate))
        .where(col(Verdict.model) == model, col(Version.parent).is_not(None))
        .subquery()
    )
    found = rows(engine, select(looks.c.outcome, func.count()).where(looks.c.place == 1).group_by(looks.c.outcome))
    return dict(found)


def _repeats(engine: Engine, model: str) -> Repeats:
    """Predictions served after their input's first correction; one is wrong when anyone says so."""
    corrected = (
        select(col(FeedbackRow.example_id).label("example_id"), func.min(FeedbackRow.occurred_at).label("at"))
        .where(col(FeedbackRow.model) == model, col(FeedbackRow.kind) == "correction", col(FeedbackRow.wrong).is_(True))
        .group_by(col(FeedbackRow.example_id))
        .subquery()
    )
    again = (
        select(func.max(case((col(FeedbackRow.wrong).is_(True), 1), else_=0)).label("wrong"))
        .join(Prediction, col(Prediction.prediction_id) == col(FeedbackRow.prediction_id))
        .join(corrected, corrected.c.example_id == col(FeedbackRow.example_id))
        .where(
            col(FeedbackRow.model) == model,
            col(FeedbackRow.wrong).is_not(None),
            col(Prediction.occurred_at) > corrected.c.at,
        )
        .group_by(col(FeedbackRow.prediction_id))
        .subquery()
    )
    judged, wrong = row(engine, select(func.count(), func.coalesce(func.sum(again.c.wrong), 0)).select_from(again))
    return Repeats(int(judged), int(wrong))
