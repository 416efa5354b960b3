"""The database's tables: made where they are missing, and refused where another release made them otherwise.

There are no migrations: the log is the truth, and a replay into a new database makes what this release would have made.
"""

from __future__ import annotations

from sqlalchemy import Connection, inspect
from sqlmodel import SQLModel

from shared.errors import ConfigError


def make_tables(connection: Connection) -> None:
    """Make the tables, and the indexes, that are missing.

    Raises:
        ConfigError: a table that is there has other columns.
    """
    there = set(inspect(connection).get_table_names())
    SQLModel.metadata.create_all(connection)
    for name in sorted(there & SQLModel.metadata.tables.keys()):
        _same_columns(connection, name)
        for index in SQLModel.metadata.tables[name].indexes:
            index.create(connection, checkfirst=True)


def _same_columns(connection: Connection, table: str) -> None:
    found = {column["name"] for column in inspect(connection).get_columns(table)}
    wanted = {column.name for column in SQLModel.metadata.tables[table].columns}
    if found != wanted:
        other = ", ".join(sorted(found ^ wanted))
        raise ConfigError(
            f"Another release of Learnback made this database: table {table} differs in {other}."
            " Rebuild it from the log, as: learnback replay --into sqlite:///new.db"
        )
