"""Versions that once were made, found again in SQL: what a person names, and what a champion replaced."""

from __future__ import annotations

from datetime import datetime
from typing import cast

from sqlalchemy import Engine
from sqlmodel import Session, col, select

from schemas.events import ModelStateChanged, Task
from shared.tables import ModelRow, StateChange, Version


def find_version(engine: Engine, model: str, version: str, at: datetime) -> ModelStateChanged | None:
    """The state in which a model's version would be champion, for the evaluator to complete; None: there is none."""
    query = (
        select(Version.manifest_sha256, ModelRow.task, ModelRow.base)
        .join(ModelRow, col(ModelRow.name) == col(Version.model))
        .where(Version.version == version, Version.model == model)
    )
    with Session(engine) as session:
        found = session.exec(query).first()
    if found is None:
        return None
    manifest, task, base = found
    return ModelStateChanged(
        event_id=f"state-{version}"[:64],
        occurred_at=at,
        source="evaluator",
        model=model,
        alias="champion",
        task=cast(Task, task),
        base=base,
        version=version,
        manifest_sha256=manifest,
        decision=version,
        reason="",
    )


def was_champion(engine: Engine, model: str, version: str) -> bool:
    """Whether a version has been champion before."""
    query = select(StateChange.event_id).where(
        StateChange.model == model, StateChange.version == version, StateChange.alias == "champion"
    )
    with Session(engine) as session:
        return session.exec(query).first() is not None
