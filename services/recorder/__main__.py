"""Run the recorder: python -m services.recorder."""

from __future__ import annotations

import sys
from datetime import timedelta
from pathlib import Path

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from services.recorder.batch import SERVICE
from services.recorder.chores import Chores
from services.recorder.feed import Feed
from services.recorder.intake import Intake
from services.recorder.quarantine import send_known
from services.recorder.recording import Recording
from services.recorder.settings import RecorderSettings
from services.recorder.sql import lock
from services.recorder.tables import make_tables
from services.recorder.worker import Worker, recorded
from shared import garbage
from shared.artifacts import ArtifactStore
from shared.errors import FatalError
from shared.kafka import Bus
from shared.observe import running
from shared.policy import PolicyFile, read_policy
from shared.settings import Platform, load
from shared.start import await_needs
from shared.tables import open_database, refusal
from shared.tables.release import RELEASE
from shared.topics import TOPICS
from shared.volume import check_volume

ON_SQLITE = 5_000  # records of a transaction: of more, the pages that a long log spreads them over leave the page cache
MOST = 10_000  # on Postgres a tenth faster than 5,000 (docs/log.md)


def main() -> None:
    """Wire the recorder and run it until SIGTERM."""
    platform, settings = load(Platform), load(RecorderSettings)
    bus = Bus.of(platform)
    policies, engine = await_needs(SERVICE, settings, lambda: _needs(platform, bus))
    with running(SERVICE, settings.host, settings.port) as (pulse, stopping):
        feed = Feed.open(bus, SERVICE, TOPICS, lambda: recorded(engine))
        with bus.publisher() as publisher:
            intake = Intake(bus, publisher, ArtifactStore(platform.artifacts_url))
            recording = Recording(intake, engine, policies)
            chores = Chores(engine, publisher, timedelta(hours=policies.defaults.trust.orphan_hours))
            records = settings.batch_size or (ON_SQLITE if engine.dialect.name == "sqlite" else MOST)
            worker = Worker(feed, recording, engine, pulse, stopping, chores, records, settings.poll_ms / 1000)
            try:
                if sent := send_known(bus, publisher):
                    structlog.get_logger().info("sent_from_quarantine", records=sent)
                chores.at_start()
                garbage.spare(garbage.BATCH)
                worker.run()
            finally:
                feed.close()
    engine.dispose()


def _needs(platform: Platform, bus: Bus) -> tuple[PolicyFile, Engine]:
    policies, engine = read_policy(platform.policy_file), open_database(platform.database, erases=True)
    prepare(engine)
    bus.create_topics(exact=False)
    return policies, engine


def prepare(engine: Engine) -> None:
    """Make the tables, and the folder of a SQLite file.

    Raises:
        ConfigError: another release made them.
        UnavailableError: the database does not answer, or its user may not make tables.
    """
    if engine.dialect.name == "sqlite" and engine.url.database:
        check_volume(Path(engine.url.database).parent, "LEARNBACK_DATABASE_URL")
    try:
        with engine.connect() as connection:
            lock(connection)
            changed = make_tables(connection)
            connection.commit()
    except DBAPIError as error:
        raise refusal(engine, error) from None
    if changed:
        structlog.get_logger().info("database_upgraded", to=RELEASE)


if __name__ == "__main__":
    try:
        main()
    except FatalError as error:
        sys.exit(str(error))
