"""The database itself."""

from __future__ import annotations

from typing import Any

from pydantic_core import to_json
from sqlalchemy import Engine, create_engine, event

CACHE_KB = 65_536  # of SQLite's pages; an index of a million hashes (40 MB) is read and written all over
CHECKPOINT_PAGES = 65_536  # 256 MB of log: a page that many transactions touch is then written back once


def _to_json(value: object) -> str:
    return to_json(value).decode()  # pydantic's, a fifth of what the standard library's costs


def open_database(url: str, erases: bool = False) -> Engine:
    """An engine for SQLite (WAL, waiting 30 s for a lock) or Postgres. Tables are made by the recorder alone.

    Who `erases` overwrites what it deletes, so that an erased user's bytes are not left in free pages.
    """
    engine = create_engine(url, pool_pre_ping=True, hide_parameters=True, json_serializer=_to_json)
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
