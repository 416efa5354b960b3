"""Which events an increment goes back to: their number and one digest, so that its manifest says what it was made of.

They are the votes and the reviewers' decisions on its examples, what brought those in (feedback, or the request with a
model's first examples), and the preferences and thumbs that were heard. Of an input on which very many spoke, the
newest votes stand for all, as they do when its target is found. Erased users' events are gone, so the digest is of what
SQL held when training began.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import func
from sqlalchemy.orm import aliased
from sqlmodel import Session, col, select

from shared.tables import Example, FeedbackRow, Review

MOST_HEARD = 200  # newest votes on one input, as the recorder hears them
EVER = datetime(1, 1, 2, tzinfo=UTC)  # before any event, in every time zone
CHUNK = 500  # SQLite binds at most 999 variables in old builds


@dataclass(frozen=True)
class Origins:
    """How many events there are, and SHA-256 over their sorted ids, a line each."""

    events: int
    sha256: str

    @classmethod
    def of(cls, ids: Iterable[str]) -> Origins:
        """The origins with these event ids."""
        told = sorted(set(ids))
        return cls(len(told), hashlib.sha256("".join(f"{one}\n" for one in told).encode()).hexdigest())


def origins_of(session: Session, examples: Collection[str], heard: Collection[str] = ()) -> Origins:
    """The events that examples go back to, and those that were `heard`."""
    wanted = sorted(examples)
    found = set(heard)
    for start in range(0, len(wanted), CHUNK):
        some = wanted[start : start + CHUNK]
        for query in (_first(some), _feedback(some), _reviews(some)):
            found.update(session.exec(query))
    return Origins.of(found)


def _first(ids: Sequence[str]) -> Any:
    return select(Example.first_event).where(col(Example.id).in_(ids))


def _reviews(ids: Sequence[str]) -> Any:
    return select(Review.event_id).where(col(Review.subject).in_(ids), Review.subject_kind == "example")


def _feedback(ids: Sequence[str]) -> Any:
    """The counted votes of each example from its newest `MOST_HEARD` on, which an index serves."""
    other = aliased(FeedbackRow)
    oldest = (
        select(other.occurred_at)
        .where(other.example_id == Example.id, col(other.counted).is_(True))
        .order_by(col(other.occurred_at).desc())
        .offset(MOST_HEARD - 1)
        .limit(1)
        .correlate(Example)
        .scalar_subquery()
    )
    heard = (
        (col(FeedbackRow.example_id) == col(Example.id))
        & col(FeedbackRow.counted).is_(True)
        & (col(FeedbackRow.occurred_at) >= func.coalesce(oldest, EVER))
    )
    return select(FeedbackRow.event_id).select_from(Example).join(FeedbackRow, heard).where(col(Example.id).in_(ids))
