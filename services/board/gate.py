"""What the gate said of candidates: verdicts with every check, newest first."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, Select, select
from sqlmodel import col

from schemas.events import Check
from services.board.database import records
from services.board.lineage import names
from shared.tables import Verdict


@dataclass(frozen=True)
class VerdictCard:
    """One verdict with what it rests on."""

    event_id: str
    candidate: str
    name: str
    champion: str
    outcome: str
    reason: str
    at: datetime
    checks: tuple[Check, ...]
    champion_accuracy: float | None
    candidate_accuracy: float | None
    evidence: int
    labels_to_decide: int | None
    anchor: str | None
    alpha: float | None
    alpha_left: float | None
    fixes: int
    decided_by: str


def verdicts(engine: Engine, model: str, limit: int = 5) -> tuple[VerdictCard, ...]:
    """The newest verdicts on a model's candidates."""
    return _cards(engine, model, select(Verdict).where(col(Verdict.model) == model).limit(limit))


def report(engine: Engine, model: str, candidate: str) -> tuple[VerdictCard, ...]:
    """Every verdict on one candidate: it is judged again when more evidence has come."""
    return _cards(
        engine, model, select(Verdict).where(col(Verdict.model) == model, col(Verdict.candidate) == candidate)
    )


def _cards(engine: Engine, model: str, statement: Select[Verdict]) -> tuple[VerdictCard, ...]:
    called = names(engine, model)
    newest = statement.order_by(col(Verdict.occurred_at).desc(), col(Verdict.event_id))
    return tuple(_card(found, called) for found in records(engine, newest))


def _card(found: Verdict, called: dict[str, str]) -> VerdictCard:
    return VerdictCard(
        event_id=found.event_id,
        candidate=found.candidate,
        name=called.get(found.candidate, found.candidate),
        champion=called.get(found.champion, found.champion) if found.champion else "no champion",
        outcome=found.outcome,
        reason=found.reason,
        at=found.occurred_at,
        checks=tuple(Check.model_validate(check) for check in found.checks),
        champion_accuracy=found.champion_accuracy,
        candidate_accuracy=found.candidate_accuracy,
        evidence=found.evidence,
        labels_to_decide=found.labels_to_decide,
        anchor=found.anchor,
        alpha=found.alpha,
        alpha_left=found.alpha_left,
        fixes=len(found.fixes),
        decided_by=found.decided_by,
    )
