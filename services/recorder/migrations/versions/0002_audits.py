"""Predictions are drawn for reviewers, and a review says of which one it is."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """To this release."""
    op.add_column("prediction", sa.Column("audit", sa.Boolean(), nullable=True))
    op.add_column("prediction", sa.Column("audit_rate", sa.Float(), nullable=True))
    op.add_column("review", sa.Column("prediction_id", sa.String(), nullable=True))
    op.create_index(
        "prediction_audited",
        "prediction",
        ["example_id"],
        sqlite_where=sa.text("audit IS 1"),
        postgresql_where=sa.text("audit IS true"),
    )


def downgrade() -> None:
    """Back to the one before."""
    op.drop_index("prediction_audited", "prediction")
    op.drop_column("review", "prediction_id")
    op.drop_column("prediction", "audit_rate")
    op.drop_column("prediction", "audit")
