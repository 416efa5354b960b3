"""The few statements that SQLite and Postgres spell apart, and lists too long for one statement."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import Any

from sqlalchemy import Connection, Table, inspect, or_
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel

Row = dict[str, Any]  # a row's values by column
CHUNK = 1000  # names in one IN list: far below SQLite's 32,766 variables, and one round trip for a whole batch
LOCK = 0x1EA2B  # any number of our own, for Postgres' advisory lock


def lock(connection: Connection) -> None:
    """Begin a transaction as the only recorder at work.

    Curation reads what it then replaces, so two recorders that commit side by side could each miss the other's votes.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")


def insert(connection: Connection, table: type[SQLModel], rows: Sequence[Row]) -> None:
    """Insert rows that are known to be new. Values go from hand to hand: a model object costs ten times its row."""
    if rows:
        connection.execute(table_of(table).insert(), rows)


def insert_new(connection: Connection, rows: Sequence[SQLModel]) -> set[str]:
    """Insert rows of one table, pass over those that are there; the primary keys (first column) of the new ones."""
    if not rows:
        return set()
    table = table_of(type(rows[0]))
    key = next(iter(table.primary_key.columns))
    statement = _insert(connection, table).on_conflict_do_nothing().returning(key)
    return set(connection.execute(statement, [_values(table, row) for row in rows]).scalars())


def replace(connection: Connection, rows: Sequence[SQLModel], newest_by: str | None = None) -> None:
    """Insert rows of one table or replace those with the same primary key, unless what is there is newer."""
    if not rows:
        return
    table = table_of(type(rows[0]))
    insert = _insert(connection, table)
    changed = {column.name: insert.excluded[column.name] for column in table.columns if not column.primary_key}
    newer = None if newest_by is None else insert.excluded[newest_by] >= table.c[newest_by]
    statement = insert.on_conflict_do_update(index_elements=list(table.primary_key.columns), set_=changed, where=newer)
    last = {tuple(getattr(row, column.name) for column in table.primary_key.columns): row for row in rows}
    connection.execute(statement, [_values(table, row) for row in last.values()])


def chunks(names: Iterable[str]) -> Iterator[list[str]]:
    """Sorted pieces of a set of names, each short enough for one IN list."""
    ordered = sorted(set(names))
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def pairs(first: Any, second: Any, wanted: Collection[tuple[str, str]]) -> Any:
    """Where two columns are one of the wanted pairs; for few firsts and many seconds."""
    by_first: dict[str, list[str]] = {}
    for one, two in sorted(wanted):
        by_first.setdefault(one, []).append(two)
    return or_(*[(first == one) & second.in_(twos) for one, twos in by_first.items()])


def table_of(model: type[SQLModel]) -> Table:
    """The table of a class."""
    table = inspect(model).local_table
    assert isinstance(table, Table)
    return table


def _values(table: Table, row: SQLModel) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in table.columns}


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
