"""What happens now: counters, the increment that is running, and the models there are."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import Engine, case, func, select
from sqlmodel import col

from services.board.database import records, row, rows
from services.board.lineage import marks
from shared.tables import DeadLetter, Example, FeedbackRow, ModelRow, Prediction, Progress, Request


@dataclass(frozen=True)
class ModelCard:
    """A model as the head of each page names it."""

    name: str
    task: str
    base: str
    labels: tuple[str, ...]
    champion: str | None
    since: datetime | None


@dataclass(frozen=True)
class Counters:
    """How much has come in and what of it still waits. `dead_letters` are those of the whole installation."""

    predictions: int
    feedback: int
    waiting: int
    quarantined: int
    dead_letters: int
    newest: datetime | None


@dataclass(frozen=True)
class Increment:
    """The newest training run of a model, while it runs."""

    trigger: str
    step: int
    steps: int
    loss: float | None
    examples_per_s: float | None
    seconds_left: float | None
    detail: str
    told_at: datetime

    @property
    def share(self) -> float:
        """How far it is, 0 to 1."""
        return min(1.0, self.step / self.steps) if self.steps else 0.0


def models(engine: Engine) -> tuple[str, ...]:
    """The names of all models."""
    return tuple(name for (name,) in rows(engine, select(col(ModelRow.name)).order_by(col(ModelRow.name))))


def model_card(engine: Engine, model: str) -> ModelCard:
    """What a model is and which version serves."""
    (found,) = records(engine, select(ModelRow).where(col(ModelRow.name) == model))
    reigns = marks(engine, model)
    champion = reigns[-1] if reigns else None
    return ModelCard(
        model,
        found.task,
        found.base,
        tuple(found.labels),
        champion.name if champion else None,
        champion.at if champion else None,
    )


def counters(engine: Engine, model: str) -> Counters:
    """Count what is stored."""
    predictions, served_at = row(
        engine, select(func.count(), func.max(Prediction.occurred_at)).where(col(Prediction.model) == model)
    )
    feedback, said_at = row(
        engine, select(func.count(), func.max(FeedbackRow.occurred_at)).where(col(FeedbackRow.model) == model)
    )
    waiting, quarantined = row(
        engine,
        select(
            func.sum(case(((col(Example.status) == "train") & col(Example.learned_in).is_(None), 1), else_=0)),
            func.sum(case((col(Example.status) == "quarantined", 1), else_=0)),
        ).where(col(Example.model) == model),
    )
    (dead,) = row(engine, select(func.count()).select_from(DeadLetter))
    newest = max((moment for moment in (served_at, said_at) if moment), default=None)
    return Counters(predictions, feedback, int(waiting or 0), int(quarantined or 0), dead, newest)


def running(engine: Engine, model: str) -> Increment | None:
    """The increment that is being trained now, if the newest one has not ended."""
    told = records(
        engine, select(Progress).where(col(Progress.model) == model).order_by(col(Progress.occurred_at).desc()).limit(1)
    )
    if not told or told[0].state not in ("started", "running"):
        return None
    newest = told[0]
    trigger = rows(engine, select(col(Request.trigger)).where(col(Request.request_id) == newest.request_id))
    return Increment(
        trigger=trigger[0][0] if trigger else "",
        step=newest.step,
        steps=newest.steps,
        loss=newest.loss,
        examples_per_s=newest.examples_per_s,
        seconds_left=newest.seconds_left,
        detail=newest.detail,
        told_at=newest.occurred_at,
    )
