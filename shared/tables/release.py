"""Which release made a database's tables: the revision that the recorder's migrations left in it."""

from __future__ import annotations

import threading
from pathlib import Path

import structlog
from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError

from shared.errors import ConfigError

RELEASE = "0002"  # of services/recorder/migrations/versions, the newest
RETRY_S = 2.0


def release_of(connection: Connection) -> str | None:
    """The revision of a database; None when no recorder that knows of migrations has opened it yet."""
    if not inspect(connection).has_table("alembic_version"):
        return None
    found: str | None = connection.execute(text("SELECT version_num FROM alembic_version")).scalar()
    return found


def mismatch(found: str | None) -> str | None:
    """Why this release cannot read a database of that revision, with what to do; None when it can."""
    if found is None or found == RELEASE:
        return None
    other, advice = ("an older", "start its recorder, which upgrades the database")
    if found > RELEASE:
        other, advice = ("a newer", "upgrade what reads it too")
    return f"The database is of {other} release of Learnback (revision {found}, here {RELEASE}): {advice}."


def await_release(engine: Engine, stopping: threading.Event) -> None:
    """Wait while the database is away, or older than this release and not yet upgraded; return early when stopped.

    Raises:
        ConfigError: the database is of a newer release.
    """
    while not stopping.is_set():
        try:
            found = _found(engine)
        except OperationalError as error:
            structlog.get_logger().warning("waiting_for_database", error=type(error.orig).__name__)
        else:
            reason = mismatch(found)
            if reason is None:
                return
            if found is not None and found > RELEASE:
                raise ConfigError(reason)
            structlog.get_logger().warning("waiting_for_recorder", reason=reason)
        stopping.wait(RETRY_S)


def _found(engine: Engine) -> str | None:
    """SQLite makes a database of any path that is asked for: a missing one is not opened."""
    path = engine.url.database
    if engine.dialect.name == "sqlite" and path and not Path(path).exists():
        return None
    with engine.connect() as connection:
        return release_of(connection)
