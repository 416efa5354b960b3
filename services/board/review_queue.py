"""What waits for a person: quarantined examples, labels that nobody has seen, what users call wrong or disagree on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from sqlalchemy import ColumnElement, Engine, func, select
from sqlmodel import col

from services.board import audits
from services.board.database import records, rows
from services.board.lineage import names
from shared.grading import meaning
from shared.tables import Example, FeedbackRow, Prediction
from shared.tables.words import said_on

Kind = Literal["quarantined", "new label", "called wrong", "disputed"]
SETTLED = ("rejected_by_reviewer", "anchor_twin")  # a decision would change nothing: one was taken, or no one may


@dataclass(frozen=True)
class Served:
    """The newest answer on an example's input of which anybody said anything."""

    output: str
    score: float | None
    version: str


@dataclass(frozen=True)
class Item:
    """One example to decide on. `voices` are the outputs that users called right, and how many did."""

    example_id: str
    text: str
    target: str | None
    reason: str
    votes: int
    weight: float
    first_at: datetime
    served: Served | None
    voices: tuple[tuple[str, int], ...]


def queue(engine: Engine, model: str, kind: Kind, limit: int = 200) -> tuple[Item, ...]:
    """The examples of a kind that nobody has reviewed yet: those with the most votes first, then the oldest.

    What was drawn for an audit is not among them: here everything is shown that is known of an input.
    """
    waiting = records(
        engine,
        select(Example)
        .where(col(Example.model) == model, _belongs(model, kind), col(Example.reviewed).is_(None), ~audits.is_open())
        .order_by(col(Example.votes).desc(), col(Example.first_at), col(Example.id))
        .limit(limit),
    )
    ids = [example.id for example in waiting]
    served, voices = _served(engine, model, ids), _voices(engine, ids)
    items = (
        Item(
            example_id=example.id,
            text=example.text,
            target=example.target,
            reason=example.reason,
            votes=example.votes,
            weight=example.weight,
            first_at=example.first_at,
            served=served.get(example.id),
            voices=voices.get(example.id, ()),
        )
        for example in waiting
    )
    return tuple(item for item in items if kind != "disputed" or len(item.voices) > 1)  # one output, spelt in two ways


def _belongs(model: str, kind: Kind) -> ColumnElement[bool]:
    status, reason = col(Example.status), col(Example.reason)
    if kind == "quarantined":
        return (status == "quarantined") & reason.not_in(SETTLED)
    if kind == "new label":
        return (status == "pending") & (reason == "new_label")
    if kind == "called wrong":  # on side train alone: evidence must not be picked by who was wrong
        said = select(col(FeedbackRow.event_id)).where(said_on(Example, FeedbackRow))
        return (status == "pending") & (reason == "no_target") & (col(Example.side) == "train") & said.exists()
    disputed = (
        select(col(FeedbackRow.example_id))
        .where(col(FeedbackRow.model) == model, col(FeedbackRow.target).is_not(None))
        .group_by(col(FeedbackRow.example_id))
        .having(func.count(func.distinct(FeedbackRow.target)) > 1)
    )
    return status.in_(["train", "holdout"]) & (col(Example.origin) == "feedback") & col(Example.id).in_(disputed)


def _served(engine: Engine, model: str, ids: list[str]) -> dict[str, Served]:
    newest = func.row_number().over(
        partition_by=col(Prediction.example_id),
        order_by=[col(Prediction.occurred_at).desc(), col(Prediction.prediction_id)],
    )
    answers = (
        select(
            col(Prediction.example_id),
            col(Prediction.output),
            col(Prediction.score),
            col(Prediction.version),
            newest.label("place"),
        )
        .join_from(Example, FeedbackRow, said_on(Example, FeedbackRow))
        .join(Prediction, col(Prediction.prediction_id) == col(FeedbackRow.prediction_id))
        .where(col(Example.id).in_(ids))
        .subquery()
    )
    called = names(engine, model)
    found = rows(engine, select(answers).where(answers.c.place == 1))
    return {one.example_id: Served(one.output, one.score, called.get(one.version, one.version)) for one in found}


def _voices(engine: Engine, ids: list[str]) -> dict[str, tuple[tuple[str, int], ...]]:
    found = rows(
        engine,
        select(col(Example.id), col(FeedbackRow.target), func.count())
        .join(FeedbackRow, said_on(Example, FeedbackRow, col(FeedbackRow.target).is_not(None)))
        .where(col(Example.id).in_(ids))
        .group_by(col(Example.id), col(FeedbackRow.target))
        .order_by(func.count().desc(), col(FeedbackRow.target)),
    )
    voices: dict[str, dict[str, tuple[str, int]]] = {}
    for example_id, target, count in found:
        said = voices.setdefault(example_id, {})
        first, before = said.get(meaning(target), (target, 0))
        said[meaning(target)] = first, before + count
    return {example: tuple(sorted(said.values(), key=lambda one: -one[1])) for example, said in voices.items()}
