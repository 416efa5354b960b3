"""What the loop did with it: models, versions and what they learned, verdicts, requests, error slices."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import JSON, Column
from sqlmodel import Field, SQLModel

from shared.tables.columns import UtcTime, json_column, time_column


class ModelRow(SQLModel, table=True):
    """A model: what TrainingRequested with a card said it is, or what its first state said."""

    __tablename__ = "model"
    name: str = Field(primary_key=True)
    task: str
    base: str
    labels: list[str] = Field(default_factory=list, sa_column=json_column())
    added_at: datetime = Field(sa_column=time_column())
    request_id: str | None = Field(default=None, description="The request whose card it is; null: known by its state.")


class Version(SQLModel, table=True):
    """CandidateTrained. `number` counts a model's versions in the order of its log: v0, v1 and so on."""

    version: str = Field(primary_key=True)
    event_id: str = Field(unique=True)
    model: str = Field(index=True)
    number: int
    parent: str | None
    request_id: str
    trigger: str
    requested_by: str
    manifest_sha256: str
    labels: list[str] = Field(default_factory=list, sa_column=json_column())
    replayed: int
    steps: int
    train_seconds: float
    examples_per_s: float
    loss_curve: list[float] = Field(default_factory=list, sa_column=json_column())
    dev_score: float | None
    step_size: float | None
    occurred_at: datetime = Field(sa_column=time_column())


class Lesson(SQLModel, table=True):
    """Which version learned which example first: the lineage, both ways.

    A preference or a thumb that a version learned from is listed by its event id.
    """

    version: str = Field(primary_key=True)
    example_id: str = Field(primary_key=True, index=True)


class Fix(SQLModel, table=True):
    """Which candidate got which corrected example right, by its verdicts."""

    version: str = Field(primary_key=True)
    example_id: str = Field(primary_key=True, index=True)


class Verdict(SQLModel, table=True):
    """VerdictReached."""

    event_id: str = Field(primary_key=True)
    model: str = Field(index=True)
    candidate: str = Field(index=True)
    champion: str | None
    outcome: str
    reason: str
    checks: list[dict[str, Any]] = Field(default_factory=list, sa_column=json_column())
    champion_accuracy: float | None
    candidate_accuracy: float | None
    evidence: int
    labels_to_decide: int | None
    silent: list[str] | None = Field(default=None, sa_column=Column(JSON(none_as_null=True), nullable=True))
    anchor: str | None = Field(default=None, description="The golden anchor that it was judged on.")
    alpha: float | None
    alpha_left: float | None
    fixes: list[str] = Field(default_factory=list, sa_column=json_column())
    decided_by: str
    occurred_at: datetime = Field(sa_column=time_column())


class StateChange(SQLModel, table=True):
    """ModelStateChanged, all of them: the history of every alias."""

    event_id: str = Field(primary_key=True)
    model: str = Field(index=True)
    alias: str
    version: str = Field(index=True)
    previous: str | None
    manifest_sha256: str
    decision: str
    decided_by: str = "gate"
    share: float = 0.0
    reason: str
    occurred_at: datetime = Field(sa_column=time_column())


class Decision(SQLModel, table=True):
    """DecisionAnswered."""

    event_id: str = Field(primary_key=True)
    model: str = Field(index=True)
    review: str
    version: str
    decision: str
    reviewer: str
    outcome: str
    reason: str
    occurred_at: datetime = Field(sa_column=time_column())


class Request(SQLModel, table=True):
    """TrainingRequested."""

    request_id: str = Field(primary_key=True)
    event_id: str = Field(unique=True)
    model: str = Field(index=True)
    trigger: str
    detail: str
    requested_by: str
    occurred_at: datetime = Field(sa_column=time_column())


class Progress(SQLModel, table=True):
    """The newest TrainingProgressed of each request."""

    request_id: str = Field(primary_key=True)
    model: str = Field(index=True)
    state: str
    step: int
    steps: int
    loss: float | None
    examples_per_s: float | None
    seconds_left: float | None
    detail: str
    occurred_at: datetime = Field(sa_column=time_column())


class ErrorSlice(SQLModel, table=True):
    """The newest ErrorSliceUpdated of each slice and bucket."""

    model: str = Field(primary_key=True)
    slice: str = Field(primary_key=True)
    bucket: datetime = Field(sa_column=Column(UtcTime, primary_key=True))
    bucket_seconds: int
    judged: int
    wrong: int
    occurred_at: datetime = Field(sa_column=time_column())


class Drift(SQLModel, table=True):
    """DriftDetected."""

    event_id: str = Field(primary_key=True)
    model: str = Field(index=True)
    slice: str
    rate_before: float
    rate_after: float
    detector: str
    occurred_at: datetime = Field(sa_column=time_column())
