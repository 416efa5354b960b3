"""Which release made a database's tables: the revision that the recorder's migrations left in it."""

from __future__ import annotations

from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import DBAPIError

from shared.errors import ConfigError, UnavailableError
from shared.tables.database import refusal

RELEASE = "0005"  # of services/recorder/migrations/versions, the newest


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


def check_release(engine: Engine) -> None:
    """See that the database answers and that this release can read it. A missing one is made by the recorder later.

    Raises:
        UnavailableError: it does not answer, or is older than this release and not upgraded yet.
        ConfigError: the database is of a newer release.
    """
    try:
        found = _found(engine)
    except DBAPIError as error:
        raise refusal(engine, error) from None
    if (reason := mismatch(found)) is not None:
        raise (ConfigError if str(found) > RELEASE else UnavailableError)(reason)


def _found(engine: Engine) -> str | None:
    """SQLite makes a database of any path that is asked for: a missing one is not opened."""
    path = engine.url.database
    if engine.dialect.name == "sqlite" and path and not Path(path).exists():
        return None
    with engine.connect() as connection:
        return release_of(connection)
