"""Many rows of one table at once, written with little between them and the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import chain
from operator import itemgetter
from typing import Any

from pydantic_core import to_json
from sqlalchemy import Boolean, Column, Connection, Dialect
from sqlalchemy.exc import DBAPIError
from sqlmodel import SQLModel

from services.recorder.sql import table_of

Row = dict[str, Any]  # a row's values by column
Process = Callable[[Any], Any] | None


def insert(connection: Connection, table: type[SQLModel], rows: Iterable[Row]) -> None:
    """Insert rows that are known to be new, with all columns; values go to the driver with little in between.

    Postgres takes them by COPY, at a third of what an INSERT each costs the server, and writes the first ones while
    the last ones are made: so they may come from a generator, which must not use the connection.
    """
    writing = _writing(table, connection.dialect)
    values = writing.columns.of(rows)
    if (first := next(values, None)) is None:
        return
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(writing.insert, [first, *values])
    else:
        _copy(connection, writing.copy, chain([first], values))


def _copy(connection: Connection, statement: str, rows: Iterable[Sequence[Any]]) -> None:
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
class Columns:
    """Some columns of one table, and what a driver wants made of their values."""

    names: tuple[str, ...]
    processes: tuple[tuple[int, Callable[[Any], Any]], ...]

    @classmethod
    def among(cls, columns: Sequence[Column[Any]], dialect: Dialect) -> Columns:
        """Of a table, in this order, which is the statement's."""
        told = enumerate(_process(column, dialect) for column in columns)
        return cls(
            tuple(column.name for column in columns), tuple((place, make) for place, make in told if make is not None)
        )

    def of(self, rows: Iterable[Row]) -> Iterator[tuple[Any, ...]]:
        """The values of rows as the driver takes them."""
        taken = itemgetter(*self.names)
        for row in rows:
            values = list(taken(row))
            for place, make in self.processes:
                values[place] = make(values[place])
            yield tuple(values)


@dataclass(frozen=True)
class Writing:
    """How rows of one table are handed to one driver."""

    insert: str
    copy: str
    columns: Columns


@cache
def _writing(table: type[SQLModel], dialect: Dialect) -> Writing:
    columns = table_of(table).columns
    names = ", ".join(column.name for column in columns)
    places = ", ".join("?" for _ in columns)
    return Writing(
        f"INSERT INTO {table_of(table).name} ({names}) VALUES ({places})",  # noqa: S608 names of our own schema
        f"COPY {table_of(table).name} ({names}) FROM STDIN",
        Columns.among([*columns], dialect),
    )


def _process(column: Column[Any], dialect: Dialect) -> Process:
    """What makes of a value what the driver takes, if anything is to be made of it. Both take a bool as it is."""
    if isinstance(column.type, Boolean):
        return None
    return column.type.dialect_impl(dialect).bind_processor(dialect)


def overwrite(connection: Connection, table: type[SQLModel], rows: Sequence[Row]) -> None:
    """Overwrite some columns, the same ones in each row, of rows that are there; each names its primary key.

    Postgres takes them as one JSON list: a statement for each row cost it and its driver 80 µs.
    """
    if not rows:
        return
    over = _overwriting(table, tuple(rows[0]), connection.dialect)
    last = {row[over.key]: row for row in rows}
    values = over.columns.of(last.values())
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql(over.update_one, [*values])
    else:
        listed = to_json([dict(zip(over.columns.names, row, strict=True)) for row in values]).decode()
        connection.exec_driver_sql(over.update_all, (listed,))


@dataclass(frozen=True)
class Overwriting:
    """How some columns of one table's rows are handed to one driver; the key is the last."""

    update_one: str
    update_all: str
    columns: Columns

    @property
    def key(self) -> str:
        """The primary key's name."""
        return self.columns.names[-1]


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
        Columns.among(columns, dialect),
    )
