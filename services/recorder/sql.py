"""The few statements that SQLite and Postgres spell apart, and lists too long for one statement."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from pydantic_core import to_json
from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    Connection,
    Dialect,
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
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel, col

Row = dict[str, Any]  # a row's values by column
Process = Callable[[Any], Any] | None
AFTER_HEX = "g"  # the character after the last hex digit
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


def insert(connection: Connection, table: type[SQLModel], rows: Sequence[Row]) -> None:
    """Insert rows that are known to be new, with all columns; values go to the driver with little in between.

    Postgres takes them by COPY, at a third of what an INSERT each costs the server.
    """
    if not rows:
        return
    writing = _writing(table, connection.dialect)
    values = [writing.values(row) for row in rows]
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(writing.insert, values)
        return
    _copy(connection, writing.copy, values)


def _copy(connection: Connection, statement: str, rows: Iterable[tuple[Any, ...]]) -> None:
    """Send rows by COPY, which SQLAlchemy does not know; what goes wrong is told as SQLAlchemy tells it.

    Raises:
        DBAPIError: of the kind that any other statement would have raised.
    """
    driver = connection.dialect.loaded_dbapi
    try:
        with connection.connection.cursor().copy(statement) as copy:
            for row in rows:
                copy.write_row(row)
    except driver.Error as error:
        raise DBAPIError.instance(
            statement, None, error, driver.Error, hide_parameters=True, dialect=connection.dialect
        ) from error


@dataclass(frozen=True)
class Writing:
    """How rows of one table are handed to one driver."""

    insert: str
    copy: str
    columns: tuple[tuple[str, Process], ...]

    def values(self, row: Row) -> tuple[Any, ...]:
        """A row's values as the driver takes them, in the order of the statement."""
        return tuple([row[name] if process is None else process(row[name]) for name, process in self.columns])


@cache
def _writing(table: type[SQLModel], dialect: Dialect) -> Writing:
    columns = table_of(table).columns
    names = ", ".join(column.name for column in columns)
    places = ", ".join("?" for _ in columns)
    return Writing(
        f"INSERT INTO {table_of(table).name} ({names}) VALUES ({places})",  # noqa: S608 names of our own schema
        f"COPY {table_of(table).name} ({names}) FROM STDIN",
        tuple((column.name, _process(column, dialect)) for column in columns),
    )


def _process(column: Column[Any], dialect: Dialect) -> Process:
    """What makes of a value what the driver takes, if anything is to be made of it."""
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def overwrite(connection: Connection, table: type[SQLModel], rows: Sequence[Row]) -> None:
    """Overwrite some columns, the same ones in each row, of rows that are there; each names its primary key.

    Postgres takes them as one JSON list: a statement for each row cost it and its driver 80 µs.
    """
    if not rows:
        return
    over = _overwriting(table, tuple(rows[0]), connection.dialect)
    last = {row[over.key]: row for row in rows}
    values = [over.values(row) for row in last.values()]
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(over.update_one, values)
    else:
        names = [name for name, _ in over.columns]
        listed = to_json([dict(zip(names, row, strict=True)) for row in values]).decode()
        connection.exec_driver_sql(over.update_all, (listed,))


@dataclass(frozen=True)
class Overwriting:
    """How some columns of one table's rows are handed to one driver; the key is the last."""

    update_one: str
    update_all: str
    columns: tuple[tuple[str, Process], ...]

    @property
    def key(self) -> str:
        """The primary key's name."""
        return self.columns[-1][0]

    def values(self, row: Row) -> tuple[Any, ...]:
        """A row's values as the driver takes them, in the order of the statement."""
        return tuple([row[name] if process is None else process(row[name]) for name, process in self.columns])


@cache
def _overwriting(model: type[SQLModel], names: tuple[str, ...], dialect: Dialect) -> Overwriting:
    table = table_of(model)
    key = next(iter(table.primary_key.columns))
    columns = [*(table.columns[name] for name in names if name != key.name), key]
    one = ", ".join(f"{column.name} = ?" for column in columns[:-1])
    all_ = ", ".join(f"{column.name} = new.{column.name}" for column in columns[:-1])
    new = ", ".join(f"{column.name} {column.type.compile(dialect)}" for column in columns)
    return Overwriting(
        f"UPDATE {table.name} SET {one} WHERE {key.name} = ?",  # noqa: S608 names of our own schema
        f"UPDATE {table.name} SET {all_} FROM json_to_recordset(%s::json) AS new ({new})"  # noqa: S608
        f" WHERE {table.name}.{key.name} = new.{key.name}",
        tuple((column.name, _process(column, dialect)) for column in columns),
    )


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

    Postgres takes them as one JSON list: a parameter for each name cost SQLAlchemy, psycopg and the server's parser
    10 µs, and one array psycopg alone 1.2.
    """
    if connection.dialect.name == "sqlite":
        return col(column).in_(names)
    listed = func.json_array_elements_text(literal(to_json(names).decode(), String).cast(JSON))
    return col(column) == any_(func.array(select(listed).scalar_subquery()))


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
    ordered = sorted(set(names))
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
