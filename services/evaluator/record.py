"""Reads a model's record from SQL, as a backtest needs it.

Whether a row is evidence, and what its target is, is told as votes and reviewers have it today. Rows that graduated
count for the time before: what a version or its line had learned is known from the lineage.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from schemas.events import CandidateTrained
from services.evaluator.evidence import gather, tagged
from services.evaluator.past import Past, Recorded, Reign
from services.evaluator.rows import Row
from shared.errors import BadInputError
from shared.tables import Example, Lesson, ModelRow, StateChange, Verdict, Version

GATE, CANARY = "gate", "canary"  # who decides by rules, as verdicts name them


def read_past(engine: Engine, model: str, tags: Collection[str] = ()) -> Past:
    """Read a model's record; rows carry those tags that slices are made of.

    Raises:
        BadInputError: the database knows no such model, or no version of it.
    """
    with Session(engine) as session:
        known = session.get(ModelRow, model)
        made = session.exec(select(Version).where(Version.model == model).order_by(col(Version.number))).all()
        if known is None or not made:
            raise BadInputError("no_versions", f"The database has no version of a model {model}.", "model")
        moments, rows = _solicited(session, model, tags)
        return Past(
            model,
            _candidates(session, known, made),
            _reigns(session, model),
            moments,
            rows,
            gather(engine, model, 1, ()).anchor,
            _learned(session, made),
        )


def models_of(engine: Engine) -> tuple[str, ...]:
    """All models that the database knows."""
    with Session(engine) as session:
        return tuple(session.exec(select(ModelRow.name).order_by(ModelRow.name)))


def _candidates(session: Session, known: ModelRow, made: Collection[Version]) -> tuple[Recorded, ...]:
    said = select(Verdict).where(Verdict.model == known.name, Verdict.decided_by == GATE)
    verdicts: dict[str, list[Verdict]] = {}
    for verdict in session.exec(said.order_by(col(Verdict.occurred_at), col(Verdict.event_id))):
        verdicts.setdefault(verdict.candidate, []).append(verdict)
    found = []
    for one in made:
        looks = verdicts.get(one.version, [])
        at, outcome = (looks[0].occurred_at, looks[-1].outcome) if looks else (one.occurred_at, None)
        found.append(Recorded(_announced(one, known), f"v{one.number}", at, outcome))
    return tuple(sorted(found, key=lambda one: (one.at, one.name)))


def _announced(one: Version, known: ModelRow) -> CandidateTrained:
    """The news of a version, as far as judging it goes."""
    facts = one.model_dump(
        include={"event_id", "occurred_at", "request_id", "model", "version", "parent", "trigger"}
        | {"requested_by", "manifest_sha256", "labels"}
    )
    return CandidateTrained.model_validate({**facts, "source": "trainer", "task": known.task, "base": known.base})


def _reigns(session: Session, model: str) -> tuple[Reign, ...]:
    rules = select(Verdict.event_id).where(Verdict.model == model, col(Verdict.decided_by).in_([GATE, CANARY]))
    by_rule = set(session.exec(rules))
    changes = select(StateChange).where(StateChange.model == model, StateChange.alias == "champion")
    in_order = changes.order_by(col(StateChange.occurred_at), col(StateChange.event_id))
    return tuple(
        Reign(one.version, one.occurred_at, one.previous, one.decision not in by_rule) for one in session.exec(in_order)
    )


def _solicited(session: Session, model: str, tags: Collection[str]) -> tuple[tuple[datetime, ...], tuple[Row, ...]]:
    usable = select(Example).where(
        Example.model == model, Example.side == "holdout", col(Example.status).in_(["holdout", "train"])
    )
    found = session.exec(usable.order_by(col(Example.first_at), col(Example.id))).all()
    known = [one for one in found if one.target is not None]
    rows = [Row(one.id, one.text, one.target or "", one.user_key) for one in known]
    return tuple(one.first_at for one in known), tuple(tagged(session, rows, tags) if tags else rows)


def _learned(session: Session, made: Collection[Version]) -> dict[str, frozenset[str]]:
    """What each version and those before it in its line have learned; a parent's number is the smaller one."""
    own: dict[str, set[str]] = {one.version: set() for one in made}
    for version, example in session.exec(select(Lesson.version, Lesson.example_id).where(col(Lesson.version).in_(own))):
        own[version].add(example)
    line: dict[str, frozenset[str]] = {}
    for one in made:
        line[one.version] = frozenset(own[one.version]) | line.get(one.parent or "", frozenset())
    return line
