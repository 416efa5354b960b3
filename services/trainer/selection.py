"""Which examples an increment takes: pure choices over rows, and the bounded queries that feed them.

No query reads more than the increment can use, so that its cost does not grow with the log.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeVar

from sqlalchemy import ColumnElement
from sqlmodel import Session, col, select

from services.trainer.snapshot import Lesson
from shared.policy import Policy
from shared.tables import Example, could_be_label
from shared.text import short_hash


@dataclass(frozen=True)
class Row:
    """An example as the choice sees it."""

    id: str
    target: str
    weight: float
    user: str | None


def lessons(rows: Sequence[Row]) -> tuple[Lesson, ...]:
    """A snapshot's rows as they enter it: users have numbers there, in the order in which they come."""
    users = {user: number for number, user in enumerate(dict.fromkeys(row.user for row in rows if row.user))}
    return tuple(
        Lesson(id=row.id, target=row.target, weight=row.weight, voice=users.get(row.user or "")) for row in rows
    )


class Given(Protocol):
    """What somebody gave; None is nobody by name."""

    @property
    def user(self) -> str | None:
        """Who gave it."""


GivenType = TypeVar("GivenType", bound=Given)


def within_user_share(rows: Sequence[GivenType], share: float) -> list[GivenType]:
    """Drop what one user gave beyond a share of the increment; it waits for the next one.

    Seeds and anonymous rows have no user and no cap. A user may always give three, or small increments would starve.
    """
    cap = max(3, int(share * len(rows)))
    given: Counter[str] = Counter()
    kept = []
    for row in rows:
        if row.user is not None:
            given[row.user] += 1
            if given[row.user] > cap:
                continue
        kept.append(row)
    return kept


def per_label(labels: Iterable[str], total: int) -> dict[str, int]:
    """How many examples of each label make a class-balanced sample of about `total`."""
    names = sorted(labels)
    share, rest = divmod(total, max(1, len(names)))
    return {label: share + (index < rest) for index, label in enumerate(names)}


def new_rows(session: Session, model: str, policy: Policy, unlearned: Collection[str] = ()) -> list[Row]:
    """Train-side examples that the line has not learned yet, oldest first.

    What versions in `unlearned` learned counts as not learned: the increment starts before them.
    """
    is_new: ColumnElement[bool] = col(Example.learned_in).is_(None)
    if unlearned:  # a rebuild; else the index ends where the line's lessons begin
        is_new |= col(Example.learned_in).in_(sorted(unlearned))
    found = session.exec(
        select(Example.id, Example.target, Example.weight, Example.user_key)
        .where(Example.model == model, Example.status == "train", is_new)
        .order_by(col(Example.first_at), Example.id)
        .limit(policy.training.max_new)
    )
    rows = [Row(id, target, weight, user) for id, target, weight, user in found if target is not None]
    return within_user_share(rows, policy.trust.user_share)


def replay_rows(
    session: Session, model: str, labels: Iterable[str], total: int, seed: str, unlearned: Collection[str] = ()
) -> list[Row]:
    """A sample of what the champion's line has learned: class-balanced, or of all of it where there are no labels.

    Ids are hashes, so «the first ids after a point that `seed` names» is a random sample that an index can serve.
    """
    counts = per_label(labels, total)
    if not counts:
        return _sample(session, model, None, total, short_hash(seed), unlearned)
    rows = []
    for label, count in counts.items():
        if count:
            rows += _sample(session, model, label, count, short_hash(seed, label), unlearned)
    return rows


def _sample(
    session: Session, model: str, label: str | None, count: int, pivot: str, unlearned: Collection[str]
) -> list[Row]:
    learned = (
        select(Example.id, Example.target, Example.weight, Example.user_key)
        .where(Example.model == model, Example.status == "train", col(Example.learned_in).is_not(None))
        .order_by(Example.id)
    )
    if label is not None:
        learned = learned.where(Example.target == label, could_be_label(Example.target))
    if unlearned:
        learned = learned.where(col(Example.learned_in).not_in(sorted(unlearned)))
    found = list(session.exec(learned.where(Example.id >= pivot).limit(count)))
    if len(found) < count:
        found += session.exec(learned.where(Example.id < pivot).limit(count - len(found)))
    return [Row(id, target, weight, user) for id, target, weight, user in found if target is not None]


def texts_of(session: Session, ids: Iterable[str]) -> dict[str, str]:
    """The inputs of examples; an id without a row, or whose row is no lesson any more, is missing from the answer."""
    wanted = sorted(ids)
    texts: dict[str, str] = {}
    for start in range(0, len(wanted), 500):  # SQLite binds at most 999 variables in old builds
        part = wanted[start : start + 500]
        found = select(Example.id, Example.text).where(col(Example.id).in_(part), Example.status == "train")
        texts.update(session.exec(found).all())
    return texts


def lessons_of(session: Session, ids: Iterable[str]) -> dict[str, tuple[str | None, float]]:
    """Target and weight of examples as they are now; one that is no lesson any more is missing from the answer."""
    wanted = sorted(ids)
    lessons: dict[str, tuple[str | None, float]] = {}
    for start in range(0, len(wanted), 500):
        part = wanted[start : start + 500]
        query = select(Example.id, Example.target, Example.weight)
        found = session.exec(query.where(col(Example.id).in_(part), Example.status == "train"))
        lessons.update((one, (target, weight)) for one, target, weight in found)
    return lessons
