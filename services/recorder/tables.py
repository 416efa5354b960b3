"""The database's tables: made by migrations, and brought by them to this release where an earlier one made them.

Only the recorder does so, at its start, in one transaction and as the only recorder at work. A database from before
there were migrations has today's columns, and is taken as the first revision; one with other columns is older still.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from sqlalchemy import Connection, create_engine, inspect

from shared.errors import ConfigError
from shared.tables.release import RELEASE, mismatch, release_of

if TYPE_CHECKING:
    from alembic.config import Config

MIGRATIONS = Path(__file__).with_name("migrations")
FIRST = "0001"


def make_tables(connection: Connection) -> bool:
    """Make the tables, or bring them to this release; whether there was anything to do.

    The caller holds the lock (`sql.lock`), and commits.

    Raises:
        ConfigError: a newer release made the database, or one from before there were migrations made other columns.
    """
    found = release_of(connection)
    if found == RELEASE:
        return False
    if found is not None and found > RELEASE:
        raise ConfigError(str(mismatch(found)))
    from alembic import command  # a second of imports, for the first start of a release alone

    if found is None:
        _must_be_first(connection)
    command.upgrade(configured(connection), RELEASE)
    return True


def configured(connection: Connection) -> Config:
    """Alembic's settings for one connection, without a file of them."""
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS))
    config.set_main_option("file_template", "%%(rev)s_%%(slug)s")
    config.attributes["connection"] = connection
    return config


def _must_be_first(connection: Connection) -> None:
    """Refuse a database without a revision whose tables are not those of the first one."""
    from alembic import command

    with create_engine("sqlite://").connect() as scratch:
        command.upgrade(configured(scratch), FIRST)
        first = _columns(scratch)
    for table, found in sorted(_columns(connection).items()):
        if table in first and found != first[table]:
            other = ", ".join(sorted(found ^ first[table]))
            raise ConfigError(
                f"Another release of Learnback made this database: table {table} differs in {other}."
                " Rebuild it from the log, as: learnback replay --into sqlite:///new.db"
            )


def _columns(connection: Connection) -> dict[str, set[str]]:
    """The names of each table's columns."""
    found = inspect(connection).get_multi_columns()
    return {name: {column["name"] for column in columns} for (_, name), columns in found.items()}
