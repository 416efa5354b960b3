"""The first word on each input: which text, who spoke first and when, and so the side of the input's whole class.

A class is all near-duplicates of an input: those whose ids begin alike. Golden anchors decide for their class, then
seeds, then the earliest word that teaches anything: feedback, solicited → holdout, else train; or the draw of a
prediction for reviewers, → holdout, whatever is volunteered of it later. A thumb down and a preference name no right
output, but a model that writes text learns from them, and never from what is there to judge it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, delete, select
from sqlmodel import col

from services.recorder import draws, guards
from services.recorder.join import Joined, words_on
from services.recorder.rows import Row, overwrite
from services.recorder.sql import among, beginning, chunks
from shared.policy import PolicyFile, Trust
from shared.tables import Example, FeedbackRow
from shared.text import class_of

Class = tuple[str, str]  # model, and what its examples' ids begin with


@dataclass
class Newcomer:
    """An input that nobody spoke of before, its first word, and its side."""

    word: Joined
    side: str
    guard: str = ""

    @property
    def of(self) -> Class:
        """Its class."""
        return self.word.answer.model, class_of(self.word.answer.example_id)

    @property
    def row(self) -> Row:
        """Its row in `example`, before it is judged."""
        word = self.word
        return {
            "id": word.answer.example_id,
            "model": word.answer.model,
            "text": word.answer.text,
            "origin": "feedback",
            "side": self.side,
            "status": "pending",
            "reason": "",
            "target": None,
            "weight": 0.0,
            "votes": 0,
            "user_key": word.user_key,
            "first_at": word.occurred_at,
            "first_event": word.event_id,
            "first_solicited": word.drawn,
            "guard": self.guard,
            "graduated": False,
            "reviewed": None,
            "learned_in": None,
            "fixed_in": None,
            "fixed_at": None,
        }


@dataclass
class Heads:
    """What a change of first words touched: new inputs by id, and classes whose side may be another one.

    `first` are the event ids of what is said first by now.
    """

    newcomers: dict[str, Newcomer] = field(default_factory=dict)
    classes: set[Class] = field(default_factory=set)
    first: frozenset[str] = frozenset()


@dataclass(frozen=True)
class Member:
    """One input of a class, as far as its side goes."""

    id: str
    origin: str
    side: str
    moment: tuple[datetime, str]
    solicited: bool
    user_key: str | None = None
    guard: str = ""


def hear(connection: Connection, joined: Iterable[Joined]) -> Heads:
    """Find what newly joined feedback says first: of new inputs, or before all others of old ones.

    The feedback itself is not written yet; what was the first word until now is marked as a further one.
    """
    first = _first(one for one in joined if one.teaches)
    known = _known(connection, first)
    new = {example: word for example, word in first.items() if example not in known}
    earlier = {
        moment[1]: first[example] for example, moment in known.items() if moment and first[example].moment < moment
    }
    _mark_further(connection, earlier, True)
    heads = Heads({example: _newcomer(word) for example, word in new.items()})
    heads.classes = {newcomer.of for newcomer in heads.newcomers.values()} | _rewrite(connection, earlier.values())
    heads.first = frozenset(word.event_id for word in (*new.values(), *earlier.values()))
    return heads


def _first(words: Iterable[Joined]) -> dict[str, Joined]:
    """The first word on each input."""
    first: dict[str, Joined] = {}
    for one in words:
        before = first.setdefault(one.answer.example_id, one)
        if one.moment < before.moment:
            first[one.answer.example_id] = one
    return first


def _newcomer(word: Joined) -> Newcomer:
    return Newcomer(word, "holdout" if word.drawn else "train")


def _known(connection: Connection, ids: Iterable[str]) -> dict[str, tuple[datetime, str] | None]:
    """Those inputs that are there, with the moment of their first word; None where a person vouched for them."""
    query = select(col(Example.id), col(Example.origin), col(Example.first_at), col(Example.first_event))
    return {
        example: (at, event) if origin == "feedback" else None
        for some in chunks(ids)
        for example, origin, at, event in connection.execute(query.where(among(connection, Example.id, some)))
    }


def forget(connection: Connection, ids: Iterable[str]) -> Heads:
    """Find the first word again after feedback was erased; an input without any, and without a voucher, goes."""
    heads = Heads()
    for some in chunks(ids):
        query = select(col(Example.id), col(Example.model))
        told = connection.execute(
            query.where(among(connection, Example.id, some), col(Example.origin) == "feedback")
        ).all()
        heads.classes |= {(model, class_of(example)) for example, model in told}
        asked = [example for example, _ in told]
        first = _first([*words_on(connection, asked), *draws.of(connection, asked)])
        _rewrite(connection, first.values())
        _mark_further(connection, (word.event_id for word in first.values()), False)
        gone = [example for example, _ in told if example not in first]
        connection.execute(delete(Example).where(col(Example.id).in_(gone)))
    return heads


def settle(
    connection: Connection, classes: Iterable[Class], newcomers: Iterable[Newcomer], policies: PolicyFile
) -> tuple[set[str], set[str]]:
    """Put each class on its side and mark what speaks against its members.

    Returns the known inputs for which that changed, and the models whose holdout side did.
    """
    arriving: dict[Class, list[Newcomer]] = defaultdict(list)
    for newcomer in newcomers:
        arriving[newcomer.of].append(newcomer)
    members = _members(connection, classes)
    moved: dict[str, str] = {}
    marked: dict[str, str] = {}
    models: set[str] = set()
    for of in members.keys() | arriving.keys():
        old, new = members.get(of, []), arriving.get(of, [])
        side = new[0].side if len(new) == 1 and not old else side_of([*old, *map(_member, new)])
        moved |= {member.id: side for member in old if member.side != side}
        marked |= _mark(old, new, policies.of(of[0]).trust)
        for newcomer in new:
            newcomer.side = side
        if side == "holdout" or any(member.side == "holdout" for member in old):
            models.add(of[0])
    begun = [{"id": example, "side": side, "graduated": False} for example, side in moved.items()]
    overwrite(connection, Example, begun)  # whether they are older than the gate's window is seen after this
    overwrite(connection, Example, [{"id": example, "guard": guard} for example, guard in marked.items()])
    return moved.keys() | marked.keys(), models


def _mark(old: list[Member], new: list[Newcomer], policy: Trust) -> dict[str, str]:
    """Mark the new members of a class; what changes for the old ones."""
    if len(old) + len(new) == 1:
        return {member.id: "" for member in old if member.guard}
    members = [*old, *map(_member, new)]
    found = guards.marks(
        (guards.First(*member.moment, member.id, member.user_key) for member in members if member.origin == "feedback"),
        policy,
    )
    for newcomer in new:
        newcomer.guard = found.get(newcomer.word.answer.example_id, "")
    return {member.id: found.get(member.id, "") for member in old if member.guard != found.get(member.id, "")}


def side_of(members: Iterable[Member]) -> str:
    """The side of a class."""
    members = list(members)
    origins = {member.origin for member in members}
    if "anchor" in origins:
        return "anchor"
    if "seed" in origins:
        return "train"
    return "holdout" if min(members, key=lambda member: member.moment).solicited else "train"


def _member(newcomer: Newcomer) -> Member:
    word = newcomer.word
    return Member(word.answer.example_id, "feedback", newcomer.side, word.moment, word.drawn, word.user_key)


def _members(connection: Connection, classes: Iterable[Class]) -> dict[Class, list[Member]]:
    """The known inputs of each class."""
    members: dict[Class, list[Member]] = defaultdict(list)
    for some in chunks(start for _, start in classes):
        found = beginning(connection, MEMBER, Example.id, some)
        for model, example, origin, side, at, event, solicited, user, guard in connection.execute(found):
            member = Member(example, origin, side, (at, event), solicited, user, guard)
            members[model, class_of(example)].append(member)
    return members


def _rewrite(connection: Connection, words: Iterable[Joined]) -> set[Class]:
    """Make these the first words on their inputs."""
    rows = [_newcomer(word).row for word in words]
    names = ("id", "text", "user_key", "first_at", "first_event", "first_solicited")
    overwrite(connection, Example, [{name: row[name] for name in names} for row in rows])
    return {(row["model"], class_of(row["id"])) for row in rows}


def _mark_further(connection: Connection, words: Iterable[str], further: bool) -> None:
    """Say of feedback whether it is not the first word any more, or that it is now. A draw is none and has no row."""
    overwrite(connection, FeedbackRow, [{"event_id": word, "further": further} for word in words])


MEMBER: tuple[Any, ...] = (
    col(Example.model),
    col(Example.id),
    col(Example.origin),
    col(Example.side),
    col(Example.first_at),
    col(Example.first_event),
    col(Example.first_solicited),
    col(Example.user_key),
    col(Example.guard),
)
