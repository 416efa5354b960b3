"""How Alembic runs the revisions: on the connection that it is given, and within that connection's transaction."""

from __future__ import annotations

from typing import Any, Literal

from alembic import context
from sqlmodel import AutoString, SQLModel

from shared.tables import UtcTime


def _spelt(kind: str, item: Any, _context: object) -> str | Literal[False]:
    """A column's type in a new revision: without our own classes, which may change."""
    if kind == "type" and isinstance(item, AutoString):
        return "sa.String()"
    if kind == "type" and isinstance(item, UtcTime):
        return 'sa.DateTime(timezone=True).with_variant(sa.String(26), "sqlite")'
    return False


context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=SQLModel.metadata,
    render_item=_spelt,
    transactional_ddl=True,  # SQLite's too: all of an upgrade, or nothing
    render_as_batch=True,  # SQLite alters a table by copying it
)
context.run_migrations()
