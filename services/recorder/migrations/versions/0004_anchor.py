"""Reviewers edit the golden anchor, and a verdict says on which one it rests."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    """To this release."""
    op.add_column("review", sa.Column("text", sa.String(), nullable=True))
    op.add_column("review", sa.Column("app", sa.String(), nullable=True))
    op.add_column("verdict", sa.Column("anchor", sa.String(), nullable=True))


def downgrade() -> None:
    """Back to the one before."""
    op.drop_column("verdict", "anchor")
    op.drop_column("review", "app")
    op.drop_column("review", "text")
