"""A database that another release made is refused before anything is recorded, and a missing index is made."""

from __future__ import annotations

import pytest
from sqlalchemy import inspect, text

from services.recorder.tables import make_tables
from shared.errors import ConfigError
from shared.tables import Prediction
from tests.unit.recorder_story import Database, served

pytestmark = pytest.mark.usefixtures("everywhere")


def make(database: Database) -> None:
    with database.engine.connect() as connection:
        make_tables(connection)
        connection.commit()


def alter(database: Database, statement: str) -> None:
    with database.engine.connect() as connection:
        connection.execute(text(statement))
        connection.commit()


@pytest.mark.parametrize(
    "change", ["ALTER TABLE example ADD COLUMN fingerprint VARCHAR", "ALTER TABLE review DROP COLUMN label"]
)
def test_other_columns_are_another_release(change: str) -> None:
    database = Database()
    alter(database, change)
    table, column = change.split()[2], change.split()[5]
    with pytest.raises(ConfigError, match=rf"table {table} differs in {column}\. Rebuild it .*learnback replay --into"):
        make(database)


def test_an_index_of_a_later_release_is_made_and_what_is_stored_stays() -> None:
    database = Database()
    database.record(served("p", "hello"))
    alter(database, "DROP INDEX prediction_by_model_time")
    for _ in range(2):
        make(database)
    assert "prediction_by_model_time" in {one["name"] for one in inspect(database.engine).get_indexes("prediction")}
    assert len(database.rows(Prediction)) == 1
