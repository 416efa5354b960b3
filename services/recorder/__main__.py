"""Run the recorder: python -m services.recorder."""

from __future__ import annotations

import sys
import threading
from datetime import timedelta
from pathlib import Path

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import OperationalError

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
from shared.policy import read_policy
from shared.settings import Platform, load
from shared.tables import open_database
from shared.tables.release import RELEASE
from shared.topics import TOPICS

RETRY_S = 2.0
ON_SQLITE = 5_000  # records of a transaction: of more, the pages that a long log spreads them over leave the page cache
MOST = 10_000  # on Postgres a tenth faster than 5,000 (docs/log.md)


def main() -> None:
    """Wire the recorder and run it until SIGTERM."""
    platform, settings = load(Platform), load(RecorderSettings)
    policies = read_policy(platform.policy_file)
    bus = Bus.of(platform)
    engine = open_database(platform.database, erases=True)
    with running(SERVICE, settings.host, settings.port) as (pulse, stopping):
        await_tables(engine, stopping)
        bus.await_topics(stopping)
        if stopping.is_set():
            return
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


def await_tables(engine: Engine, stopping: threading.Event) -> None:
    """Make the tables as soon as the database answers; return early when asked to stop.

    Raises:
        ConfigError: another release made them.
    """
    if engine.dialect.name == "sqlite" and engine.url.database:
        Path(engine.url.database).parent.mkdir(parents=True, exist_ok=True)
    while not stopping.is_set():
        try:
            with engine.connect() as connection:
                lock(connection)
                changed = make_tables(connection)
                connection.commit()
            if changed:
                structlog.get_logger().info("database_upgraded", to=RELEASE)
            return
        except OperationalError as error:
            structlog.get_logger().warning("waiting_for_database", error=type(error.orig).__name__)
            stopping.wait(RETRY_S)


if __name__ == "__main__":
    try:
        main()
    except FatalError as error:
        sys.exit(str(error))
