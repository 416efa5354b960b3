"""`learnback digest` and `learnback replay`: that the database is what the log says."""

from __future__ import annotations

import time
from pathlib import Path

import click
from rich.console import Console
from sqlalchemy import Engine, inspect
from sqlalchemy.exc import DBAPIError

from cli.progress import LiveBar
from services.recorder.digest import digest as digest_of
from services.recorder.replay import replay as replay_into
from shared.artifacts import ArtifactStore
from shared.errors import BadInputError, UnavailableError
from shared.kafka import Bus
from shared.policy import read_policy
from shared.settings import Platform, load
from shared.tables import Consumed, open_database
from shared.tables.release import mismatch, release_of
from shared.topics import TOPICS, Topic


@click.command()
@click.option("--database", help="SQLAlchemy URL; the live database when not given.")
def digest(database: str | None) -> None:
    """Print the digest of all that was recorded. Equal databases have equal digests."""
    engine = open_database(database or load(Platform).database)
    must_be_there(engine)
    try:
        if not inspect(engine).has_table(str(Consumed.__tablename__)):
            raise BadInputError("no_tables", "The recorder has made no tables in this database yet.")
        click.echo(digest_of(engine))
    except DBAPIError as error:
        raise away(error) from None
    finally:
        engine.dispose()


@click.command()
@click.option("--into", required=True, help="SQLAlchemy URL of an empty database, as sqlite:///replayed.db.")
@click.option("--from-topics", help="Only these topics, comma separated, as predictions.v1,feedback.v1.")
def replay(into: str, from_topics: str | None) -> None:
    """Rebuild a database from the log. Reads up to where it ends now, prints the digest, and publishes nothing."""
    platform, console = load(Platform), Console(stderr=True)
    engine = open_database(into, erases=True)
    started = time.monotonic()
    try:
        with LiveBar("replay", console, "reading the topics") as bar:
            done = replay_into(
                Bus.of(platform),
                engine,
                ArtifactStore(platform.artifacts_url),
                read_policy(platform.policy_file),
                lambda done, total: bar.show(done, total, f"{done:,} of {total:,} records"),
                _topics(from_topics),
            )
        console.print(f"{done:,} records in {time.monotonic() - started:.1f} s.", highlight=False)
        click.echo(digest_of(engine))
    except DBAPIError as error:
        raise away(error) from None
    finally:
        engine.dispose()


def must_be_there(engine: Engine) -> None:
    """Refuse another release's database, and a path of none: SQLite would make one, of a mistyped path too."""
    path = engine.url.database
    if engine.dialect.name == "sqlite" and path and not path.startswith("file:") and not Path(path).is_file():
        raise BadInputError("no_database", f"There is no database {path}: is its path right, and has the recorder run?")
    try:
        with engine.connect() as connection:
            other = mismatch(release_of(connection))
    except DBAPIError as error:
        raise away(error) from None
    if other is not None:
        raise BadInputError("other_release", other)


def _topics(names: str | None) -> tuple[Topic, ...]:
    if names is None:
        return TOPICS
    known = {topic.name: topic for topic in TOPICS}
    if unknown := [name for name in names.split(",") if name not in known]:
        raise BadInputError("no_topic", f"No topic is named {', '.join(unknown)}; they are {', '.join(known)}.")
    return tuple(known[name] for name in names.split(","))


def away(error: DBAPIError) -> UnavailableError:
    """The error in words."""
    return UnavailableError(f"The database does not answer ({type(error.orig).__name__}). Is its URL right?")
