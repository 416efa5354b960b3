"""Two indexes hold the rows alone that are looked for by them: further feedback on an input, and the holdout side."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"

BY_EXAMPLE = ["example_id", "counted", "occurred_at"]
FEEDBACK = sa.table("feedback", sa.column("event_id"), sa.column("example_id"), sa.column("further", sa.Boolean()))
EXAMPLE = sa.table("example", sa.column("id"), sa.column("first_event"))


def upgrade() -> None:
    """To this release. Each joined feedback is written once, while there is no index by example."""
    op.drop_index("feedback_by_example", "feedback")
    op.add_column("feedback", sa.Column("further", sa.Boolean(), nullable=True))
    first = sa.exists().where(EXAMPLE.c.id == FEEDBACK.c.example_id, EXAMPLE.c.first_event == FEEDBACK.c.event_id)
    op.execute(sa.update(FEEDBACK).where(FEEDBACK.c.example_id.is_not(None)).values(further=~first))
    op.create_index(
        "feedback_by_example",
        "feedback",
        BY_EXAMPLE,
        sqlite_where=sa.text("further IS 1"),
        postgresql_where=sa.text("further IS true"),
    )
    op.drop_index("example_by_window", "example")
    held = sa.text("side = 'holdout'")
    op.create_index(
        "example_by_window",
        "example",
        ["model", "graduated", "first_at", "id"],
        sqlite_where=held,
        postgresql_where=held,
    )


def downgrade() -> None:
    """Back to the one before."""
    op.drop_index("example_by_window", "example")
    op.create_index("example_by_window", "example", ["model", "side", "graduated", "first_at", "id"])
    op.drop_index("feedback_by_example", "feedback")
    op.drop_column("feedback", "further")
    op.create_index("feedback_by_example", "feedback", BY_EXAMPLE)
