"""${message}."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

${imports if imports else ""}
revision = "${up_revision}"
down_revision = ${repr(down_revision).replace("'", '"')}


def upgrade() -> None:
    """To this release."""
    ${upgrades}


def downgrade() -> None:
    """Back to the one before."""
    ${downgrades}
