"""The database itself."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json
from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, OperationalError

from shared.errors import ConfigError, UnavailableError

CACHE_KB = 65_536  # of SQLite's pages; an index of a million hashes (40 MB) is read and written all over
CONNECT_S = 10  # until an address that does not answer counts as away
CHECKPOINT_PAGES = 65_536  # 256 MB of log: a page that many transactions touch is then written back once


def _to_json(value: object) -> str:
    return to_json(value).decode()  # pydantic's, a fifth of what the standard library's costs


def open_database(url: str, erases: bool = False) -> Engine:
    """An engine for SQLite (WAL, waiting 30 s for a lock) or Postgres. Tables are made by the recorder alone.

    Who `erases` overwrites what it deletes, so that an erased user's bytes are not left in free pages.

    Raises:
        ConfigError: the URL is none, or of a kind of database that is not known here.
    """
    try:
        kind = make_url(url).get_backend_name()
        options = {"connect_timeout": CONNECT_S} if kind == "postgresql" else {}
        engine = create_engine(
            url, pool_pre_ping=True, hide_parameters=True, json_serializer=_to_json, connect_args=options
        )
    except ImportError as error:
        raise ConfigError(f"The driver of this database, {error.name}, is not installed here.") from None
    except ArgumentError:
        raise ConfigError(
            "The database's address is no SQLAlchemy URL, as sqlite:///a.db or postgresql+psycopg://user@host/name."
            " Set LEARNBACK_DATABASE_URL."
        ) from None
    if engine.dialect.name == "sqlite":

        @event.listens_for(engine, "connect")
        def _pragmas(connection: Any, _record: object) -> None:
            cursor = connection.cursor()
            cursor.execute("PRAGMA journal_mode=WAL")
            cursor.execute("PRAGMA synchronous=NORMAL")
            cursor.execute("PRAGMA busy_timeout=30000")
            cursor.execute(f"PRAGMA cache_size=-{CACHE_KB}")
            cursor.execute("PRAGMA temp_store=MEMORY")
            cursor.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
            if erases:
                cursor.execute("PRAGMA secure_delete=ON")
            cursor.close()

    return engine


def refusal(engine: Engine, error: DBAPIError) -> UnavailableError:
    """Why a database takes no connection or no table, with what to do. Not for statements that hold users' values."""
    return UnavailableError(
        f"The database at {engine.url.render_as_string()} refuses: {_words(error)}."
        " Check LEARNBACK_DATABASE_URL, and what its user may do."
    )


def reason(error: Exception) -> str:
    """What went wrong with a database or a broker, in its own words where these cannot be a user's."""
    if isinstance(error, OperationalError):  # away, locked, full: of the server, never of a row
        return f"The database refuses: {_words(error)}."
    return str(error) if isinstance(error, UnavailableError) else type(error).__name__


def _words(error: DBAPIError) -> str:
    told = getattr(getattr(error.orig, "diag", None), "message_primary", None)  # of Postgres, once it is connected
    lines = str(error.orig).strip().splitlines()
    return str(told or (lines[-1] if lines else type(error.orig).__name__))
