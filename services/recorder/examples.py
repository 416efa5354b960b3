"""The `example` view: reads the facts around some inputs, lets `curation` judge, and writes the rows."""

from __future__ import annotations

from collections.abc import Iterable

from sqlalchemy import Connection, bindparam, select, update
from sqlmodel import col

from services.recorder import evidence, labels, voices
from services.recorder.curation import Case, Curated, curate
from services.recorder.evidence import Evidence
from services.recorder.labels import Named
from services.recorder.sql import chunks
from shared.policy import PolicyFile
from shared.tables import Example

COLUMNS = ("status", "reason", "target", "weight", "votes", "reviewed")


def settle(connection: Connection, ids: set[str], policies: PolicyFile) -> set[Named]:
    """Curate examples, and those of users whose trust changed by it; the labels that reviewers may have touched."""
    known = [evidence.read(connection, some) for some in chunks(ids)]
    speakers = {speaker for some in known for speaker in voices.settle(connection, some)}
    others = voices.examples_of(connection, speakers) - ids
    known += [evidence.read(connection, some) for some in chunks(others)]
    return {named for some in known for named in _curate(connection, some, policies)}


def _curate(connection: Connection, known: list[Evidence], policies: PolicyFile) -> set[Named]:
    trusted = voices.trust_of(connection, known)
    allowed = labels.of_models(connection, {one.model for one in known})
    before = _reviewed(connection, [one.id for one in known])
    rows: list[dict[str, object]] = []
    touched: set[Named] = set()
    for one in known:
        case = Case(one.origin, one.side, one.graduated, one.vouched, one.votes, one.ruling, allowed.get(one.model))
        made = curate(case, trusted.get(one.model, {}), policies.of(one.model).trust)
        decision = one.ruling.decision if one.ruling else None
        rows.append({"of": one.id, **_columns(made, decision)})
        if decision or one.id in before:
            touched |= {(one.model, target) for target in (made.target, before.get(one.id)) if target is not None}
    if rows:
        statement = update(Example).where(col(Example.id) == bindparam("of"))
        connection.execute(statement.values({name: bindparam(f"new_{name}") for name in COLUMNS}), rows)
    return touched


def _columns(made: Curated, reviewed: str | None) -> dict[str, object]:
    values = (made.status, made.reason, made.target, made.weight, made.votes, reviewed)
    return {f"new_{name}": value for name, value in zip(COLUMNS, values, strict=True)}


def _reviewed(connection: Connection, ids: Iterable[str]) -> dict[str, str | None]:
    """Example → its target, for those that a reviewer had decided on."""
    query = select(col(Example.id), col(Example.target))
    return {
        example: target
        for some in chunks(ids)
        for example, target in connection.execute(
            query.where(col(Example.id).in_(some), col(Example.reviewed).is_not(None))
        )
    }
