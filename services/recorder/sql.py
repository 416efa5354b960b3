"""The few statements that SQLite and Postgres spell apart, and lists too long for one statement."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    ColumnElement,
    Connection,
    Select,
    String,
    Table,
    any_,
    func,
    inspect,
    literal,
    select,
    true,
)
from sqlalchemy.dialects import postgresql, sqlite
from sqlmodel import SQLModel, col

from shared.text import AFTER_HEX

CHUNK = 10_000  # names in one list: below SQLite's 32,766 variables, and one round trip for a whole batch
LOCK = 0x1EA2B  # any number of our own, for Postgres' advisory lock


def lock(connection: Connection) -> None:
    """Begin a transaction as the only recorder at work.

    Curation reads what it then replaces, so two recorders that commit side by side could each miss the other's votes.
    """
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")
    else:
        connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({LOCK})")


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


def among(connection: Connection, column: Any, names: Sequence[str]) -> ColumnElement[bool]:
    """Whether a column holds one of these names.

    They go as one JSON list: a parameter for each name cost SQLAlchemy 2 µs, and psycopg and Postgres' parser 8 more;
    one array cost psycopg alone 1.2.
    """
    listed = literal(to_json(names).decode(), String)
    if connection.dialect.name == "sqlite":
        return col(column).in_(select(func.json_each(listed).table_valued("value").c.value))
    values = select(func.json_array_elements_text(listed.cast(JSON)))
    return col(column) == any_(func.array(values.scalar_subquery()))


def beginning(
    connection: Connection, columns: Sequence[Any], key: Any, starts: Sequence[str]
) -> Select[*tuple[Any, ...]]:
    """Columns of the rows whose key, hex digits, begins with one of these: a range of the key's index each.

    Postgres is kept from one join of all (OFFSET 0): not knowing how short the ranges are, it may read the table.
    """
    listed = literal(to_json(starts).decode(), String)
    if connection.dialect.name == "sqlite":
        start = func.json_each(listed).table_valued("value").c.value
        return select(*columns).where(col(key) >= start, col(key) < start.concat(AFTER_HEX))
    start = func.json_array_elements_text(listed.cast(JSON)).table_valued("value").c.value
    rows = select(*columns).where(col(key) >= start, col(key) < start.concat(AFTER_HEX)).offset(0).lateral()
    return select(*rows.c).select_from(start.table.join(rows, true()))


def chunks(names: Iterable[str]) -> Iterator[list[str]]:
    """Sorted pieces of a set of names, each short enough for one IN list."""
    ordered = sorted(dict.fromkeys(names))  # ids of a log come nearly sorted, which a set would shuffle
    for start in range(0, len(ordered), CHUNK):
        yield ordered[start : start + CHUNK]


def table_of(model: type[SQLModel]) -> Table:
    """The table of a class."""
    table = inspect(model).local_table
    assert isinstance(table, Table)
    return table


def _values(table: Table, row: SQLModel) -> dict[str, Any]:
    return {column.name: getattr(row, column.name) for column in table.columns}


def _insert(connection: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    return sqlite.insert(table) if connection.dialect.name == "sqlite" else postgresql.insert(table)
