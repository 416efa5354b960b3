"""What was said of an example: its first word, which the example names, and further ones, which an index finds.

Nine pieces of feedback of ten are the only ones on their input. An index of all of them by example is in the order of a
hash, so that each is another page read and written; so it holds the further ones alone, and who asks for feedback by
example asks here.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, func, or_, select, true
from sqlalchemy.orm import aliased
from sqlmodel import col

from shared.tables.said import Example, FeedbackRow
from shared.trust import MOST_HEARD

EVER = datetime(1, 1, 2, tzinfo=UTC)  # before any event, in every time zone


def said_on(example: type[Example], said: type[FeedbackRow], *conditions: ColumnElement[bool]) -> ColumnElement[bool]:
    """Whether a feedback is about an example, and meets the conditions on itself."""
    met = and_(true(), *conditions)
    return _either(example, said, met, met)


def heard_on(example: type[Example], said: type[FeedbackRow]) -> ColumnElement[bool]:
    """Whether a feedback is among the newest MOST_HEARD counted votes on an example, or of the moment of the oldest.

    The first word is older than all others, so the further ones tell alone how far back these reach, by their index.
    A query that joins another table to the feedback makes SQLite look for the oldest once a row: let it ask by a scalar
    subquery.
    """
    vote = aliased(FeedbackRow)
    oldest = (
        select(col(vote.occurred_at))
        .where(col(vote.further).is_(True), col(vote.example_id) == col(example.id), col(vote.counted).is_(True))
        .order_by(col(vote.occurred_at).desc())
        .offset(MOST_HEARD - 1)
        .limit(1)
        .correlate(example)
        .scalar_subquery()
    )
    since, counted = func.coalesce(oldest, EVER), col(said.counted).is_(True)
    return _either(
        example, said, counted & (col(said.occurred_at) >= since), counted & (since <= col(said.occurred_at))
    )


def _either(
    example: type[Example], said: type[FeedbackRow], further: ColumnElement[bool], first: ColumnElement[bool]
) -> ColumnElement[bool]:
    """The two ways from an example to what was said of it, each with conditions of its own.

    SQLite looks a way up by what stands in it alone. Postgres takes out what both ways say alike, and then has an index
    for neither: so they compare the ids one way round and the other.
    """
    by_index = and_(col(said.further).is_(True), col(said.example_id) == col(example.id), further)
    by_name = and_(col(said.event_id) == col(example.first_event), col(example.id) == col(said.example_id), first)
    return or_(by_index, by_name)
