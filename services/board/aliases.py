"""Who serves, who is on trial, whether a person holds it so, and what people decided of it."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, Select, func, select
from sqlmodel import col

from services.board.database import records, rows
from services.board.lineage import names
from services.board.proportion import Proportion
from services.board.served import answers
from shared.tables import Decision, Review, StateChange

MOST = 50  # decisions that the page lists


@dataclass(frozen=True)
class Reign:
    """The version under an alias, since when, and by whose decision. A champion's `share` is what a canary leaves."""

    version: str
    name: str
    since: datetime
    decided_by: str
    reason: str
    share: float
    accuracy: Proportion


@dataclass(frozen=True)
class Decided:
    """What a reviewer decided on a version, and what became of it: done, waits, refused, or sent."""

    at: datetime
    reviewer: str
    decision: str
    name: str
    note: str
    outcome: str
    answer: str


@dataclass(frozen=True)
class Aliases:
    """A model's champion, and its canary while one is on trial; how both served since that, or the champion, began."""

    champion: Reign | None
    canary: Reign | None


def aliases(engine: Engine, model: str) -> Aliases:
    """Who serves now."""
    newest = {alias: next(iter(records(engine, _newest(model, alias))), None) for alias in ("champion", "canary")}
    champion, canary = newest["champion"], newest["canary"]
    if canary is not None and not canary.share:
        canary = None
    begun = canary or champion
    served = _served(engine, model, begun.occurred_at) if begun else {}
    called = names(engine, model)

    def reign(state: StateChange | None, share: float) -> Reign | None:
        if state is None:
            return None
        return Reign(
            version=state.version,
            name=called.get(state.version, state.version),
            since=state.occurred_at,
            decided_by=state.decided_by,
            reason=state.reason,
            share=share,
            accuracy=served.get(state.version, Proportion(0, 0)),
        )

    share = canary.share if canary else 0.0
    return Aliases(reign(champion, 1 - share), reign(canary, share))


def decisions(engine: Engine, model: str) -> tuple[Decided, ...]:
    """What reviewers decided on versions, newest first."""
    called = names(engine, model)
    reviews = records(
        engine,
        select(Review)
        .where(col(Review.model) == model, col(Review.subject_kind) == "version")
        .order_by(col(Review.occurred_at).desc(), col(Review.event_id))
        .limit(MOST),
    )
    ids = [review.event_id for review in reviews]
    answered = records(
        engine, select(Decision).where(col(Decision.review).in_(ids)).order_by(col(Decision.occurred_at))
    )
    ends = {answer.review: answer for answer in answered}  # the last answer stands
    return tuple(
        Decided(
            at=review.occurred_at,
            reviewer=review.reviewer,
            decision=review.decision,
            name=called.get(review.subject, review.subject),
            note=review.note,
            outcome=ends[review.event_id].outcome if review.event_id in ends else "sent",
            answer=ends[review.event_id].reason if review.event_id in ends else "The evaluator has not answered yet.",
        )
        for review in reviews
    )


def hold(engine: Engine, model: str) -> Decided | None:
    """The decision that keeps the loop from replacing the champion, if any."""
    done = [one for one in decisions(engine, model) if one.decision in ("hold", "release") and one.outcome == "done"]
    return done[0] if done and done[0].decision == "hold" else None


def _newest(model: str, alias: str) -> Select[StateChange]:
    return (
        select(StateChange)
        .where(col(StateChange.model) == model, col(StateChange.alias) == alias)
        .order_by(col(StateChange.occurred_at).desc(), col(StateChange.event_id).desc())
        .limit(1)
    )


def _served(engine: Engine, model: str, since: datetime) -> dict[str, Proportion]:
    """How often each version was right, of the solicited answers on what it served since a moment."""
    given = answers(model)
    counted = (
        select(given.c.version, func.sum(given.c.right), func.count())
        .where(given.c.at >= since)
        .group_by(given.c.version)
    )
    return {version: Proportion(int(right), n) for version, right, n in rows(engine, counted)}
