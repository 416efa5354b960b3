"""Whether anything was lost, what is late, and what was put aside: of the whole installation, from SQL."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from sqlalchemy import Engine, func, select
from sqlmodel import col

from services.board.database import records, row, rows
from shared.ledger import imbalance, pending
from shared.tables import Consumed, DeadLetter, Example, FeedbackRow, LedgerRow

MINUTES = 60  # minutes of the ledger that are shown
AGES = (("under an hour", timedelta(0), timedelta(hours=1)), ("under a day", timedelta(hours=1), timedelta(days=1)),
        ("older", timedelta(days=1), None))  # fmt: skip


@dataclass(frozen=True)
class Minute:
    """What was accepted in one minute and what became of it; `ended` by outcome."""

    at: datetime
    accepted: int
    ended: dict[str, int]
    pending: int
    lost: int


@dataclass(frozen=True)
class Balance:
    """All minutes together: what is missing for good, and what may still come."""

    lost: int
    pending: int
    since: datetime | None


@dataclass(frozen=True)
class Letters:
    """Dead letters of one reason."""

    reason: str
    service: str
    count: int
    newest: datetime


@dataclass(frozen=True)
class Topic:
    """How far one topic has been read."""

    name: str
    partitions: int
    read: int


ENDS = ("stored", "repeats", "conflicts", "dead", "quarantined", "erased")


def balance(engine: Engine, now: datetime) -> Balance:
    """What does not balance, of all time: few rows, and an index of them."""
    open_ = records(engine, select(LedgerRow).where(col(LedgerRow.missing) != 0))
    since = [one.bucket for one in open_ if imbalance([one], now)]
    return Balance(imbalance(open_, now), sum(pending(one, now) for one in open_), min(since, default=None))


def minutes(engine: Engine, now: datetime, count: int = MINUTES) -> tuple[Minute, ...]:
    """The newest minutes in which anything was accepted, newest first."""
    newest = select(col(LedgerRow.bucket)).distinct().order_by(col(LedgerRow.bucket).desc()).limit(count)
    first = min((bucket for (bucket,) in rows(engine, newest)), default=None)
    if first is None:
        return ()
    found: dict[datetime, list[LedgerRow]] = {}
    for one in records(engine, select(LedgerRow).where(col(LedgerRow.bucket) >= first)):
        found.setdefault(one.bucket, []).append(one)
    return tuple(_minute(at, found[at], now) for at in sorted(found, reverse=True))


def _minute(at: datetime, some: list[LedgerRow], now: datetime) -> Minute:
    return Minute(
        at,
        sum(max(one.accepted, one.arrived) for one in some),
        {end: sum(getattr(one, end) for one in some) for end in ENDS},
        sum(pending(one, now) for one in some),
        imbalance(some, now),
    )


def orphans(engine: Engine, now: datetime) -> tuple[tuple[str, int], ...]:
    """Feedback whose prediction has not come, by age."""
    counts = []
    for name, youngest, oldest in AGES:
        query = select(func.count()).where(
            col(FeedbackRow.model).is_(None), col(FeedbackRow.occurred_at) <= now - youngest
        )
        if oldest is not None:
            query = query.where(col(FeedbackRow.occurred_at) > now - oldest)
        counts.append((name, int(row(engine, query)[0])))
    return tuple(counts)


def letters(engine: Engine) -> tuple[Letters, ...]:
    """Dead letters by reason, the newest first."""
    newest = func.max(DeadLetter.occurred_at)
    query = select(col(DeadLetter.reason), col(DeadLetter.service), func.count(), newest).group_by(
        col(DeadLetter.reason), col(DeadLetter.service)
    )
    return tuple(Letters(*one) for one in rows(engine, query.order_by(newest.desc())))


def quarantined(engine: Engine) -> tuple[tuple[str, str, int], ...]:
    """Model, rule and number of the examples that wait for a person."""
    query = select(col(Example.model), col(Example.reason), func.count()).where(col(Example.status) == "quarantined")
    grouped = query.group_by(col(Example.model), col(Example.reason)).order_by(func.count().desc())
    return tuple((model, reason, count) for model, reason, count in rows(engine, grouped))


def topics(engine: Engine) -> tuple[Topic, ...]:
    """How many records of each topic the recorder has read."""
    query = select(col(Consumed.topic), func.count(), func.sum(Consumed.next_offset)).group_by(col(Consumed.topic))
    return tuple(Topic(name, parts, int(read)) for name, parts, read in rows(engine, query.order_by(Consumed.topic)))
