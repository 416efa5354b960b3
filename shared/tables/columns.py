"""The kinds of columns that the tables are made of."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from sqlalchemy import JSON, Column, DateTime, Index, String, TypeDecorator, text
from sqlalchemy.engine.interfaces import Dialect
from sqlalchemy.types import TypeEngine


class UtcTime(TypeDecorator[datetime]):
    """Times as UTC. SQLite has no type for them: there they are text that sorts by time, as SQLAlchemy's own."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        """Text on SQLite: written and read by C code, a tenth of what SQLAlchemy's formatting costs."""
        return dialect.type_descriptor(String(26) if dialect.name == "sqlite" else self.impl_instance)

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> Any:
        """Store UTC."""
        if value is None:
            return None
        moment = value.astimezone(UTC)
        return moment.replace(tzinfo=None).isoformat(" ", "microseconds") if dialect.name == "sqlite" else moment

    def process_result_value(self, value: Any, dialect: Dialect) -> datetime | None:
        """Read UTC."""
        if value is None:
            return None
        moment = datetime.fromisoformat(value) if dialect.name == "sqlite" else value
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def time_column(index: bool = False, nullable: bool = False) -> Column[datetime]:
    """A moment."""
    return Column(UtcTime, index=index, nullable=nullable)


def json_column() -> Column[Any]:
    """Lists and objects."""
    return Column(JSON, nullable=False)


def where_known(name: str, known: str, *columns: str) -> Index:
    """An index of the few rows in which a mostly empty column is set."""
    there = text(f"{known} IS NOT NULL")
    return Index(name, *columns, sqlite_where=there, postgresql_where=there)
