"""Versions and what they learned: numbers, lessons, the champion's ancestry, and which promotion fixed what.

An example is learned when the champion or one of its ancestors learned it, so a rollback makes it new again. It is
fixed by the first promoted version whose verdict said that it gets the correction right, and stays so.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from sqlalchemy import Connection, func, select
from sqlmodel import col

from schemas.events import CandidateTrained, VerdictReached
from services.recorder.rows import overwrite
from services.recorder.sql import among, chunks, insert_new
from shared.tables import Example, Fix, Lesson, StateChange, Version

Promotions = dict[str, tuple[datetime, str]]  # version → when it first became champion, and by which event


def champions(connection: Connection, models: Iterable[str]) -> dict[str, str]:
    """The champion of each model that has one."""
    query = select(
        col(StateChange.model), col(StateChange.occurred_at), col(StateChange.event_id), col(StateChange.version)
    )
    wanted = query.where(col(StateChange.model).in_(sorted(set(models))), col(StateChange.alias) == "champion")
    return {model: version for model, _, _, version in sorted(connection.execute(wanted), key=lambda row: row[1:3])}


def lines(connection: Connection, models: Iterable[str]) -> dict[str, frozenset[str]]:
    """The champion of each model with all its ancestors, as far as they are recorded."""
    reigning = champions(connection, models)
    return {model: frozenset(ancestry(version, _parents(connection, model))) for model, version in reigning.items()}


def add_versions(connection: Connection, events: Sequence[CandidateTrained]) -> list[CandidateTrained]:
    """Record versions and their lessons; those that were new. A model's versions are numbered in the log's order."""
    new = []
    for event in events:
        count = select(func.count()).where(col(Version.model) == event.model)
        number = connection.execute(count.select_from(Version)).scalar_one()
        said = event.model_dump(exclude={"source", "task", "base", "lessons", "labels", "loss_curve"})
        row = Version(**said, number=number, labels=list(event.labels), loss_curve=list(event.loss_curve))
        if insert_new(connection, [row]):
            insert_new(connection, [Lesson(version=event.version, example_id=one) for one in event.lessons])
            new.append(event)
    return new


def add_fixes(connection: Connection, events: Sequence[VerdictReached]) -> set[str]:
    """Record what candidates get right; the examples that it is about."""
    fixes = {(event.candidate, example) for event in events for example in event.fixes}
    insert_new(connection, [Fix(version=version, example_id=example) for version, example in sorted(fixes)])
    return {example for _, example in fixes}


def lessons_of(connection: Connection, versions: Iterable[str]) -> set[str]:
    """The examples that versions learned first."""
    return {
        example
        for some in chunks(versions)
        for example in connection.execute(
            select(col(Lesson.example_id)).where(among(connection, Lesson.version, some))
        ).scalars()
    }


def fixes_of(connection: Connection, versions: Iterable[str]) -> set[str]:
    """The examples that versions get right by their verdicts."""
    query = select(col(Fix.example_id)).where(col(Fix.version).in_(sorted(set(versions))))
    return set(connection.execute(query).scalars())


def ancestry(version: str | None, parents: dict[str, str | None]) -> list[str]:
    """A version, its parent, and so on to the first."""
    line: list[str] = []
    while version is not None and version not in line:
        line.append(version)
        version = parents.get(version)
    return line


def told_of(connection: Connection, ids: Iterable[str]) -> set[str]:
    """Those inputs that some version learned, or gets right, before anything else was known of them."""
    return {
        example
        for some in chunks(ids)
        for key in (col(Lesson.example_id), col(Fix.example_id))
        for example in connection.execute(select(key).where(among(connection, key, some))).scalars()
    }


def mark(connection: Connection, ids: Iterable[str]) -> None:
    """Write on examples which version learned them and which one fixed them."""
    for some in chunks(ids):
        learned = _pairs(connection, select(col(Lesson.example_id), col(Lesson.version)), col(Lesson.example_id), some)
        fixed = _pairs(connection, select(col(Fix.example_id), col(Fix.version)), col(Fix.example_id), some)
        query = select(col(Example.id), col(Example.model), col(Example.learned_in), col(Example.fixed_in))
        rows = connection.execute(query.where(among(connection, Example.id, some))).all()
        rows = [row for row in rows if learned[row.id] or fixed[row.id] or row.learned_in or row.fixed_in]
        if rows:
            _write(connection, [(row.id, row.model) for row in rows], learned, fixed)


def _write(
    connection: Connection, examples: list[tuple[str, str]], learned: dict[str, set[str]], fixed: dict[str, set[str]]
) -> None:
    models = {model for _, model in examples}
    reigning = champions(connection, models)
    lines = {model: ancestry(reigning.get(model), _parents(connection, model)) for model in models}
    promoted = _promotions(connection, {version for example, _ in examples for version in fixed[example]})
    values = []
    for example, model in examples:
        first = min(((promoted[version], version) for version in fixed[example] if version in promoted), default=None)
        teachers = [version for version in lines[model] if version in learned[example]]
        values.append(
            {
                "id": example,
                "learned_in": teachers[-1] if teachers else None,  # the oldest ancestor that learned it
                "fixed_in": first[1] if first else None,
                "fixed_at": first[0][0] if first else None,
            }
        )
    overwrite(connection, Example, values)


def _promotions(connection: Connection, versions: Iterable[str]) -> Promotions:
    first: Promotions = {}
    for some in chunks(versions):
        query = select(col(StateChange.version), col(StateChange.occurred_at), col(StateChange.event_id))
        for version, at, event in connection.execute(
            query.where(among(connection, StateChange.version, some), col(StateChange.alias) == "champion")
        ):
            first[version] = min(first.get(version, (at, event)), (at, event))
    return first


def _parents(connection: Connection, model: str) -> dict[str, str | None]:
    query = select(col(Version.version), col(Version.parent)).where(col(Version.model) == model)
    return {row.version: row.parent for row in connection.execute(query)}


def _pairs(connection: Connection, query: Any, key: Any, ids: Sequence[str]) -> dict[str, set[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for example, version in connection.execute(query.where(among(connection, key, ids))):
        found[example].add(version)
    return found
