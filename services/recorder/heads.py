"""The first word on each input: which text, who spoke first and when, and so the side of the input's whole class.

A class is all inputs of a model with one fingerprint (near-duplicates). Golden anchors decide for their class, then
seeds, then the earliest feedback with a target: solicited → holdout, else train.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from sqlalchemy import Connection, Select, bindparam, delete, select, update
from sqlmodel import col

from services.recorder.join import Joined
from services.recorder.sql import chunks, insert_new, pairs
from shared.tables import Example, FeedbackRow, Prediction
from shared.text import fingerprint

Class = tuple[str, str]  # model and fingerprint


@dataclass
class Heads:
    """What a change of first words touched: new examples, and classes whose side may be another one."""

    created: set[str] = field(default_factory=set)
    classes: set[Class] = field(default_factory=set)


@dataclass(frozen=True)
class Member:
    """One input of a class, as far as its side goes."""

    id: str
    origin: str
    side: str
    moment: tuple[object, str]
    solicited: bool


def hear(connection: Connection, joined: Sequence[Joined]) -> Heads:
    """Note newly joined feedback with a target: make examples of new inputs, and keep the earliest word on old ones."""
    first: dict[str, Joined] = {}
    for one in sorted((one for one in joined if one.target is not None), key=lambda one: one.moment):
        first.setdefault(one.example_id, one)
    rows = {example_id: _example(word) for example_id, word in first.items()}
    heads = Heads(created=insert_new(connection, list(rows.values())))
    heads.classes = {(rows[example_id].model, rows[example_id].fingerprint) for example_id in heads.created}
    earlier = [rows[example_id] for example_id in _earlier(connection, first, rows.keys() - heads.created)]
    heads.classes |= _rewrite(connection, earlier)
    return heads


def _earlier(connection: Connection, first: dict[str, Joined], ids: Iterable[str]) -> list[str]:
    """Those inputs whose first word is now an earlier one."""
    found = []
    for some in chunks(ids):
        query = select(col(Example.id), col(Example.first_at), col(Example.first_event))
        known = query.where(col(Example.id).in_(some), col(Example.origin) == "feedback")
        found += [example for example, at, event in connection.execute(known) if first[example].moment < (at, event)]
    return found


def forget(connection: Connection, ids: Iterable[str]) -> Heads:
    """Find the first word again after feedback was erased; an input without any, and without a voucher, goes."""
    heads = Heads()
    for some in chunks(ids):
        query = select(col(Example.id), col(Example.model), col(Example.fingerprint))
        told = connection.execute(query.where(col(Example.id).in_(some), col(Example.origin) == "feedback")).all()
        heads.classes |= {(model, print_) for _, model, print_ in told}
        first: dict[str, Joined] = {}
        for word in sorted(_words(connection, [example for example, _, _ in told]), key=lambda one: one.moment):
            first.setdefault(word.example_id, word)
        _rewrite(connection, [_example(word) for word in first.values()])
        gone = [example for example, _, _ in told if example not in first]
        connection.execute(delete(Example).where(col(Example.id).in_(gone)))
    return heads


def settle(connection: Connection, classes: Iterable[Class]) -> tuple[set[str], set[str]]:
    """Put each class on its side; the inputs that moved, and the models whose holdout side changed."""
    moved: list[tuple[str, str]] = []
    models: set[str] = set()
    wanted = sorted(set(classes))
    for start in range(0, len(wanted), 500):
        for (model, _), members in _members(connection, wanted[start : start + 500]).items():
            side = side_of(members)
            others = [(member.id, side) for member in members if member.side != side]
            moved += others
            if side == "holdout" or any(member.side == "holdout" for member in members):
                models.add(model)
    if moved:
        statement = update(Example).where(col(Example.id) == bindparam("of")).values(side=bindparam("to"))
        connection.execute(statement, [{"of": example, "to": side} for example, side in moved])
    return {example for example, _ in moved}, models


def side_of(members: Iterable[Member]) -> str:
    """The side of a class."""
    members = list(members)
    origins = {member.origin for member in members}
    if "anchor" in origins:
        return "anchor"
    if "seed" in origins:
        return "train"
    return "holdout" if min(members, key=lambda member: member.moment).solicited else "train"


def _members(connection: Connection, classes: Sequence[Class]) -> dict[Class, list[Member]]:
    query = select(
        col(Example.model),
        col(Example.fingerprint),
        col(Example.id),
        col(Example.origin),
        col(Example.side),
        col(Example.first_at),
        col(Example.first_event),
        col(Example.first_solicited),
    ).where(pairs(col(Example.model), col(Example.fingerprint), classes))
    members: dict[Class, list[Member]] = defaultdict(list)
    for model, print_, example, origin, side, at, event, solicited in connection.execute(query):
        members[model, print_].append(Member(example, origin, side, (at, event), solicited))
    return members


def _example(word: Joined) -> Example:
    return Example(
        id=word.example_id,
        model=word.model,
        text=word.text,
        fingerprint=fingerprint(word.text),
        origin="feedback",
        side="holdout" if word.solicited else "train",
        status="pending",
        user_key=word.user_key,
        first_at=word.occurred_at,
        first_event=word.event_id,
        first_solicited=word.solicited,
    )


def _rewrite(connection: Connection, examples: Sequence[Example]) -> set[Class]:
    names = ("text", "user_key", "first_at", "first_event", "first_solicited")
    if examples:
        statement = update(Example).where(col(Example.id) == bindparam("of"))
        connection.execute(
            statement.values({name: bindparam(name) for name in names}),
            [{"of": one.id, **{name: getattr(one, name) for name in names}} for one in examples],
        )
    return {(one.model, one.fingerprint) for one in examples}


def _words(connection: Connection, ids: Sequence[str]) -> list[Joined]:
    """All feedback with a target on some inputs."""
    query: Select[*tuple[Any, ...]] = (
        select(
            col(FeedbackRow.event_id),
            col(FeedbackRow.occurred_at),
            col(FeedbackRow.user_key),
            col(Prediction.model),
            col(Prediction.version),
            col(Prediction.example_id),
            col(Prediction.input),
            col(Prediction.solicit),
            col(FeedbackRow.target),
            col(FeedbackRow.wrong),
        )
        .join_from(FeedbackRow, Prediction, col(FeedbackRow.prediction_id) == col(Prediction.prediction_id))
        .where(col(FeedbackRow.example_id).in_(ids), col(FeedbackRow.target).is_not(None))
    )
    return [Joined(*row) for row in connection.execute(query)]
