"""Who is new: a user whose first vote in a model is younger than `new_account_hours`, by event time.

What a newcomer volunteers weighs `new_account_weight` of what it would. The default is 1, and then nothing is asked
here: where users are employees or a demo's, all of them are new in the first minutes, and their word is what there is.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta

from sqlalchemy import Connection, String, column, func, select, values
from sqlmodel import col

from services.recorder.caps import Day
from services.recorder.evidence import Evidence
from services.recorder.join import Joined
from services.recorder.sql import chunks
from services.recorder.votes import voices
from shared.policy import PolicyFile, Trust
from shared.tables import FeedbackRow
from shared.trust import UNKNOWN

User = tuple[str, str]  # model and user key
Trusted = Mapping[str, Mapping[str, float]]


def discount(
    connection: Connection, known: Sequence[Evidence], trusted: Trusted, policies: PolicyFile
) -> dict[str, Mapping[str, float]]:
    """Example → user → trust, less for who volunteered as a newcomer."""
    found: dict[str, Mapping[str, float]] = dict(trusted)
    rules = {one.model: policies.of(one.model).trust for one in known}
    some = [one for one in known if rules[one.model].new_account_weight < 1]
    first = first_votes(connection, {(one.model, vote.user_key) for one in some for vote in one.votes if vote.user_key})
    for one in some:
        rule, trust = rules[one.model], dict(found.get(one.id, {}))
        for vote in voices(one.votes):
            at = first.get((one.model, vote.user_key or ""))
            if at is not None and not vote.solicited and vote.occurred_at - at < _new_for(rule):
                trust[vote.user_key or ""] = trust.get(vote.user_key or "", UNKNOWN) * rule.new_account_weight
        found[one.id] = trust
    return found


def first_votes(connection: Connection, users: Iterable[User]) -> dict[User, datetime]:
    """When each user's first vote in a model was. The first of a day always counts, so one look at an index tells."""
    by_model: dict[str, set[str]] = defaultdict(set)
    for model, user in users:
        by_model[model].add(user)
    found: dict[User, datetime] = {}
    for model, keys in by_model.items():
        for some in chunks(keys):
            asked = values(column("user_key", String), name="asked").data([(key,) for key in some]).cte("asked")
            first = (
                select(func.min(FeedbackRow.occurred_at))
                .where(
                    col(FeedbackRow.user_key) == asked.c.user_key,
                    col(FeedbackRow.model) == model,
                    col(FeedbackRow.counted).is_(True),
                )
                .scalar_subquery()
            )
            rows = connection.execute(select(asked.c.user_key, first))
            found |= {(model, user): at for user, at in rows if at is not None}
    return found


def older(
    connection: Connection, votes: Iterable[Joined], before: Mapping[User, datetime], policies: PolicyFile
) -> set[str]:
    """The examples of users who turn out to be known for longer, since an earlier vote of theirs came late."""
    late = {
        (vote.answer.model, vote.user_key)
        for vote in votes
        if vote.user_key and vote.occurred_at < before.get((vote.answer.model, vote.user_key), vote.occurred_at)
    }
    return _spoken(connection, {user: before[user] for user in late}, policies)


def younger(connection: Connection, days: Iterable[Day], policies: PolicyFile) -> set[str]:
    """The examples of users who are newer than they were, since their first votes were erased."""
    users = {(day.model, day.user_key) for day in days if policies.of(day.model).trust.new_account_weight < 1}
    return _spoken(connection, first_votes(connection, users), policies)


def asked(votes: Iterable[Joined], policies: PolicyFile) -> set[User]:
    """The users of whom it matters how long they are known."""
    users = {(vote.answer.model, vote.user_key) for vote in votes if vote.user_key}
    return {(model, user) for model, user in users if policies.of(model).trust.new_account_weight < 1}


def _spoken(connection: Connection, first: Mapping[User, datetime], policies: PolicyFile) -> set[str]:
    """What users spoke of while they were new."""
    examples: set[str] = set()
    for (model, user), at in first.items():
        query = select(col(FeedbackRow.example_id)).where(
            col(FeedbackRow.user_key) == user,
            col(FeedbackRow.model) == model,
            col(FeedbackRow.counted).is_(True),
            col(FeedbackRow.occurred_at) < at + _new_for(policies.of(model).trust),
        )
        examples |= {example for example in connection.execute(query).scalars() if example is not None}
    return examples


def _new_for(rule: Trust) -> timedelta:
    return timedelta(hours=rule.new_account_hours)
