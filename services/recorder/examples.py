"""The `example` view: reads the facts around some inputs, lets `curation` judge, and writes the rows."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sqlalchemy import Connection, func, select
from sqlmodel import col

from services.recorder import accounts, evidence, labels, voices
from services.recorder.curation import Case, Curated, curate
from services.recorder.evidence import Evidence
from services.recorder.labels import Named
from services.recorder.rows import Row, overwrite
from services.recorder.sql import among, chunks
from shared.policy import PolicyFile
from shared.tables import Example


def settle(connection: Connection, ids: set[str], policies: PolicyFile, held: Counter[str]) -> set[Named]:
    """Curate examples, and those of users whose trust changed by it; the labels that reviewers may have touched.

    `held` counts what goes into quarantine, by rule.
    """
    known = [evidence.read(connection, some, policies) for some in chunks(ids)]
    days = {day for some in known for day in voices.settle(connection, some)}
    others = voices.examples_of(connection, days) - ids
    known += [evidence.read(connection, some, policies) for some in chunks(others)]
    return {named for some in known for named in _curate(connection, some, policies, held)}


def judge(
    connection: Connection, known: Sequence[Evidence], policies: PolicyFile, held: Counter[str]
) -> Iterator[tuple[Evidence, Curated]]:
    """What becomes of each input, by its votes, its voters' trust and the labels that the model may learn.

    All that is needed is read at once; an input is judged when it is asked for.
    """
    trusted = accounts.discount(connection, known, voices.trust_of(connection, known), policies)
    allowed = labels.of_models(connection, {one.model for one in known})
    return _judge(known, trusted, allowed, policies, held)


def _judge(
    known: Sequence[Evidence],
    trusted: Mapping[str, Mapping[str, float]],
    allowed: Mapping[str, frozenset[str]],
    policies: PolicyFile,
    held: Counter[str],
) -> Iterator[tuple[Evidence, Curated]]:
    for one in known:
        case = Case(
            origin=one.origin,
            side=one.side,
            graduated=one.graduated,
            vouched=one.vouched,
            votes=one.votes,
            ruling=one.ruling,
            labels=allowed.get(one.model),
            guard=one.guard,
            capped=one.capped,
            retired=one.retired,
        )
        made = curate(case, trusted.get(one.id, {}), policies.of(one.model).trust)
        if made.status == "quarantined" and made.reason != one.held:
            held[made.reason] += 1
        yield one, made


def count(connection: Connection, ids: Iterable[str]) -> int:
    """How many of these examples there are."""
    known = select(func.count()).select_from(Example)
    return sum(
        connection.execute(known.where(among(connection, Example.id, some))).scalar_one() for some in chunks(ids)
    )


def _curate(connection: Connection, known: Sequence[Evidence], policies: PolicyFile, held: Counter[str]) -> set[Named]:
    before = _reviewed(connection, [one.id for one in known])
    rows: list[Row] = []
    touched: set[Named] = set()
    for one, made in judge(connection, known, policies, held):
        decision = one.ruling.decision if one.ruling else None
        rows.append(columns(made) | {"id": one.id, "reviewed": decision})
        if decision or one.id in before:
            touched |= {(one.model, target) for target in (made.target, before.get(one.id)) if target is not None}
    overwrite(connection, Example, rows)
    return touched


def columns(made: Curated) -> Row:
    """What was made of an input, as its row says it."""
    return {
        "status": made.status,
        "reason": made.reason,
        "target": made.target,
        "weight": made.weight,
        "votes": made.votes,
    }


def _reviewed(connection: Connection, ids: Iterable[str]) -> dict[str, str | None]:
    """Example → its target, for those that a reviewer had decided on."""
    query = select(col(Example.id), col(Example.target))
    return {
        example: target
        for some in chunks(ids)
        for example, target in connection.execute(
            query.where(among(connection, Example.id, some), col(Example.reviewed).is_not(None))
        )
    }
