"""The recorder as a process on a real broker: nothing lost, nothing twice, whatever is sent and whoever is killed."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import Engine, create_engine, func, select
from sqlalchemy.exc import DBAPIError
from sqlmodel import Session, SQLModel

from schemas.events import Dataset, Event, EventQuarantined, ModelCard, TrainingRequested, UserErased
from services.recorder.chores import Chores
from services.recorder.digest import digest
from services.recorder.feed import Feed
from services.recorder.intake import Intake
from services.recorder.recording import Recording
from services.recorder.worker import Worker, recorded
from shared.artifacts import ArtifactStore
from shared.datasets import Row, store_dataset
from shared.kafka import Bus
from shared.observe import Pulse
from shared.policy import PolicyFile
from shared.tables import (
    Consumed,
    DeadLetter,
    Drift,
    ErrorSlice,
    Example,
    FeedbackRow,
    ModelRow,
    Prediction,
    Progress,
    Request,
    Review,
    StateChange,
    Verdict,
    Version,
    open_database,
)
from shared.topics import DEAD_LETTERS, QUARANTINE, TOPICS, TRAINING_REQUESTS
from tests.conftest import free_port
from tests.kafka.recorders import until
from tests.unit.events import EXAMPLES
from tests.unit.recorder_story import ANN, BOB, NOON, Database, corrected

pytestmark = pytest.mark.kafka
POISON = (b"not json", b'{"event_id": "x"}', None)


@dataclass
class Place:
    """Where a test's recorders keep things."""

    bus: Bus
    folder: Path
    database: str | None = None
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def url(self) -> str:
        return self.database or f"sqlite:///{self.folder}/learnback.db"

    @property
    def artifacts(self) -> ArtifactStore:
        return ArtifactStore(f"file://{self.folder}/artifacts")

    def start(self, batch_size: int = 1000) -> subprocess.Popen[bytes]:
        """Run a recorder as its users do."""
        settings = {
            "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": self.bus.servers,
            "LEARNBACK_TOPIC_PREFIX": self.bus.prefix,
            "LEARNBACK_DATABASE_URL": self.url,
            "LEARNBACK_ARTIFACTS_URL": f"file://{self.folder}/artifacts",
            "LEARNBACK_POLICY_FILE": f"{self.folder}/learnback.toml",
            "LEARNBACK_RECORDER_PORT": str(free_port()),
            "LEARNBACK_RECORDER_BATCH_SIZE": str(batch_size),
        }
        command = [sys.executable, "-m", "services.recorder"]
        self.processes.append(subprocess.Popen(command, env=os.environ | settings))
        return self.processes[-1]

    def count(self, table: type[SQLModel]) -> int:
        engine = open_database(self.url)
        try:
            with engine.connect() as connection:
                return connection.execute(select(func.count()).select_from(table)).scalar_one()
        except DBAPIError:  # no table yet
            return 0
        finally:
            engine.dispose()

    def rows(self, table: type[SQLModel]) -> list[Any]:
        engine = open_database(self.url)
        with Session(engine) as session:
            found = list(session.scalars(select(table)).all())
        engine.dispose()
        return found


@pytest.fixture
def place(request: pytest.FixtureRequest, bus: Bus, tmp_path: Path) -> Iterator[Place]:
    on_postgres = getattr(request, "param", "sqlite") == "postgres"
    here = Place(bus, tmp_path, request.getfixturevalue("new_schema")() if on_postgres else None)
    yield here
    for process in here.processes:
        process.kill()
        process.wait(10)


def test_poison_on_every_topic_is_put_aside_and_the_next_message_is_recorded(place: Place) -> None:
    topics = [topic for topic in TOPICS if topic.events and topic is not QUARANTINE]
    with place.bus.publisher() as publisher:
        for topic in topics:
            for value in POISON:
                publisher.producer.send(place.bus.name(topic), key=b"k", value=value, partition=0)
        publisher.producer.flush()
        publisher.publish(*[one for one in EXAMPLES if not isinstance(one, UserErased | EventQuarantined)])
        process = place.start()
        until(lambda: place.count(DeadLetter) == len(topics) * (len(POISON) - 1))  # what says nothing is passed over
        tables = (Prediction, FeedbackRow, Review, ErrorSlice, Drift, Request, Progress, Version, Verdict, StateChange)
        until(lambda: all(place.count(table) == 1 for table in tables))
        publisher.publish(*[one for one in EXAMPLES if isinstance(one, UserErased)])
        until(lambda: place.count(Prediction) == 0)
    letters = place.rows(DeadLetter)
    assert {row.topic for row in letters} == {place.bus.name(topic) for topic in topics}
    assert {row.reason for row in letters} == {"decode_error", "schema_error", "unknown_type"}
    assert {row.service for row in letters} == {"recorder"}
    assert len({row.id for row in letters}) == len(letters)
    process.send_signal(signal.SIGTERM)
    assert process.wait(20) == 0


def test_a_card_whose_datasets_are_missing_is_put_aside_and_a_whole_one_makes_a_model(place: Place) -> None:
    missing = Dataset(uri="datasets/none", sha256="0" * 64, rows=1)
    seeds = store_dataset(place.artifacts, [Row(text="where is it", label="parcel"), Row(text="money", label="refund")])

    def request(name: str, examples: Dataset) -> TrainingRequested:
        card = ModelCard(task="classification", base="b", examples=examples)
        return TrainingRequested(
            event_id=f"e-{name}",
            occurred_at=NOON,
            source="collector",
            request_id=f"r-{name}",
            model=name,
            trigger="added",
            requested_by="rita",
            card=card,
        )

    with place.bus.publisher() as publisher:
        publisher.publish(request("broken", missing), request("whole", seeds))
        place.start()
        until(lambda: place.count(Example) == 2 and place.count(DeadLetter) == 1)
    assert [(row.name, row.labels) for row in place.rows(ModelRow)] == [("whole", ["parcel", "refund"])]
    assert {row.origin for row in place.rows(Example)} == {"seed"}
    (letter,) = place.rows(DeadLetter)
    assert (letter.topic, letter.reason) == (place.bus.name(TRAINING_REQUESTS), "artifact_missing")


def test_feedback_meets_its_prediction_in_both_orders(place: Place) -> None:
    first, second = corrected("p1", "hello", "b"), corrected("p2", "goodbye", "c", 5, user=BOB)
    with place.bus.publisher() as publisher:
        publisher.publish(second[1], first[0])
        place.start()
        until(lambda: place.count(FeedbackRow) == 1 and place.count(Prediction) == 1)
        assert [row.model for row in place.rows(FeedbackRow)] == [None]
        publisher.publish(second[0], first[1])
        until(lambda: place.count(Example) == 2)
    assert {(row.text, row.target, row.status) for row in place.rows(Example)} == {
        ("hello", "b", "train"),
        ("goodbye", "c", "train"),
    }


@pytest.mark.parametrize("place", ["sqlite", "postgres"], indirect=True)
def test_a_killed_recorder_loses_nothing_and_repeats_nothing(place: Place) -> None:
    log: list[Event] = []
    for number in range(1500):
        user = (ANN, BOB, None)[number % 3]
        log += corrected(
            f"p{number}", f"text {number % 700}", "abc"[number % 2], number, user=user, solicit=number % 7 == 0
        )
    with place.bus.publisher() as publisher:
        publisher.publish(*log)
        publisher.producer.send(place.bus.name(TOPICS[0]), key=b"k", value=b"poison")
    victim = place.start(batch_size=20)
    until(lambda: place.count(Prediction) >= 200)
    victim.kill()
    victim.wait(10)
    seen = place.count(Prediction)
    assert seen < 1500, "killed too late to show anything"
    place.start(batch_size=100)
    place.start(batch_size=100)  # two at once: partitions move while they work
    until(lambda: sum(row.next_offset for row in place.rows(Consumed)) >= len(log) + 2)
    assert (place.count(Prediction), place.count(FeedbackRow), place.count(DeadLetter)) == (1500, 1500, 1)
    whole = Database()
    whole.record(*log)
    with Session(whole.engine) as session:
        session.add(DeadLetter(**place.rows(DeadLetter)[0].model_dump()))
        session.commit()
    engine = open_database(place.url)
    assert digest(engine) == digest(whole.engine)
    engine.dispose()


@contextmanager
def worker(place: Place, engine: Engine) -> Iterator[Worker]:
    """A recorder's loop in a thread of the test."""
    feed = Feed.open(place.bus, "recorder", TOPICS, lambda: recorded(engine))
    with place.bus.publisher() as publisher:
        intake = Intake(place.bus, publisher, place.artifacts)
        chores = Chores(engine, publisher, timedelta(hours=24))
        recording = Recording(intake, engine, PolicyFile())
        one = Worker(feed, recording, engine, Pulse(), threading.Event(), chores, poll_s=0.05)
        thread = threading.Thread(target=one.run)
        thread.start()
        try:
            yield one
        finally:
            one.stopping.set()
            thread.join(20)
            feed.close()


def test_a_locked_database_is_waited_for(place: Place) -> None:
    engine = create_engine(place.url, connect_args={"timeout": 0.05})
    SQLModel.metadata.create_all(engine)
    with worker(place, engine) as one, place.bus.publisher() as publisher:
        until(lambda: one.pulse.ready)
        other = sqlite3.connect(place.folder / "learnback.db")
        other.execute("BEGIN EXCLUSIVE")
        publisher.publish(*corrected("p", "hello", "b"))
        until(lambda: not one.pulse.ready)
        other.rollback()
        other.close()
        until(lambda: place.count(FeedbackRow) == 1 and place.count(Example) == 1)
    engine.dispose()


def test_a_dead_letter_without_provenance_is_noted_and_makes_no_other(place: Place) -> None:
    with place.bus.publisher() as publisher:
        publisher.producer.send(place.bus.name(DEAD_LETTERS), key=b"", value=b"who knows")
        publisher.producer.flush()
        place.start()
        until(lambda: place.count(DeadLetter) == 1)
    (row,) = place.rows(DeadLetter)
    assert (row.id, row.reason) == (f"{place.bus.name(DEAD_LETTERS)}/0/0/unknown", "no_provenance")
