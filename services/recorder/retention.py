"""Which versions' files nobody needs any more: candidates that the gate did not let in, some time ago.

Kept are all that ever served, under any alias, with all their ancestors (a rollback, an erasure and a backtest load
them), each model's newest version (it may be looked at again), and ancestors of what has no verdict yet. Datasets are
kept too: a replay reads them. What is recorded of a version stays in the database.
"""

from __future__ import annotations

from collections import defaultdict
from datetime import datetime

from sqlalchemy import Connection, select
from sqlmodel import col

from services.recorder.lineage import ancestry
from shared.tables import StateChange, Verdict, Version


def removable(connection: Connection, before: datetime) -> list[str]:
    """The versions whose last verdict was reached before a moment, and whose files may go; sorted."""
    versions = connection.execute(select(col(Version.version), col(Version.parent), col(Version.model))).all()
    parents = {row.version: row.parent for row in versions}
    served = set(connection.execute(select(col(StateChange.version))).scalars())
    judged = _judged(connection)
    newest = {model: version for _, model, version in sorted(_numbers(connection))}
    needed = {
        ancestor
        for version in (served | set(newest.values()) | (parents.keys() - judged.keys()))
        for ancestor in ancestry(version, parents)
    }
    return sorted(
        version
        for version, verdicts in judged.items()
        if version in parents
        and version not in needed
        and all(outcome != "promote" and at < before for outcome, at in verdicts)
    )


def _judged(connection: Connection) -> dict[str, list[tuple[str, datetime]]]:
    """Version → outcome and moment of each of its verdicts."""
    found: dict[str, list[tuple[str, datetime]]] = defaultdict(list)
    query = select(col(Verdict.candidate), col(Verdict.outcome), col(Verdict.occurred_at))
    for version, outcome, at in connection.execute(query):
        found[version].append((outcome, at))
    return found


def _numbers(connection: Connection) -> list[tuple[int, str, str]]:
    query = select(col(Version.number), col(Version.model), col(Version.version))
    return [(number, model, version) for number, model, version in connection.execute(query)]
