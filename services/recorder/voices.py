"""Users' trust, from their votes on inputs whose right output is known. See `trust` for the formula."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from typing import Any

from sqlalchemy import Connection, Select, bindparam, case, func, select, update
from sqlmodel import col

from services.recorder.evidence import Evidence
from services.recorder.sql import chunks
from services.recorder.trust import posterior_mean
from services.recorder.votes import agreement, known_target, voices
from shared.tables import FeedbackRow

Speaker = tuple[str, str]  # model and user key


def settle(connection: Connection, evidence: Sequence[Evidence]) -> set[Speaker]:
    """Mark which votes agree with what is known of their input; the users whose trust changed by it."""
    now: dict[str, bool] = {}
    models = {one.id: one.model for one in evidence}
    for one in evidence:
        heard = voices(one.votes)
        now |= agreement(heard, known_target(heard, one.ruling))
    before = _agreements(connection, models)
    users = {vote.event_id: (one.model, vote.user_key) for one in evidence for vote in one.votes if vote.user_key}
    users |= {event: (models[example], user) for event, (_, user, example) in before.items()}
    changed = {event for event in now.keys() | before.keys() if now.get(event) != before.get(event, (None,))[0]}
    if changed:
        statement = update(FeedbackRow).where(col(FeedbackRow.event_id) == bindparam("of"))
        rows = [{"of": event, "now": now.get(event)} for event in sorted(changed)]
        connection.execute(statement.values(agrees=bindparam("now")), rows)
    return {users[event] for event in changed}


def _agreements(connection: Connection, ids: Iterable[str]) -> dict[str, tuple[bool | None, str, str]]:
    """Event id → (agrees, user, example) as marked before."""
    query: Select[*tuple[Any, ...]] = select(
        col(FeedbackRow.event_id), col(FeedbackRow.agrees), col(FeedbackRow.user_key), col(FeedbackRow.example_id)
    ).where(col(FeedbackRow.agrees).is_not(None))
    return {
        event: (agrees, user, example)
        for some in chunks(ids)
        for event, agrees, user, example in connection.execute(query.where(col(FeedbackRow.example_id).in_(some)))
    }


def trust_of(connection: Connection, evidence: Iterable[Evidence]) -> dict[str, dict[str, float]]:
    """Model → user → trust, for every named user who voted on these examples and of whom something is known."""
    users = {vote.user_key for one in evidence for vote in one.votes if vote.user_key}
    trusted: dict[str, dict[str, float]] = defaultdict(dict)
    agreed = func.sum(case((col(FeedbackRow.agrees).is_(True), 1), else_=0))
    for some in chunks(users):
        query = (
            select(col(FeedbackRow.model), col(FeedbackRow.user_key), agreed, func.count())
            .where(col(FeedbackRow.agrees).is_not(None), col(FeedbackRow.user_key).in_(some))
            .group_by(col(FeedbackRow.model), col(FeedbackRow.user_key))
        )
        for model, user, yes, all_ in connection.execute(query):
            trusted[model][user] = posterior_mean(yes, all_ - yes)
    return trusted


def examples_of(connection: Connection, speakers: Iterable[Speaker]) -> set[str]:
    """The examples on which these users' votes count."""
    examples: set[str] = set()
    models: dict[str, set[str]] = {}
    for model, user in speakers:
        models.setdefault(model, set()).add(user)
    for model, users in models.items():
        for some in chunks(users):
            query = select(col(FeedbackRow.example_id)).distinct()
            mine = query.where(
                col(FeedbackRow.user_key).in_(some),
                col(FeedbackRow.model) == model,
                col(FeedbackRow.counted).is_(True),
            )
            examples |= {example for example in connection.execute(mine).scalars() if example is not None}
    return examples
