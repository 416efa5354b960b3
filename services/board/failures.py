"""The inputs behind a slice: what was asked, answered and said, and where the lesson of it stands."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Engine, Subquery, func, select, true
from sqlmodel import col

from schemas.events import NEW_LABEL
from services.board.database import rows
from services.board.lineage import names
from shared.tables import Example, FeedbackRow, Prediction, Version

LIMIT = 200  # as many as a person reads


@dataclass(frozen=True)
class Failure:
    """One prediction that someone called wrong."""

    text: str
    answered: str
    right: str | None
    state: str
    version: str
    app: str
    at: datetime


def apps(engine: Engine, model: str) -> tuple[str, ...]:
    """The apps that sent feedback."""
    wanted = select(col(FeedbackRow.app)).where(col(FeedbackRow.model) == model).distinct()
    return tuple(sorted(app for (app,) in rows(engine, wanted)))


def failures(
    engine: Engine,
    model: str,
    slice_: str | None = None,
    app: str | None = None,
    since: datetime | None = None,
    limit: int = LIMIT,
) -> tuple[Failure, ...]:
    """The newest failures of a slice, each prediction once, with the right output where someone told it."""
    told_first = func.row_number().over(
        partition_by=col(FeedbackRow.prediction_id),
        order_by=[col(FeedbackRow.target).is_(None), col(FeedbackRow.occurred_at).desc(), col(FeedbackRow.event_id)],
    )
    said = (
        select(
            col(Prediction.input),
            col(Prediction.output),
            col(FeedbackRow.target),
            col(Prediction.version),
            col(Prediction.tags),
            col(FeedbackRow.app),
            col(FeedbackRow.occurred_at).label("at"),
            col(Prediction.example_id),
            told_first.label("place"),
        )
        .join(Prediction, col(Prediction.prediction_id) == col(FeedbackRow.prediction_id))
        .where(col(FeedbackRow.model) == model, col(FeedbackRow.wrong).is_(True))
        .where(true() if app is None else col(FeedbackRow.app) == app)
        .where(true() if since is None else col(FeedbackRow.occurred_at) >= since)
        .subquery()
    )
    found = rows(
        engine,
        select(said, col(Example.status), col(Example.learned_in), col(Example.fixed_in))
        .join(Example, col(Example.id) == said.c.example_id, isouter=True)
        .where(said.c.place == 1, _within(said, slice_, _labels(engine, model)))
        .order_by(said.c.at.desc(), said.c.example_id)
        .limit(limit),
    )
    called = names(engine, model)
    return tuple(
        Failure(
            text=one.input,
            answered=one.output,
            right=one.target,
            state=_state(one.status, one.learned_in, one.fixed_in, called),
            version=called.get(one.version, one.version),
            app=one.app,
            at=one.at,
        )
        for one in found
    )


def _labels(engine: Engine, model: str) -> frozenset[str]:
    """The labels that some version answers with."""
    found = rows(engine, select(col(Version.labels)).where(col(Version.model) == model))
    return frozenset(label for (labels,) in found for label in labels)


def _within(said: Subquery, slice_: str | None, labels: frozenset[str]) -> ColumnElement[bool]:
    """The condition that a slice's name stands for; a label is the right one, or else the served one."""
    kind, _, name = (slice_ or "").partition("=")

    def called(column: ColumnElement[str], label: str) -> ColumnElement[bool]:
        return column.not_in(sorted(labels)) if label == NEW_LABEL else column == label

    if kind == "label":
        return called(func.coalesce(said.c.target, said.c.output), name)
    if kind == "confusion":
        predicted, _, right = name.partition("→")
        return called(said.c.output, predicted) & called(said.c.target, right)
    if kind == "tag":
        tag, _, value = name.partition(":")
        tagged: ColumnElement[bool] = said.c.tags[tag].as_string() == value
        return tagged
    return said.c.app == name if kind == "app" else true()


def _state(status: str | None, learned_in: str | None, fixed_in: str | None, called: dict[str, str]) -> str:
    """How far an error has come on its way to being fixed."""
    if fixed_in:
        return f"fixed in {called.get(fixed_in, fixed_in)}"
    if learned_in:
        return f"learned in {called.get(learned_in, learned_in)}"
    waiting = {"train": "waiting to be learned", "holdout": "evidence for the gate", "quarantined": "waits for review"}
    return waiting.get(status or "", "waiting for agreement")
