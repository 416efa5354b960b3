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
from typing import Any

from sqlmodel import Session, col, select

from services.trainer.hearing import CHUNK
from shared.tables import Example, FeedbackRow, Review
from shared.tables.words import heard_on


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
    """The counted votes of each example among its newest ones, which an index serves."""
    voted = select(FeedbackRow.event_id).select_from(Example).join(FeedbackRow, heard_on(Example, FeedbackRow))
    return voted.where(col(Example.id).in_(ids))
