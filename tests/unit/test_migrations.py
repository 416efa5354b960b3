"""Tables are made by revisions alone, and a database of one release becomes one of the next with all that it holds."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, create_engine, inspect, text
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel
from structlog.testing import capture_logs

from cli.records import must_be_there
from services.board.database import trouble
from services.recorder.__main__ import prepare
from services.recorder.digest import digest
from services.recorder.sql import lock
from services.recorder.tables import FIRST, MIGRATIONS, configured, make_tables
from shared.errors import BadInputError, ConfigError, UnavailableError
from shared.tables import check_release, open_database
from shared.tables.release import RELEASE, release_of
from tests.unit import recorder_story
from tests.unit.recorder_story import ANN, Database, added, corrected, crowned, judged, trained

pytestmark = pytest.mark.usefixtures("everywhere")

NEXT = f'''
import sqlalchemy as sa
from alembic import op

revision = "9000"
down_revision = "{RELEASE}"


def upgrade():
    with op.batch_alter_table("prediction") as table:
        table.add_column(sa.Column("language", sa.String(), nullable=True))
        table.alter_column("score", new_column_name="confidence")
    op.execute("UPDATE prediction SET language = 'en'")


def downgrade():
    with op.batch_alter_table("prediction") as table:
        table.drop_column("language")
        table.alter_column("confidence", new_column_name="score")
'''
BROKEN = NEXT.replace("    op.execute(", '    op.execute("UPDATE nothing SET a = 1")\n    op.execute(')


@pytest.fixture
def empty(tmp_path: Path) -> Iterator[Engine]:
    """A database that several threads can open, unlike one in memory."""
    engine = recorder_story.new_engine()
    if engine.dialect.name == "sqlite":
        engine = open_database(f"sqlite:///{tmp_path}/learnback.db")
    yield engine
    engine.dispose()


def lived() -> Database:
    """A database in which something has happened."""
    database = Database()
    with database.engine.connect() as connection:
        command.stamp(configured(connection), RELEASE)
        connection.commit()
    database.record(added(database, [("where is it", "parcel"), ("give it back", "refund")], [("hello", "other")]))
    database.record(*corrected("p1", "my parcel", "parcel"), *corrected("p2", "my money", "refund", user=ANN))
    database.record(*corrected("p3", "my parcel", "parcel", 9, user=ANN))
    database.record(trained("v0"), trained("v1", "v0", ["my parcel"], ["parcel", "refund"]))
    database.record(judged("v1", ["my parcel"]), crowned("v1"))
    return database


def made(engine: Engine) -> None:
    with engine.connect() as connection:
        make_tables(connection)
        connection.commit()


def with_next(connection: Connection, folder: Path, source: str) -> Config:
    """As if a next release had one revision more."""
    (folder / "9000_next.py").write_text(source)
    config = configured(connection)
    config.set_main_option("path_separator", "newline")
    config.set_main_option("version_locations", f"{MIGRATIONS}/versions\n{folder}")
    return config


def described(connection: Connection) -> dict[str, Any]:
    """All that the database itself tells of its tables; columns by name, since a new one is always the last."""
    look = inspect(connection)
    return {
        name: (
            sorted(
                (str(one["name"]), str(one["type"]), one["nullable"], str(one["default"]))
                for one in look.get_columns(name)
            ),
            look.get_pk_constraint(name)["constrained_columns"],
            sorted(str(one["column_names"]) for one in look.get_unique_constraints(name)),
            sorted(
                (
                    str(one["name"]),
                    str(one["column_names"]),
                    str(one["unique"]),
                    str({key: str(value) for key, value in one.get("dialect_options", {}).items()}),
                )
                for one in look.get_indexes(name)
            ),
        )
        for name in look.get_table_names()
        if name != "alembic_version"
    }


def test_the_revisions_make_exactly_what_the_classes_say(empty: Engine) -> None:
    made(empty)
    by_classes = recorder_story.new_engine()
    SQLModel.metadata.create_all(by_classes)
    with empty.connect() as one, by_classes.connect() as other:
        assert described(one) == described(other)
        assert compare_metadata(MigrationContext.configure(one), SQLModel.metadata) == []
        assert len(described(one)) == len(SQLModel.metadata.tables) > 20


def test_the_newest_revision_is_the_one_that_every_service_expects() -> None:
    with create_engine("sqlite://").connect() as connection:
        scripts = ScriptDirectory.from_config(configured(connection))
    assert scripts.get_heads() == [RELEASE]
    assert [one.revision for one in scripts.walk_revisions()][-1] == FIRST
    assert all(len(one.revision) == len(RELEASE) for one in scripts.walk_revisions())  # they sort as they follow


def test_every_revision_goes_up_down_and_up_again(empty: Engine) -> None:
    with empty.connect() as connection:
        revisions = [one.revision for one in ScriptDirectory.from_config(configured(connection)).walk_revisions()]
        for one in reversed(revisions):
            command.upgrade(configured(connection), one)
            there = described(connection)
            command.downgrade(configured(connection), "-1")
            assert described(connection) != there
            command.upgrade(configured(connection), one)
            assert described(connection) == there
        command.downgrade(configured(connection), "base")
        assert described(connection) == {}


def test_a_database_from_before_the_revisions_is_taken_over_with_all_that_it_holds() -> None:
    database = lived()
    before = digest(database.engine)
    with database.engine.connect() as connection:
        command.downgrade(configured(connection), FIRST)
        connection.execute(text("DROP TABLE alembic_version"))
        connection.execute(text("DROP INDEX feedback_solicited"))
        connection.execute(text("DROP TABLE taint"))
        connection.commit()
    made(database.engine)
    assert digest(database.engine) == before
    with database.engine.connect() as connection:
        assert release_of(connection) == RELEASE
        assert compare_metadata(MigrationContext.configure(connection), SQLModel.metadata) == []
        assert "feedback_solicited" in {one["name"] for one in inspect(connection).get_indexes("feedback")}


def test_a_next_release_changes_tables_with_rows_in_them_and_goes_back(tmp_path: Path) -> None:
    database = lived()
    made(database.engine)
    before = digest(database.engine)
    with database.engine.connect() as connection:
        there = described(connection)
        command.upgrade(with_next(connection, tmp_path, NEXT), "head")
        connection.commit()
        found = connection.execute(text("SELECT language, confidence FROM prediction")).all()
        assert [tuple(row) for row in found] == [("en", 0.5)] * 3
        names = {one["name"] for one in inspect(connection).get_indexes("prediction")}
        assert "prediction_by_model_time" in names
        command.downgrade(with_next(connection, tmp_path, NEXT), RELEASE)
        connection.commit()
        columns = {one[0] for one in described(connection)["prediction"][0]}
        assert columns == {one[0] for one in there["prediction"][0]}
    assert digest(database.engine) == before


def test_an_upgrade_that_fails_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    database = lived()
    made(database.engine)
    before = digest(database.engine)
    with database.engine.connect() as connection:
        there = described(connection)
        connection.rollback()
        lock(connection)
        with pytest.raises(DBAPIError):
            command.upgrade(with_next(connection, tmp_path, BROKEN), "head")
        connection.rollback()
        assert described(connection) == there
        assert release_of(connection) == RELEASE
    assert digest(database.engine) == before


def stamped(engine: Engine, revision: str) -> None:
    made(engine)
    stamp(engine, revision)


def stamp(engine: Engine, revision: str) -> None:
    with engine.begin() as connection:
        connection.execute(text(f"UPDATE alembic_version SET version_num = '{revision}'"))


def test_a_database_of_a_newer_release_is_refused_by_everybody_in_one_line(empty: Engine) -> None:
    stamped(empty, "9999")
    line = rf"^The database is of a newer release of Learnback \(revision 9999, here {RELEASE}\): upgrade .*\.$"
    with pytest.raises(ConfigError, match=line):
        made(empty)
    with pytest.raises(ConfigError, match=line):
        check_release(empty)
    with pytest.raises(BadInputError, match=line):
        must_be_there(empty)
    assert "newer release" in str(trouble(empty))


def test_a_service_does_not_read_an_older_database_until_the_recorder_has_upgraded_it(empty: Engine) -> None:
    stamped(empty, "0000")
    with pytest.raises(UnavailableError, match="start its recorder, which upgrades the database"):
        check_release(empty)
    stamp(empty, RELEASE)
    check_release(empty)


def test_recorders_that_start_at_once_make_the_tables_once(empty: Engine) -> None:
    starting = [threading.Thread(target=prepare, args=(empty,)) for _ in range(4)]
    with capture_logs() as said:
        for one in starting:
            one.start()
        for one in starting:
            one.join(60)
    assert [one["event"] for one in said] == ["database_upgraded"]
    with empty.connect() as connection:
        assert release_of(connection) == RELEASE
        assert len(described(connection)) == len(SQLModel.metadata.tables)
