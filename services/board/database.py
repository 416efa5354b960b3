"""Asking the recorder's database: rows of a statement, and whether there is anything to ask."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

from sqlalchemy import Engine, Executable, Select, inspect
from sqlalchemy.exc import SQLAlchemyError
from sqlmodel import Session, SQLModel

from shared.tables import ModelRow
from shared.tables.release import mismatch, release_of

Record = TypeVar("Record", bound=SQLModel)


def rows(engine: Engine, statement: Executable) -> Sequence[Any]:
    """Every row of a statement, each a named tuple of its columns, in a connection of its own."""
    with engine.connect() as connection:
        return connection.execute(statement).all()


def row(engine: Engine, statement: Executable) -> Any:
    """The only row of a statement."""
    with engine.connect() as connection:
        return connection.execute(statement).one()


def records(engine: Engine, statement: Select[Record]) -> Sequence[Record]:
    """Whole table rows, detached: the board changes none."""
    with Session(engine) as session:
        return session.scalars(statement).all()


def trouble(engine: Engine) -> str | None:
    """Why the database cannot be read, with what to do; None when it can.

    A SQLite file is looked for before connecting, since connecting would make an empty one.
    """
    url = engine.url
    shown = url.render_as_string(hide_password=True)
    if url.get_backend_name() == "sqlite" and url.database and not Path(url.database).exists():
        return f"There is no database at {shown} yet. Start the recorder, or run `make demo`."
    try:
        made = inspect(engine).has_table(str(ModelRow.__tablename__))
        with engine.connect() as connection:
            other = mismatch(release_of(connection))
    except SQLAlchemyError as error:
        return f"The database at {shown} does not answer ({type(error).__name__}). Check LEARNBACK_DATABASE_URL."
    if other is not None:
        return other
    return None if made else f"The database at {shown} has no tables yet. Start the recorder: it makes them."
