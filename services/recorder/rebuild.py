"""Versions that learned from an erased user, and the request that starts again before the first of them.

A version holds a user when it learned an example that the user had a part in, or a feedback that names no right output
(which it lists by its event id), or when an ancestor did; a refresh too, which learns again what its line learned. A
model's first version learned only what the person who added the model vouches for, so there is always a clean ancestor.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence

from sqlalchemy import Connection, select
from sqlmodel import col

from schemas.events import TrainingRequested, UserErased
from services.recorder.lineage import ancestry, champions
from services.recorder.sql import chunks, insert_new
from shared.tables import Lesson, Taint, Verdict, Version
from shared.text import short_hash

REQUESTED_BY = "erasure"
MOST_TAINTED = 1000  # versions that one request names; a model has tens


def requests(connection: Connection, erasure: UserErased, lessons: Iterable[str]) -> list[TrainingRequested]:
    """One request for each model whose champion, or whose unjudged candidate, learned from these lessons.

    Its id follows from the erasure, so that asking again after a crash is the same request.
    """
    learned = _learned(connection, lessons)
    return [
        request
        for model, versions in sorted(learned.items())
        if (request := _request(connection, erasure, model, versions)) is not None
    ]


def mark(connection: Connection, asked: Sequence[TrainingRequested]) -> None:
    """Mark the versions that requests name. The log says it, so that a replay marks the same ones."""
    rows = [Taint(version=version, request_id=one.request_id) for one in asked for version in one.tainted]
    insert_new(connection, rows)


def _learned(connection: Connection, lessons: Iterable[str]) -> dict[str, set[str]]:
    """Model → its versions that learned these lessons, but for the first version."""
    found: dict[str, set[str]] = defaultdict(set)
    query = select(col(Version.model), col(Version.version)).join(Lesson, col(Lesson.version) == col(Version.version))
    for some in chunks(lessons):
        learned = query.where(col(Lesson.example_id).in_(some), col(Version.parent).is_not(None)).distinct()
        for model, version in connection.execute(learned):
            found[model].add(version)
    return found


def _request(connection: Connection, erasure: UserErased, model: str, learned: set[str]) -> TrainingRequested | None:
    rows = connection.execute(select(col(Version.version), col(Version.parent)).where(col(Version.model) == model))
    parents: dict[str, str | None] = {row.version: row.parent for row in rows}
    lines = {version: ancestry(version, parents) for version in parents}
    tainted = {version for version, line in lines.items() if learned & set(line)}
    champion = champions(connection, [model]).get(model)
    if champion is None or not (tainted & ({champion} | _unjudged(connection, tainted))):
        return None
    parent = next(version for version in lines.get(champion, [champion]) if version not in tainted)
    request_id = short_hash("rebuild", erasure.event_id, model)
    return TrainingRequested(
        event_id=request_id,
        occurred_at=erasure.occurred_at,
        source="recorder",
        request_id=request_id,
        model=model,
        trigger="person",
        detail=f"A user was erased; {len(tainted)} versions hold what the user said.",
        requested_by=REQUESTED_BY,
        parent=parent,
        tainted=tuple(sorted(tainted))[:MOST_TAINTED],
    )


def _unjudged(connection: Connection, versions: Iterable[str]) -> set[str]:
    """Those versions that the gate has not answered yet."""
    wanted = set(versions)
    judged = select(col(Verdict.candidate)).where(col(Verdict.candidate).in_(sorted(wanted)))
    return wanted - set(connection.execute(judged).scalars())
