"""Users' trust, from their votes on inputs whose right output is known. See `trust` for the formula.

A vote weighs what its user's votes of the same day and of the days before it earned. So what turns out today is held
against today's votes, and reaches back as far only as the input that it is about.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import UTC, date
from typing import Any, NamedTuple

from sqlalchemy import Connection, Select, case, func, select
from sqlmodel import col

from services.recorder.caps import DAY, Day, start_of
from services.recorder.evidence import Evidence
from services.recorder.rows import overwrite
from services.recorder.sql import among, chunks
from services.recorder.votes import Vote, agreement, known_target, voices
from shared.tables import FeedbackRow
from shared.trust import MEMORY, posterior_mean


class Mark(NamedTuple):
    """Whether a vote turned out right, whose it was, and on which day."""

    example_id: str
    user_key: str
    day: date
    agrees: bool


def settle(connection: Connection, evidence: Sequence[Evidence]) -> set[Day]:
    """Mark which votes agree with what is known of their input; the users' days on which that changed."""
    now: dict[str, bool] = {}
    models = {one.id: one.model for one in evidence}
    for one in evidence:
        heard = voices(one.votes)
        now |= agreement(heard, known_target(heard, one.ruling))
    before = _agreements(connection, models)
    days = {vote.event_id: day_of(one.model, vote) for one in evidence for vote in one.votes if vote.user_key}
    days |= {event: Day(models[mark.example_id], mark.user_key, mark.day) for event, mark in before.items()}
    was = {event: mark.agrees for event, mark in before.items()}
    changed = {event for event in now.keys() | was.keys() if now.get(event) != was.get(event)}
    overwrite(connection, FeedbackRow, [{"event_id": event, "agrees": now.get(event)} for event in sorted(changed)])
    return {days[event] for event in changed}


def day_of(model: str, vote: Vote) -> Day:
    """The day of a named user on which a vote was given."""
    return Day(model, vote.user_key or "", vote.occurred_at.astimezone(UTC).date())


def _agreements(connection: Connection, examples: Iterable[str]) -> dict[str, Mark]:
    """Event id → what is marked on the votes of some examples."""
    query: Select[*tuple[Any, ...]] = select(
        col(FeedbackRow.event_id),
        col(FeedbackRow.example_id),
        col(FeedbackRow.user_key),
        col(FeedbackRow.occurred_at),
        col(FeedbackRow.agrees),
    ).where(col(FeedbackRow.agrees).is_not(None))
    return {
        event: Mark(example, user, at.date(), agrees)
        for some in chunks(examples)
        for event, example, user, at, agrees in connection.execute(
            query.where(among(connection, FeedbackRow.example_id, some))
        )
    }


def trust_of(connection: Connection, evidence: Iterable[Evidence]) -> dict[str, dict[str, float]]:
    """Example → user → trust on the day of the user's newest vote on it; only of whom something is known."""
    spoke = {one.id: _days(one) for one in evidence}
    known = _trust(connection, {day for days in spoke.values() for day in days})
    return {example: {day.user_key: known[day] for day in days if day in known} for example, days in spoke.items()}


def _days(one: Evidence) -> list[Day]:
    votes = sorted(one.votes, key=lambda vote: vote.occurred_at) if len(one.votes) > 1 else one.votes
    newest = {vote.user_key: vote for vote in votes if vote.user_key}
    return [day_of(one.model, vote) for vote in newest.values()]


def _trust(connection: Connection, days: Iterable[Day]) -> dict[Day, float]:
    """The trust of users on some days, where anything is known. New votes are mostly of one day: one query for all.

    It names the model, or SQLite takes the index of a user's votes and reads all that they ever said.
    """
    users: dict[tuple[str, date], set[str]] = defaultdict(set)
    for day in days:
        users[day.model, day.day].add(day.user_key)
    agreed = func.sum(case((col(FeedbackRow.agrees).is_(True), 1), else_=0))
    trust: dict[Day, float] = {}
    for (model, on), keys in users.items():
        marked = (
            select(col(FeedbackRow.user_key), agreed, func.count())
            .where(
                col(FeedbackRow.agrees).is_not(None),
                col(FeedbackRow.model) == model,
                col(FeedbackRow.occurred_at) >= start_of(on - MEMORY + DAY),
                col(FeedbackRow.occurred_at) < start_of(on + DAY),
            )
            .group_by(col(FeedbackRow.user_key))
        )
        for some in chunks(keys):
            for user, yes, both in connection.execute(marked.where(among(connection, FeedbackRow.user_key, some))):
                trust[Day(model, user, on)] = posterior_mean(yes, both - yes)
    return trust


def examples_of(connection: Connection, days: Iterable[Day]) -> set[str]:
    """The examples on which votes weigh what these days tell of their users: of that day, and as long as it counts.

    At most cap × MEMORY votes of each user, so that a change of trust costs the same however much somebody ever said.
    """
    users: dict[tuple[str, date], set[str]] = defaultdict(set)
    for day in days:
        users[day.model, day.day].add(day.user_key)
    examples: set[str] = set()
    for (model, on), keys in users.items():
        for some in chunks(keys):
            query = select(col(FeedbackRow.example_id)).where(
                among(connection, FeedbackRow.user_key, some),
                col(FeedbackRow.model) == model,
                col(FeedbackRow.counted).is_(True),
                col(FeedbackRow.occurred_at) >= start_of(on),
                col(FeedbackRow.occurred_at) < start_of(on + MEMORY),
            )
            examples |= {example for example in connection.execute(query).scalars() if example is not None}
    return examples
