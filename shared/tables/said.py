"""What people asked and said, and the examples that were made of it."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from sqlalchemy import Index
from sqlmodel import Field, SQLModel

from shared.tables.columns import by_label, index_where, json_column, time_column, where_known, where_true

CONTENT = "Digest of what the event says: tells a repeat from a conflict."


class Prediction(SQLModel, table=True):
    """PredictionServed. The first event of a prediction_id wins."""

    prediction_id: str = Field(primary_key=True)
    event_id: str = Field(unique=True)
    content: str = Field(default="", description=CONTENT)
    model: str
    version: str
    input: str
    output: str
    score: float | None = Field(default=None, description="Score of the output, when the version gave one.")
    scores: list[dict[str, Any]] = Field(default_factory=list, sa_column=json_column())
    solicit: bool
    solicit_rate: float
    audit: bool | None = Field(default=None, description="Drawn at random for a reviewer; null: nobody drew.")
    audit_rate: float | None = None
    app: str
    user_key: str | None
    tags: dict[str, str] = Field(default_factory=dict, sa_column=json_column())
    example_id: str
    occurred_at: datetime = Field(sa_column=time_column())
    __table_args__ = (
        Index("prediction_by_model_time", "model", "occurred_at"),
        where_true("prediction_audited", "audit", "example_id"),
    )


class FeedbackRow(SQLModel, table=True):
    """FeedbackReceived, with what the join with its prediction told (null while it is an orphan)."""

    __tablename__ = "feedback"
    event_id: str = Field(primary_key=True)
    content: str = Field(default="", description=CONTENT)
    prediction_id: str = Field(index=True)
    kind: str
    value: Any = Field(sa_column=json_column())
    app: str
    user_key: str | None
    tags: dict[str, str] = Field(default_factory=dict, sa_column=json_column())
    occurred_at: datetime = Field(sa_column=time_column())
    model: str | None = None
    version: str | None = None
    example_id: str | None = None
    solicited: bool | None = None
    target: str | None = Field(default=None, description="The right output, as far as this feedback tells.")
    wrong: bool | None = Field(default=None, description="Whether it calls the served output wrong.")
    further: bool | None = Field(
        default=None, description="Whether it is not the first word on its input, which `example.first_event` names."
    )
    counted: bool | None = Field(default=None, description="Whether it is a vote within its user's cap; null: no vote.")
    agrees: bool | None = Field(
        default=None, description="Whether a volunteered vote agrees with a reviewer or with solicited answers."
    )
    __table_args__ = (
        Index("feedback_by_user", "user_key", "model", "counted", "occurred_at"),
        where_true("feedback_by_example", "further", "example_id", "counted", "occurred_at"),  # see shared.tables.words
        Index("feedback_by_model_time", "model", "occurred_at"),
        by_label("feedback_by_label", "model", "target"),
        Index("feedback_by_version", "version"),
        index_where("feedback_orphans", "model IS NULL", "occurred_at"),
        # who asks for what was solicited must not read all that was volunteered
        where_true("feedback_solicited", "solicited", "model", "occurred_at"),
        where_known("feedback_by_agreement", "agrees", "user_key", "model", "occurred_at", "agrees"),
        where_known("feedback_by_agreed_example", "agrees", "example_id"),
    )


class Review(SQLModel, table=True):
    """ReviewDecided."""

    event_id: str = Field(primary_key=True)
    subject_kind: str
    subject: str = Field(index=True)
    model: str
    decision: str
    target: str | None
    label: str | None = None
    text: str | None = Field(default=None, description="Of the golden anchor's row that is decided on.")
    prediction_id: str | None = Field(default=None, description="Of an audit: the prediction that was drawn.")
    reviewer: str
    app: str | None = Field(default=None, description="Whose key it came with; null: before revision 0004.")
    note: str
    occurred_at: datetime = Field(sa_column=time_column())
    __table_args__ = (Index("review_by_kind", "model", "subject_kind"),)


class Example(SQLModel, table=True):
    """One input of a model and what is known of its right output.

    `side` is where evidence on its near-duplicates began (train or holdout) and never changes; `status` is what may be
    done with it now. Holdout rows that leave the gate's window have status train and stay on side holdout.
    """

    id: str = Field(primary_key=True)
    model: str
    text: str
    origin: str = Field(description="seed, anchor or feedback")
    side: str = Field(description="train, holdout or anchor")
    status: str = Field(description="pending, train, holdout or quarantined")
    reason: str = Field(default="", description="The rule that keeps it pending or quarantined.")
    target: str | None = None
    weight: float = 0.0
    votes: int = 0
    user_key: str | None = Field(default=None, description="Who spoke first.")
    first_at: datetime = Field(sa_column=time_column())
    first_event: str = Field(default="", description="The feedback, or the request with the seeds, that came first.")
    first_solicited: bool = Field(default=False, description="Chance chose it: asked of a user, or for a reviewer.")
    guard: str = Field(default="", description="What its class and its first speaker make it: burst, near_duplicate.")
    graduated: bool = Field(default=False, description="On side holdout, and older than the gate's window.")
    reviewed: str | None = Field(default=None, description="The newest reviewer's decision.")
    learned_in: str | None = Field(default=None, description="Champion or its ancestor that learned it.")
    fixed_in: str | None = Field(default=None, description="First promoted version that got its correction right.")
    fixed_at: datetime | None = Field(default=None, sa_column=time_column(nullable=True))
    __table_args__ = (
        Index("example_by_status", "model", "status", "learned_in", "first_at", "id"),
        Index("example_by_side", "model", "side", "first_at", "id"),
        index_where("example_by_window", "side = 'holdout'", "model", "graduated", "first_at", "id"),
        by_label("example_by_label", "model", "target"),
        by_label("example_by_lesson", "model", "target", "status", "id", where="learned_in IS NOT NULL"),
        where_known("example_learned", "learned_in", "model", "status", "id"),
        by_label("example_by_ruling", "model", "target", "reviewed", where="reviewed IS NOT NULL"),
    )


class Vouched(SQLModel, table=True):
    """A row of a model's first examples or of its golden anchor: what the person who added the model vouches for."""

    example_id: str = Field(primary_key=True)
    model: str
    text: str
    target: str
    origin: str = Field(description="seed or anchor")
    request_id: str
    occurred_at: datetime = Field(sa_column=time_column())
    __table_args__ = (by_label("vouched_by_label", "model", "target"),)
