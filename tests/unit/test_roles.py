"""On Postgres the recorder's role writes, the reader's role reads, and nobody else comes in."""

from __future__ import annotations

import subprocess
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from sqlalchemy import Engine, NullPool, create_engine, make_url, text
from sqlalchemy.exc import OperationalError, ProgrammingError

import services.recorder
from local.postgres import binaries
from services.recorder.__main__ import prepare
from services.recorder.digest import digest
from shared.tables import check_release, open_database
from tests.unit.recorder_story import ANN, Database, corrected, served

ROLES = Path(services.recorder.__file__).with_name("roles.sql")
RECORDER, READER = "learnback_recorder", "learnback_reader"


@pytest.fixture
def database(postgres_url: str) -> Iterator[str]:
    """The URL of a new database, as its administrator; the roles, which all databases share, are gone afterwards."""
    name = f"t{uuid.uuid4().hex[:10]}"
    admin = create_engine(postgres_url, isolation_level="AUTOCOMMIT")
    with admin.connect() as connection:
        if connection.execute(text("SELECT 1 FROM pg_roles WHERE rolname LIKE 'learnback_%'")).first():
            pytest.skip("this Postgres has Learnback's roles already")
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield make_url(postgres_url).set(database=name).render_as_string(hide_password=False)
    with admin.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
        for role in (RECORDER, READER):
            connection.execute(text(f"DROP ROLE IF EXISTS {role}"))
    admin.dispose()


def grant(url: str) -> None:
    programs = binaries()
    if programs is None:
        pytest.skip("no psql here: install Postgres")
    at = make_url(url)
    address = ["-h", str(at.host), "-p", str(at.port), "-U", str(at.username), "-d", str(at.database)]
    passwords = ["-v", "recorder_password=it's one", "-v", "reader_password=two"]
    subprocess.run([programs / "psql", "-q", "-v", "ON_ERROR_STOP=1", *passwords, *address, "-f", ROLES], check=True)


def by(role: str, url: str) -> Engine:
    return open_database(make_url(url).set(username=role, password="it's one").render_as_string(hide_password=False))


@pytest.mark.parametrize("made_before", [False, True], ids=["new", "made by an administrator before"])
def test_the_reader_reads_everything_and_changes_nothing(database: str, made_before: bool) -> None:
    if made_before:
        admin = open_database(database)
        prepare(admin)
        admin.dispose()
    for _ in range(2):  # a repeat is harmless
        grant(database)
    recorder, reader = by(RECORDER, database), by(READER, database)
    prepare(recorder)
    story = Database(engine=recorder)
    story.record(*corrected("p", "my parcel", "parcel"), served("q", "hello", user=ANN))
    with recorder.begin() as connection:
        connection.execute(text("CREATE TABLE of_a_later_release (a int)"))
        connection.execute(text("ANALYZE prediction"))

    check_release(reader)
    assert digest(reader) == digest(recorder)
    for change in (
        "INSERT INTO taint VALUES ('v', 'r')",
        "UPDATE prediction SET input = ''",
        "DELETE FROM feedback",
        "TRUNCATE example",
        "DROP TABLE example",
        "ALTER TABLE example ADD COLUMN a int",
        "CREATE TABLE mine (a int)",
        "CREATE TEMPORARY TABLE mine (a int)",
        "UPDATE alembic_version SET version_num = '9'",
        "INSERT INTO of_a_later_release VALUES (1)",
        "SET ROLE learnback_recorder",
    ):
        with (
            pytest.raises(ProgrammingError, match=r"InsufficientPrivilege|must be owner"),
            reader.begin() as connection,
        ):
            connection.execute(text(change))
    with reader.begin() as connection:
        assert connection.execute(text("SELECT count(*) FROM of_a_later_release")).scalar_one() == 0
    recorder.dispose()
    reader.dispose()


def test_a_role_of_its_own_must_be_let_in(database: str) -> None:
    grant(database)
    stranger = f"s{uuid.uuid4().hex[:10]}"
    admin, outside = create_engine(database, poolclass=NullPool), by(stranger, database)
    with admin.begin() as connection:
        connection.execute(text(f"CREATE ROLE {stranger} LOGIN"))
    try:
        with pytest.raises(OperationalError, match="permission denied for database"):
            outside.connect()
    finally:
        with admin.begin() as connection:
            connection.execute(text(f"DROP ROLE {stranger}"))
