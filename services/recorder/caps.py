"""How many votes of one user count: the first `user_cap` of each UTC day in each model.

The counted votes of a day are at most `user_cap` rows, so a new vote is compared with those alone.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, select
from sqlmodel import col

from services.recorder.join import Joined
from services.recorder.rows import overwrite
from services.recorder.sql import among, chunks
from shared.policy import PolicyFile
from shared.tables import FeedbackRow

DAY = timedelta(days=1)


class Vote(NamedTuple):
    """A vote's place in its user's day."""

    occurred_at: datetime
    event_id: str
    example_id: str


class Day(NamedTuple):
    """One user's votes in one model on one UTC day."""

    model: str
    user_key: str
    day: date


@dataclass(frozen=True)
class Counted:
    """Which new votes count, and which old ones no longer do because an earlier one came late."""

    events: frozenset[str]
    displaced: tuple[Vote, ...] = ()


def count(connection: Connection, joined: Sequence[Joined], policies: PolicyFile) -> Counted:
    """Rank new votes among those that counted before. Voices without a name have no cap, but a quorum of their own."""
    anonymous = {one.event_id for one in joined if one.target is not None and one.user_key is None}
    new: dict[Day, set[Vote]] = defaultdict(set)
    for one in joined:
        if one.target is not None and one.user_key is not None:
            day = Day(one.answer.model, one.user_key, one.occurred_at.astimezone(UTC).date())
            new[day].add(Vote(one.occurred_at, one.event_id, one.answer.example_id))
    before = _votes(connection, new, counted_only=True)
    within: set[str] = set()
    displaced: list[Vote] = []
    for day, votes in new.items():
        first = set(sorted(votes | before[day])[: policies.of(day.model).trust.user_cap])
        within |= {vote.event_id for vote in votes & first}
        displaced += before[day] - first
    _mark(connection, displaced, counted=False)
    return Counted(frozenset(anonymous | within), tuple(displaced))


def recount(connection: Connection, days: Iterable[Day], policies: PolicyFile) -> set[str]:
    """Rank whole days again, after votes were taken away; the examples whose votes may have changed."""
    examples: set[str] = set()
    for day, votes in _votes(connection, set(days), counted_only=False).items():
        ranked = sorted(votes)
        cap = policies.of(day.model).trust.user_cap
        _mark(connection, ranked[:cap], counted=True)
        _mark(connection, ranked[cap:], counted=False)
        examples |= {vote.example_id for vote in ranked}
    return examples


def _votes(connection: Connection, days: Iterable[Day], counted_only: bool) -> dict[Day, set[Vote]]:
    votes: dict[Day, set[Vote]] = defaultdict(set)
    users: dict[tuple[str, date], set[str]] = defaultdict(set)
    for day in days:
        users[day.model, day.day].add(day.user_key)
    for (model, on), keys in users.items():
        start = start_of(on)
        for some in chunks(keys):
            query: Select[*tuple[Any, ...]] = select(
                col(FeedbackRow.user_key),
                col(FeedbackRow.occurred_at),
                col(FeedbackRow.event_id),
                col(FeedbackRow.example_id),
            ).where(
                among(connection, FeedbackRow.user_key, some),
                col(FeedbackRow.model) == model,
                col(FeedbackRow.counted).is_(True) if counted_only else col(FeedbackRow.counted).is_not(None),
                col(FeedbackRow.occurred_at) >= start,
                col(FeedbackRow.occurred_at) < start + DAY,
            )
            for user, at, event_id, example in connection.execute(query):
                votes[Day(model, user, on)].add(Vote(at, event_id, example))
    return votes


def start_of(day: date) -> datetime:
    """The first moment of a UTC day."""
    return datetime.combine(day, time(), UTC)


def _mark(connection: Connection, votes: Sequence[Vote], counted: bool) -> None:
    overwrite(connection, FeedbackRow, [{"event_id": vote.event_id, "counted": counted} for vote in votes])
