"""A verdict names the predictions that its candidate needs labelled, since no user did."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """To this release."""
    op.add_column("verdict", sa.Column("silent", sa.JSON(), nullable=True))


def downgrade() -> None:
    """Back to the one before."""
    op.drop_column("verdict", "silent")
