"""A database from before there were revisions, of other columns than the first one's, is refused before a record."""

from __future__ import annotations

import pytest
from alembic import command
from sqlalchemy import text
from sqlmodel import SQLModel

from services.recorder.tables import FIRST, configured, make_tables
from shared.errors import ConfigError
from tests.unit.recorder_story import Database

pytestmark = pytest.mark.usefixtures("everywhere")


@pytest.mark.parametrize(
    "change", ["ALTER TABLE example ADD COLUMN fingerprint VARCHAR", "ALTER TABLE review DROP COLUMN label"]
)
def test_other_columns_are_another_release(change: str) -> None:
    with Database().engine.connect() as connection:
        SQLModel.metadata.drop_all(connection)
        command.upgrade(configured(connection), FIRST)
        for statement in ("DROP TABLE alembic_version", change):
            connection.execute(text(statement))
        table, column = change.split()[2], change.split()[5]
        with pytest.raises(ConfigError, match=rf"table {table} differs in {column}\. Rebuild it .*replay --into"):
            make_tables(connection)
