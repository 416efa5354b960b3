"""What an erasure leaves to be done between two batches."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from sqlalchemy import Engine, event

from services.recorder.chores import Chores
from shared.kafka import Publisher
from shared.tables import open_database
from tests.unit.recorder_story import ANN, BOB, Database, corrected, erased


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[Engine]:
    engine = open_database(f"sqlite:///{tmp_path}/learnback.db", erases=True)
    yield engine
    engine.dispose()


def told(engine: Engine) -> list[str]:
    """The statements that are executed from now on."""
    statements: list[str] = []

    def note(_connection: Any, _cursor: Any, statement: str, *_: Any) -> None:
        statements.append(statement)

    event.listen(engine, "before_cursor_execute", note)
    return statements


def due(engine: Engine) -> Chores:
    """The chores of a recorder that starts, and has nothing to tell Kafka."""
    chores = Chores(engine, cast(Publisher, None), timedelta(hours=24))
    chores.at_start()
    chores.vacuum_at, chores.rolls = 0.0, []
    return chores


def test_the_file_is_written_anew_once_for_all_erasures(engine: Engine) -> None:
    database = Database(engine=engine)
    database.record(*corrected("p1", "hello", "b", user=ANN), erased(ANN, 10), erased(BOB, 10))
    statements = told(engine)
    for _ in range(3):  # starts of a recorder
        due(engine).turn(None, caught_up=False)
    assert statements.count("VACUUM") == 1
    database.record(erased(ANN, 20).model_copy(update={"event_id": "again"}))
    due(engine).turn(None, caught_up=False)
    assert statements.count("VACUUM") == 2
