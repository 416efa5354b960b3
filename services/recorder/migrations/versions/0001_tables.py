"""The tables as they were before there were migrations: what releases until 22 November 2026 made by themselves.

A database of theirs may lack a table or an index that the last of them had: what is there stays as it is.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

TIME = sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")
TABLES = (
    "attempt",
    "consumed",
    "deadletter",
    "decision",
    "drift",
    "erasure",
    "errorslice",
    "example",
    "feedback",
    "fix",
    "ledger",
    "lesson",
    "model",
    "prediction",
    "progress",
    "receipt",
    "request",
    "review",
    "statechange",
    "taint",
    "verdict",
    "version",
    "vouched",
)


def upgrade() -> None:
    """Make all tables."""
    _table(
        "attempt",
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.Integer(), nullable=False),
        sa.Column("tries", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition"),
    )
    _table(
        "consumed",
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("topic", "partition"),
    )
    _table(
        "deadletter",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("topic", sa.String(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("offset", sa.Integer(), nullable=False),
        sa.Column("service", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("attempts", sa.Integer(), nullable=False),
        sa.Column("quarantined", sa.Boolean(), nullable=False),
        sa.Column("redriven", sa.Boolean(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=True),
        sa.Column("user_key", sa.String(), nullable=True),
        sa.Column("said_at", TIME, nullable=True),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("ix_deadletter_event_id", "deadletter", ["event_id"])
    _index("ix_deadletter_reason", "deadletter", ["reason"])
    _index("ix_deadletter_user_key", "deadletter", ["user_key"])
    _table(
        "decision",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("review", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    _index("ix_decision_model", "decision", ["model"])
    _table(
        "drift",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("slice", sa.String(), nullable=False),
        sa.Column("rate_before", sa.Float(), nullable=False),
        sa.Column("rate_after", sa.Float(), nullable=False),
        sa.Column("detector", sa.String(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    _index("ix_drift_model", "drift", ["model"])
    _table(
        "erasure",
        sa.Column("user_key", sa.String(), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("user_key"),
    )
    _table(
        "errorslice",
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("slice", sa.String(), nullable=False),
        sa.Column("bucket", TIME, nullable=False),
        sa.Column("bucket_seconds", sa.Integer(), nullable=False),
        sa.Column("judged", sa.Integer(), nullable=False),
        sa.Column("wrong", sa.Integer(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("model", "slice", "bucket"),
    )
    _table(
        "example",
        sa.Column("id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("side", sa.String(), nullable=False),
        sa.Column("status", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=True),
        sa.Column("weight", sa.Float(), nullable=False),
        sa.Column("votes", sa.Integer(), nullable=False),
        sa.Column("user_key", sa.String(), nullable=True),
        sa.Column("first_at", TIME, nullable=False),
        sa.Column("first_event", sa.String(), nullable=False),
        sa.Column("first_solicited", sa.Boolean(), nullable=False),
        sa.Column("guard", sa.String(), nullable=False),
        sa.Column("graduated", sa.Boolean(), nullable=False),
        sa.Column("reviewed", sa.String(), nullable=True),
        sa.Column("learned_in", sa.String(), nullable=True),
        sa.Column("fixed_in", sa.String(), nullable=True),
        sa.Column("fixed_at", TIME, nullable=True),
        sa.PrimaryKeyConstraint("id"),
    )
    _index("example_by_label", "example", ["model", "target"], "length(target) <= 200")
    _index(
        "example_by_lesson",
        "example",
        ["model", "target", "status", "id"],
        "learned_in IS NOT NULL AND length(target) <= 200",
    )
    _index(
        "example_by_ruling",
        "example",
        ["model", "target", "reviewed"],
        "reviewed IS NOT NULL AND length(target) <= 200",
    )
    _index("example_by_side", "example", ["model", "side", "first_at", "id"])
    _index("example_by_status", "example", ["model", "status", "learned_in", "first_at", "id"])
    _index("example_by_window", "example", ["model", "side", "graduated", "first_at", "id"])
    _index("example_learned", "example", ["model", "status", "id"], "learned_in IS NOT NULL")
    _table(
        "feedback",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("prediction_id", sa.String(), nullable=False),
        sa.Column("kind", sa.String(), nullable=False),
        sa.Column("value", sa.JSON(), nullable=False),
        sa.Column("app", sa.String(), nullable=False),
        sa.Column("user_key", sa.String(), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.Column("model", sa.String(), nullable=True),
        sa.Column("version", sa.String(), nullable=True),
        sa.Column("example_id", sa.String(), nullable=True),
        sa.Column("solicited", sa.Boolean(), nullable=True),
        sa.Column("target", sa.String(), nullable=True),
        sa.Column("wrong", sa.Boolean(), nullable=True),
        sa.Column("counted", sa.Boolean(), nullable=True),
        sa.Column("agrees", sa.Boolean(), nullable=True),
        sa.PrimaryKeyConstraint("event_id"),
    )
    _index("feedback_by_agreed_example", "feedback", ["example_id"], "agrees IS NOT NULL")
    _index("feedback_by_agreement", "feedback", ["user_key", "model", "occurred_at", "agrees"], "agrees IS NOT NULL")
    _index("feedback_by_example", "feedback", ["example_id", "counted", "occurred_at"])
    _index("feedback_by_label", "feedback", ["model", "target"], "length(target) <= 200")
    _index("feedback_by_model_time", "feedback", ["model", "occurred_at"])
    _index("feedback_by_user", "feedback", ["user_key", "model", "counted", "occurred_at"])
    _index("feedback_by_version", "feedback", ["version"])
    _index("feedback_orphans", "feedback", ["occurred_at"], "model IS NULL")
    _index("feedback_solicited", "feedback", ["model", "occurred_at"], "solicited IS 1", "solicited IS true")
    _index("ix_feedback_prediction_id", "feedback", ["prediction_id"])
    _table(
        "fix",
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("example_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("version", "example_id"),
    )
    _index("ix_fix_example_id", "fix", ["example_id"])
    _table(
        "ledger",
        sa.Column("instance", sa.String(), nullable=False),
        sa.Column("bucket", TIME, nullable=False),
        sa.Column("accepted", sa.Integer(), nullable=False),
        sa.Column("unresolved", sa.Integer(), nullable=False),
        sa.Column("told_at", TIME, nullable=True),
        sa.Column("arrived", sa.Integer(), nullable=False),
        sa.Column("stored", sa.Integer(), nullable=False),
        sa.Column("repeats", sa.Integer(), nullable=False),
        sa.Column("conflicts", sa.Integer(), nullable=False),
        sa.Column("dead", sa.Integer(), nullable=False),
        sa.Column("quarantined", sa.Integer(), nullable=False),
        sa.Column("erased", sa.Integer(), nullable=False),
        sa.Column("missing", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("instance", "bucket"),
    )
    _index("ledger_by_bucket", "ledger", ["bucket"])
    _index("ledger_open", "ledger", ["missing"], "missing <> 0")
    _table(
        "lesson",
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("example_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("version", "example_id"),
    )
    _index("ix_lesson_example_id", "lesson", ["example_id"])
    _table(
        "model",
        sa.Column("name", sa.String(), nullable=False),
        sa.Column("task", sa.String(), nullable=False),
        sa.Column("base", sa.String(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("added_at", TIME, nullable=False),
        sa.Column("request_id", sa.String(), nullable=True),
        sa.PrimaryKeyConstraint("name"),
    )
    _table(
        "prediction",
        sa.Column("prediction_id", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("content", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("input", sa.String(), nullable=False),
        sa.Column("output", sa.String(), nullable=False),
        sa.Column("score", sa.Float(), nullable=True),
        sa.Column("scores", sa.JSON(), nullable=False),
        sa.Column("solicit", sa.Boolean(), nullable=False),
        sa.Column("solicit_rate", sa.Float(), nullable=False),
        sa.Column("app", sa.String(), nullable=False),
        sa.Column("user_key", sa.String(), nullable=True),
        sa.Column("tags", sa.JSON(), nullable=False),
        sa.Column("example_id", sa.String(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("prediction_id"),
        sa.UniqueConstraint("event_id"),
    )
    _index("prediction_by_model_time", "prediction", ["model", "occurred_at"])
    _table(
        "progress",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("step", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("loss", sa.Float(), nullable=True),
        sa.Column("examples_per_s", sa.Float(), nullable=True),
        sa.Column("seconds_left", sa.Float(), nullable=True),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
    )
    _index("ix_progress_model", "progress", ["model"])
    _table(
        "receipt",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("user_key", sa.String(), nullable=False),
        sa.Column("predictions", sa.Integer(), nullable=False),
        sa.Column("feedback", sa.Integer(), nullable=False),
        sa.Column("examples", sa.Integer(), nullable=False),
        sa.Column("dead_letters", sa.Integer(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    _index("ix_receipt_user_key", "receipt", ["user_key"])
    _table(
        "request",
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("detail", sa.String(), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
        sa.UniqueConstraint("event_id"),
    )
    _index("ix_request_model", "request", ["model"])
    _table(
        "review",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("subject_kind", sa.String(), nullable=False),
        sa.Column("subject", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=True),
        sa.Column("label", sa.String(), nullable=True),
        sa.Column("reviewer", sa.String(), nullable=False),
        sa.Column("note", sa.String(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    _index("ix_review_subject", "review", ["subject"])
    _index("review_by_kind", "review", ["model", "subject_kind"])
    _table(
        "statechange",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("alias", sa.String(), nullable=False),
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("previous", sa.String(), nullable=True),
        sa.Column("manifest_sha256", sa.String(), nullable=False),
        sa.Column("decision", sa.String(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("share", sa.Float(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    _index("ix_statechange_model", "statechange", ["model"])
    _index("ix_statechange_version", "statechange", ["version"])
    _table(
        "taint",
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.PrimaryKeyConstraint("version", "request_id"),
    )
    _table(
        "verdict",
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("candidate", sa.String(), nullable=False),
        sa.Column("champion", sa.String(), nullable=True),
        sa.Column("outcome", sa.String(), nullable=False),
        sa.Column("reason", sa.String(), nullable=False),
        sa.Column("checks", sa.JSON(), nullable=False),
        sa.Column("champion_accuracy", sa.Float(), nullable=True),
        sa.Column("candidate_accuracy", sa.Float(), nullable=True),
        sa.Column("evidence", sa.Integer(), nullable=False),
        sa.Column("labels_to_decide", sa.Integer(), nullable=True),
        sa.Column("alpha", sa.Float(), nullable=True),
        sa.Column("alpha_left", sa.Float(), nullable=True),
        sa.Column("fixes", sa.JSON(), nullable=False),
        sa.Column("decided_by", sa.String(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    _index("ix_verdict_candidate", "verdict", ["candidate"])
    _index("ix_verdict_model", "verdict", ["model"])
    _table(
        "version",
        sa.Column("version", sa.String(), nullable=False),
        sa.Column("event_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("number", sa.Integer(), nullable=False),
        sa.Column("parent", sa.String(), nullable=True),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("trigger", sa.String(), nullable=False),
        sa.Column("requested_by", sa.String(), nullable=False),
        sa.Column("manifest_sha256", sa.String(), nullable=False),
        sa.Column("labels", sa.JSON(), nullable=False),
        sa.Column("replayed", sa.Integer(), nullable=False),
        sa.Column("steps", sa.Integer(), nullable=False),
        sa.Column("train_seconds", sa.Float(), nullable=False),
        sa.Column("examples_per_s", sa.Float(), nullable=False),
        sa.Column("loss_curve", sa.JSON(), nullable=False),
        sa.Column("dev_score", sa.Float(), nullable=True),
        sa.Column("step_size", sa.Float(), nullable=True),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("version"),
        sa.UniqueConstraint("event_id"),
    )
    _index("ix_version_model", "version", ["model"])
    _table(
        "vouched",
        sa.Column("example_id", sa.String(), nullable=False),
        sa.Column("model", sa.String(), nullable=False),
        sa.Column("text", sa.String(), nullable=False),
        sa.Column("target", sa.String(), nullable=False),
        sa.Column("origin", sa.String(), nullable=False),
        sa.Column("request_id", sa.String(), nullable=False),
        sa.Column("occurred_at", TIME, nullable=False),
        sa.PrimaryKeyConstraint("example_id"),
    )
    _index("vouched_by_label", "vouched", ["model", "target"], "length(target) <= 200")


def downgrade() -> None:
    """Drop all tables: what they held is in the log."""
    for table in reversed(TABLES):
        op.drop_table(table)


def _table(name: str, *parts: sa.Column[Any] | sa.Constraint) -> None:
    op.create_table(name, *parts, if_not_exists=True)


def _index(name: str, table: str, columns: Sequence[str], sqlite: str = "", postgresql: str = "") -> None:
    """An index, of the rows for which a condition holds if one is given; Postgres may spell it another way."""
    op.create_index(
        name,
        table,
        columns,
        if_not_exists=True,
        sqlite_where=sa.text(sqlite) if sqlite else None,
        postgresql_where=sa.text(postgresql or sqlite) if sqlite else None,
    )
