"""Versions and who begat whom: names, the champions in their order, and the candidates that did not become one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, func, select
from sqlmodel import col

from services.board.database import records, rows
from shared.tables import Example, Lesson, StateChange, Verdict, Version


@dataclass(frozen=True)
class Mark:
    """A change of the champion."""

    at: datetime
    version: str
    name: str
    previous: str | None
    rollback: bool
    reason: str


@dataclass(frozen=True)
class Trial:
    """A candidate that the gate did not promote."""

    at: datetime
    version: str
    name: str
    outcome: str
    reason: str


@dataclass(frozen=True)
class VersionFacts:
    """One version, as the table of versions shows it."""

    version: str
    number: int
    parent: str | None
    trigger: str
    requested_by: str
    trained_at: datetime
    lessons: int
    replayed: int
    labels: int
    steps: int
    train_seconds: float
    examples_per_s: float
    loss_curve: tuple[float, ...]
    dev_score: float | None
    step_size: float | None
    outcome: str | None
    champion: bool
    was_champion: bool

    @property
    def name(self) -> str:
        """What people call it."""
        return f"v{self.number}"

    @property
    def refreshed(self) -> bool:
        """Whether it was trained anew from the base, and only replaces its parent."""
        return self.trigger == "refresh"

    @property
    def state(self) -> str:
        """Where it stands, in words."""
        if self.champion:
            return "champion"
        if self.was_champion:
            return "was champion"
        return {None: "waits for the gate", "promote": "promoted", "reject": "rejected"}.get(
            self.outcome, self.outcome or ""
        )


def names(engine: Engine, model: str) -> dict[str, str]:
    """What people call each version of a model: `v0`, `v1` and so on."""
    found = rows(engine, select(col(Version.version), col(Version.number)).where(col(Version.model) == model))
    return {version: f"v{number}" for version, number in found}


def marks(engine: Engine, model: str) -> tuple[Mark, ...]:
    """Every change of the champion, oldest first."""
    called = names(engine, model)
    changes = records(
        engine,
        select(StateChange)
        .where(col(StateChange.model) == model, col(StateChange.alias) == "champion")
        .order_by(col(StateChange.occurred_at), col(StateChange.event_id)),
    )
    seen: set[str] = set()
    made = []
    for change in changes:
        name = called.get(change.version, change.version)
        again = change.version in seen
        made.append(Mark(change.occurred_at, change.version, name, change.previous, again, change.reason))
        seen.add(change.version)
    return tuple(made)


def trials(engine: Engine, model: str) -> tuple[Trial, ...]:
    """Every verdict that did not promote, oldest first."""
    called = names(engine, model)
    found = rows(
        engine,
        select(col(Verdict.occurred_at), col(Verdict.candidate), col(Verdict.outcome), col(Verdict.reason))
        .where(col(Verdict.model) == model, col(Verdict.outcome) != "promote")
        .order_by(col(Verdict.occurred_at)),
    )
    return tuple(
        Trial(at, version, called.get(version, version), outcome, reason) for at, version, outcome, reason in found
    )


def versions(engine: Engine, model: str) -> tuple[VersionFacts, ...]:
    """Every version of a model, newest first."""
    reigns = [mark.version for mark in marks(engine, model)]
    outcomes = _outcomes(engine, model)
    lessons = _lessons(engine, model)
    found = records(engine, select(Version).where(col(Version.model) == model).order_by(col(Version.number).desc()))
    return tuple(
        VersionFacts(
            version=made.version,
            number=made.number,
            parent=made.parent,
            trigger=made.trigger,
            requested_by=made.requested_by,
            trained_at=made.occurred_at,
            lessons=lessons.get(made.version, 0),
            replayed=made.replayed,
            labels=len(made.labels),
            steps=made.steps,
            train_seconds=made.train_seconds,
            examples_per_s=made.examples_per_s,
            loss_curve=tuple(made.loss_curve),
            dev_score=made.dev_score,
            step_size=made.step_size,
            outcome=outcomes.get(made.version),
            champion=reigns[-1:] == [made.version],
            was_champion=made.version in reigns[:-1],
        )
        for made in found
    )


def _lessons(engine: Engine, model: str) -> dict[str, int]:
    found = rows(
        engine,
        select(col(Lesson.version), func.count())
        .join(Version, col(Version.version) == col(Lesson.version))
        .where(col(Version.model) == model)
        .group_by(col(Lesson.version)),
    )
    return dict(found)


def _outcomes(engine: Engine, model: str) -> dict[str, str]:
    found = rows(
        engine,
        select(col(Verdict.candidate), col(Verdict.outcome))
        .where(col(Verdict.model) == model)
        .order_by(col(Verdict.occurred_at)),
    )
    return dict(found)  # the newest verdict stands


def fixed_by_version(engine: Engine, model: str) -> dict[str, int]:
    """How many corrected examples each version was the first to get right."""
    found = rows(
        engine,
        select(col(Example.fixed_in), func.count())
        .where(col(Example.model) == model, col(Example.fixed_in).is_not(None))
        .group_by(col(Example.fixed_in)),
    )
    return dict(found)
