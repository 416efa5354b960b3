"""A database as one file, at one moment, and a database made of such a file again.

SQLite's own backup interface copies while the recorder writes; `pg_dump` and `pg_restore` do it for Postgres.
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import subprocess
from contextlib import closing
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, make_url, text
from sqlmodel import SQLModel

from services.recorder.digest import digest, digest_in
from shared.errors import BadInputError, LearnbackError
from shared.tables import open_database

VERSIONS = "alembic_version"


class DumpError(LearnbackError):
    """A program that dumps or restores a database failed; says why."""


def dump(engine: Engine, file: Path) -> str:
    """Write a database's rows into a file; the digest of just these rows.

    Raises:
        BadInputError: pg_dump is not installed.
        DumpError: it failed.
    """
    if engine.dialect.name == "sqlite":
        with closing(sqlite3.connect(str(engine.url.database))) as live, closing(sqlite3.connect(file)) as copied:
            live.backup(copied)
        copy = open_database(f"sqlite:///{file}")
        try:
            return digest(copy)
        finally:
            copy.dispose()
            for left in ("-wal", "-shm"):
                Path(f"{file}{left}").unlink(missing_ok=True)
    with engine.connect().execution_options(isolation_level="REPEATABLE READ") as connection:
        snapshot = connection.execute(text("SELECT pg_export_snapshot()")).scalar_one()
        tables = [f"--table={_schema(connection)}.{name}" for name in sorted(_ours(connection))]
        _postgres("pg_dump", engine, "--format=custom", f"--snapshot={snapshot}", f"--file={file}", *tables)
        return digest_in(connection)


def restore(engine: Engine, file: Path) -> None:
    """Make an empty database what it was.

    Raises:
        BadInputError: it is not empty, or pg_restore is not installed.
        DumpError: it failed; nothing was restored.
    """
    must_be_empty(engine)
    if engine.dialect.name == "sqlite":
        target = Path(str(engine.url.database))
        target.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(file)) as copied, closing(sqlite3.connect(target)) as live:
            copied.backup(live)
    else:
        _postgres(
            "pg_restore", engine, "--single-transaction", "--exit-on-error", "--dbname", _address(engine), str(file)
        )


def must_be_empty(engine: Engine) -> None:
    """Refuse a database with a table of Learnback's in it.

    Raises:
        BadInputError: there is one.
    """
    if engine.dialect.name == "sqlite" and not Path(str(engine.url.database)).exists():
        return
    with engine.connect() as connection:
        if there := _ours(connection):
            raise BadInputError(
                "not_empty", f"The database holds tables already ({min(there)}); restore into an empty one."
            )


def _ours(connection: Connection) -> set[str]:
    return set(inspect(connection).get_table_names()) & {*SQLModel.metadata.tables, VERSIONS}


def _schema(connection: Connection) -> str:
    return str(connection.execute(text("SELECT current_schema()")).scalar_one())


def _address(engine: Engine) -> str:
    """The database as Postgres' own programs take it; the password goes by the environment."""
    return make_url(engine.url).set(drivername="postgresql", password=None).render_as_string()


def _postgres(program: str, engine: Engine, *options: str) -> None:
    if shutil.which(program) is None:
        raise BadInputError(
            "no_program", f"{program} is not here: install Postgres' client programs (postgresql-client)."
        )
    command = [program, "--no-owner", "--no-privileges", *options]
    if program == "pg_dump":
        command.append(_address(engine))
    secret = {"PGPASSWORD": engine.url.password} if engine.url.password else {}
    done = subprocess.run(command, env=os.environ | secret, capture_output=True, text=True)
    if done.returncode:
        raise DumpError(f"{program} failed: {(done.stderr.strip().splitlines() or ['without a word'])[-1]}")
