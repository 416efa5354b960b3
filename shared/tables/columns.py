"""The kinds of columns that the tables are made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import (
    JSON,
    Column,
    ColumnElement,
    DateTime,
    Index,
    String,
    TypeDecorator,
    func,
    literal_column,
    text,
)
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeEngine

from schemas.events import MAX_LABEL

WRITTEN = len("2026-01-31 23:59:59.999999")  # of a time on SQLite; what follows is the offset, which is none


class UtcTime(TypeDecorator[datetime]):
    """Times as UTC. SQLite has no type for them: there they are text that sorts by time, as SQLAlchemy's own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text on SQLite: written and read by C code, a tenth of what SQLAlchemy's formatting costs."""
        return dialect.type_descriptor(String(WRITTEN) if dialect.name == "sqlite" else self.impl_instance)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Store UTC."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.isoformat(" ", "microseconds")[:WRITTEN] if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read UTC."""
        if value is None:
            return None
        if dialect.name == "sqlite":
            return datetime.fromisoformat(value + "+00:00")  # read as UTC at once, at half of what `replace` costs
        moment: datetime = value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def time_column(index: bool = False, nullable: bool = False) -> Column[datetime]:
    """A moment."""
    return Column(UtcTime, index=index, nullable=nullable)


def json_column() -> Column[Any]:
    """Lists and objects."""
    return Column(JSON, nullable=False)


def where_known(name: str, known: str, *columns: str) -> Index:
    """An index of the few rows in which a mostly empty column is set."""
    return index_where(name, f"{known} IS NOT NULL", *columns)


def where_true(name: str, flag: str, *columns: str) -> Index:
    """An index of the rows in which a flag is set; a query uses it when it says `is_(True)`."""
    return Index(name, *columns, sqlite_where=text(f"{flag} IS 1"), postgresql_where=text(f"{flag} IS true"))


def by_label(name: str, *columns: str, where: str = "") -> Index:
    """An index of rows by their target, as far as it could be a label: Postgres indexes nothing over 2,704 bytes.

    A query uses it when it says so too (`could_be_label`).
    """
    return index_where(name, f"{where} AND {_SHORT}" if where else _SHORT, *columns)


def could_be_label(target: Any) -> ColumnElement[bool]:
    """Whether a target is no longer than a label may be."""
    return func.length(target) <= literal_column(str(MAX_LABEL))  # spelt out, so that it is seen to be the index's


def index_where(name: str, condition: str, *columns: str) -> Index:
    """An index of the rows that meet a condition, which both databases spell alike."""
    there = text(condition)
    return Index(name, *columns, sqlite_where=there, postgresql_where=there)


_SHORT = f"length(target) <= {MAX_LABEL}"
