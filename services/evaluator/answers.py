"""What users said when they were asked at random, answer by answer, as it came: what trials and watches are fed.

And who was asked and said nothing, and what reviewers said of what was drawn for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Engine, Select, exists, func, select
from sqlmodel import Session, col

from shared.grading import same_output
from shared.label_schema import EVERY_LABEL, schemas
from shared.tables import FeedbackRow, Prediction, Review


@dataclass(frozen=True)
class Asked:
    """A prediction that a user was asked about at random. `user` is whom the version answered; `at`, when it did."""

    prediction: str
    input: str
    user: str | None
    at: datetime


@dataclass(frozen=True)
class Answer(Asked):
    """The first that a user said of one prediction: whether it was right, and what would have been, if that is known.

    Or what a reviewer said of one that was drawn for reviewers.
    """

    version: str
    right: bool
    target: str | None


def read_answers(engine: Engine, model: str, versions: Sequence[str], since: datetime, most: int) -> tuple[Answer, ...]:
    """At most so many solicited answers on what these versions served since a moment, in the order they were given.

    A later word on the same prediction is not heard, so that what was counted once stays as it is. Targets are read
    through the model's labels as they stand now.
    """
    said = statement(model, versions, since, most)
    with Session(engine) as session:
        labels = schemas(session, [model]).get(model, EVERY_LABEL)
        first: dict[str, Answer] = {}
        for prediction, version, text, wrong, target, user, at in session.execute(said):
            standing = None if target is None else labels.standing(target)
            first.setdefault(prediction, Answer(prediction, text, user, at, version, not wrong, standing))
    return tuple(first.values())


def read_audits(engine: Engine, model: str, version: str, since: datetime, most: int) -> tuple[Answer, ...]:
    """What reviewers say of a version's predictions since a moment that were drawn for them, of at most so many.

    In the order in which they were labelled first, each input once: of one that comes again it is known beforehand who
    is right there. What nobody could tell is left out.
    """
    labelled = (
        select(col(Review.subject), func.min(col(Review.occurred_at)).label("first"))
        .where(_of_audits(model), col(Review.occurred_at) >= since)
        .group_by(col(Review.subject))
        .subquery()
    )
    drawn = (
        select(
            col(Prediction.prediction_id),
            col(Prediction.example_id),
            col(Prediction.input),
            col(Prediction.output),
            col(Prediction.user_key),
            col(Prediction.occurred_at),
        )
        .join(labelled, labelled.c.subject == col(Prediction.example_id))
        .where(col(Prediction.version) == version, col(Prediction.audit).is_(True))
        .where(col(Prediction.occurred_at) >= since)
        .order_by(labelled.c.first, col(Prediction.occurred_at), col(Prediction.prediction_id))
        .limit(most)
    )
    with Session(engine) as session:
        rows = {row.example_id: row for row in reversed(session.execute(drawn).all())}  # the first of each input
        labels = schemas(session, [model]).get(model, EVERY_LABEL)
        newest = (
            select(col(Review.subject), col(Review.target))
            .where(_of_audits(model), col(Review.subject).in_(list(rows)))
            .order_by(col(Review.occurred_at), col(Review.event_id))
        )
        said = {subject: target and labels.standing(target) for subject, target in session.execute(newest)}
    return tuple(
        Answer(
            row.prediction_id,
            row.input,
            row.user_key,
            row.occurred_at,
            version,
            same_output(row.output, target),
            target,
        )
        for row in reversed(rows.values())
        if (target := said[row.example_id]) is not None
    )


def read_silent(engine: Engine, model: str, version: str, since: datetime, most: int) -> tuple[Asked, ...]:
    """The first so many of a version's predictions since a moment whose user was asked and did not say what was right.

    Not those that a reviewer has decided on: which these are depends on nobody's being right.
    """
    told = exists().where(
        col(FeedbackRow.prediction_id) == col(Prediction.prediction_id), col(FeedbackRow.wrong).is_not(None)
    )
    decided = exists().where(col(Review.subject) == col(Prediction.example_id), _of_audits(model))
    asked = (
        select(
            col(Prediction.prediction_id), col(Prediction.input), col(Prediction.user_key), col(Prediction.occurred_at)
        )
        .where(col(Prediction.model) == model, col(Prediction.version) == version)
        .where(col(Prediction.solicit).is_(True), col(Prediction.occurred_at) >= since, ~told, ~decided)
        .order_by(col(Prediction.occurred_at), col(Prediction.prediction_id))
        .limit(most)
    )
    with Session(engine) as session:
        return tuple(Asked(*row) for row in session.execute(asked))


def statement(
    model: str, versions: Sequence[str], since: datetime, most: int
) -> Select[str, str, str, bool | None, str | None, str | None, datetime]:
    """What is asked of SQL: an index of solicited feedback serves it, however much was volunteered meanwhile."""
    return (
        select(
            col(Prediction.prediction_id),
            col(Prediction.version),
            col(Prediction.input),
            col(FeedbackRow.wrong),
            col(FeedbackRow.target),
            col(Prediction.user_key),
            col(Prediction.occurred_at),
        )
        .join(Prediction, col(Prediction.prediction_id) == col(FeedbackRow.prediction_id))
        .where(
            col(FeedbackRow.model) == model,
            col(FeedbackRow.occurred_at) >= since,
            col(FeedbackRow.solicited).is_(True),
            col(FeedbackRow.wrong).is_not(None),
            col(FeedbackRow.version).in_(list(versions)),
            col(Prediction.occurred_at) >= since,
        )
        .order_by(col(FeedbackRow.occurred_at), col(FeedbackRow.event_id))
        .limit(most)
    )


def _of_audits(model: str) -> ColumnElement[bool]:
    """Reviewers' blind words on inputs."""
    return (
        (col(Review.model) == model) & (col(Review.subject_kind) == "example") & col(Review.prediction_id).is_not(None)
    )
