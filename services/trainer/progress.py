"""From where a training stands to the event that tells it."""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from schemas.events import TrainingProgressed, TrainingRequested
from services.trainer.reports import Progress
from shared.text import short_hash

State = Literal["started", "running", "finished", "skipped", "failed"]


def progressed(
    request: TrainingRequested, state: State, moment: datetime, now: Progress | None = None, detail: str = ""
) -> TrainingProgressed:
    """The news that a request is in a state, with the figures of a training that runs or has run."""
    step = now.step if now else 0
    return TrainingProgressed(
        event_id=short_hash("progress", request.request_id, state, str(step), moment.isoformat()),
        occurred_at=moment,
        source="trainer",
        request_id=request.request_id,
        model=request.model,
        state=state,
        step=step,
        steps=now.steps if now else 0,
        loss=now.loss if now and state == "running" else None,
        examples_per_s=now.examples_per_s if now else None,
        seconds_left=now.seconds_left if now else None,
        detail=detail,
    )
