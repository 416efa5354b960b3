"""What may lie on a topic whoever put it there, row by row (40 to 50): what the recorder makes of it, on a real broker.

Rows 51 and 53 are below. 52, a record that kills its reader, is in test_recorder_aside and test_trainer_crashes; 54, a
letter that is sent back though its event is stored, in test_replay; 55, a control event that cannot be trusted, is
refused by whoever would act on it: see test_predictor_swaps (its manifest, version or base is not what is stored).
"""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest
from sqlalchemy import select
from sqlmodel import Session, SQLModel

from schemas.events import Event
from shared.envelope import Headers, seal
from shared.kafka import Bus
from shared.letters import Letter, read
from shared.tables import Consumed, DeadLetter, FeedbackRow, Prediction, open_database
from shared.topics import DEAD_LETTERS, FEEDBACK, PREDICTIONS, QUARANTINE, TOPICS, Topic
from tests.conftest import free_port
from tests.kafka.stage import limit, until
from tests.unit.recorder_story import BOB, erased, said, served

pytestmark = pytest.mark.kafka
Follows = Literal["stored", "skipped", "dead", "quarantined", "stored once", "forgotten"]


@dataclass(frozen=True)
class Row:
    """One row of the table: what lies on a topic, and what must follow. `subject` is the id that is looked for."""

    number: int
    name: str
    topic: Topic
    value: bytes | None
    follows: Follows
    reason: str = ""
    key: bytes | None = b"k"
    headers: Headers = field(default_factory=list)
    subject: str = ""


def row(number: int, name: str, event: Event, follows: Follows, **changes: Any) -> Row:
    """A row about an event, changed in some way."""
    out = seal(event)
    told: dict[str, Any] = {
        "topic": out.topic,
        "key": out.key,
        "headers": out.headers,
        "value": out.value,
        "subject": event.event_id,
    }
    return Row(number, name, follows=follows, **(told | changes))


def changed(event: Event, **fields: Any) -> bytes:
    return json.dumps({**json.loads(event.model_dump_json()), **fields}).encode()


def headed(event: Event, **headers: str) -> Headers:
    return [*seal(event).headers, *((name, value.encode()) for name, value in headers.items())]


HUGE = b"x" * 1_000_000  # four times what the recorder fetches at once, and nearly what a topic takes
TABLE = [
    Row(40, "a tombstone", FEEDBACK, None, "skipped"),
    Row(40, "a tombstone", PREDICTIONS, None, "skipped"),
    row(41, "no key", served("p41", "a"), "stored", key=None),
    row(41, "another key", served("p41b", "a"), "stored", key=b"other"),
    Row(42, "no UTF-8", FEEDBACK, b"\xff\xfe\x00", "dead", "decode_error"),
    Row(42, "no JSON", PREDICTIONS, b"not json", "dead", "decode_error"),
    Row(42, "nothing", FEEDBACK, b"", "dead", "decode_error"),
    Row(42, "too deep", FEEDBACK, b"[" * 100_000, "dead", "decode_error"),
    Row(43, "another schema", FEEDBACK, b'{"event_id": "x"}', "dead", "schema_error"),
    Row(43, "a list", FEEDBACK, b"[]", "dead", "schema_error"),
    row(43, "a wrong type", said("p43", "up"), "dead", reason="schema_error", value=b'{"event_id": 43}'),
    row(43, "the wrong topic", served("p43b", "a"), "dead", reason="unknown_type", topic=FEEDBACK),
    row(44, "unknown fields", (minor := served("p44", "a")), "stored", value=changed(minor, mood="good")),
    row(
        45,
        "a newer version",
        (major := said("p45", "up")),
        "quarantined",
        reason="unknown_version",
        value=changed(major, schema_version=2),
    ),
    Row(46, "larger than a fetch", FEEDBACK, HUGE, "dead", "decode_error"),
    row(46, "the next one", said("p46", "up"), "stored"),
    row(47, "once", (once := said("p47", "up")), "stored once"),
    row(47, "once more", once, "stored once"),
    row(48, "feedback before its prediction", said("p48", "up", when=500), "stored"),
    row(48, "out of order", served("p48", "a", when=-500), "stored"),
    row(49, "of an erased user", served("p49", "a", user=BOB), "forgotten"),
]


def test_the_table_has_every_row() -> None:
    assert {one.number for one in TABLE} == set(range(40, 50))


@dataclass
class Place:
    """A recorder's topics, folder and what it made."""

    bus: Bus
    folder: Path

    @property
    def url(self) -> str:
        return f"sqlite:///{self.folder}/learnback.db"

    @contextmanager
    def recorder(self) -> Iterator[subprocess.Popen[bytes]]:
        settings = {
            "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": self.bus.servers,
            "LEARNBACK_TOPIC_PREFIX": self.bus.prefix,
            "LEARNBACK_DATABASE_URL": self.url,
            "LEARNBACK_ARTIFACTS_URL": f"file://{self.folder}/artifacts",
            "LEARNBACK_POLICY_FILE": f"{self.folder}/learnback.toml",
            "LEARNBACK_RECORDER_PORT": str(free_port()),
        }
        with subprocess.Popen([sys.executable, "-m", "services.recorder"], env=os.environ | settings) as process:
            try:
                yield process
            finally:
                process.kill()

    def put(self, *rows: Row) -> None:
        with self.bus.publisher() as publisher:
            for one in rows:
                publisher.producer.send(
                    self.bus.name(one.topic), key=one.key, value=one.value, headers=one.headers
                ).get(20)

    def rows(self, table: type[SQLModel]) -> list[Any]:
        engine = open_database(self.url)
        try:
            with Session(engine) as session:
                return list(session.scalars(select(table)).all())
        finally:
            engine.dispose()

    def behind(self) -> int:
        """Records that the recorder has not committed."""
        places = {(one.topic, one.partition): one.next_offset for one in self.rows(Consumed)}
        with self.bus.follower(*TOPICS) as follower:
            ends = follower.consumer.end_offsets(follower.parts)
        return sum(end - places.get((part.topic, part.partition), 0) for part, end in ends.items())

    def letters(self, topic: Topic) -> list[Letter]:
        with self.bus.follower(topic) as follower:
            return [read(record) for record in follower.catch_up() if record.value is not None]

    def caught_up(self) -> bool:
        return (self.folder / "learnback.db").exists() and _ready(self.folder) and self.behind() == 0


def _ready(folder: Path) -> bool:
    with closing(sqlite3.connect(folder / "learnback.db", timeout=5)) as database:
        return bool(database.execute("SELECT count(*) FROM sqlite_master WHERE name = 'consumed'").fetchone()[0])


@pytest.fixture(scope="module")
def recorded(kafka_servers: str, tmp_path_factory: pytest.TempPathFactory) -> Place:
    """The whole table on the topics, and a recorder that has gone through it."""
    bus = Bus(kafka_servers, prefix=f"t{os.urandom(5).hex()}")
    bus.create_topics()
    place = Place(bus, tmp_path_factory.mktemp("rows"))
    with bus.publisher() as publisher:
        publisher.publish(erased(BOB, when=1000))
    with place.recorder():
        until(place.caught_up)
        place.put(*TABLE)
        until(place.caught_up)
    return place


@pytest.mark.parametrize("one", TABLE, ids=lambda one: f"{one.number} {one.name} on {one.topic.name}")
def test_what_follows_from_a_row(one: Row, recorded: Place) -> None:
    rows = [*recorded.rows(Prediction), *recorded.rows(FeedbackRow)]
    stored = sum(found.event_id == one.subject for found in rows)
    dead = [letter for letter in recorded.letters(DEAD_LETTERS) if _is(letter, one, recorded.bus)]
    quarantined = [letter for letter in recorded.letters(QUARANTINE) if _is(letter, one, recorded.bus)]
    expected = {"stored": (1, 0, 0), "stored once": (1, 0, 0), "dead": (0, 1, 0), "quarantined": (0, 0, 1)}
    assert (stored, len(dead), len(quarantined)) == expected.get(one.follows, (0, 0, 0))
    assert [letter.reason for letter in (*dead, *quarantined)] == ([one.reason] if one.reason else [])


def _is(letter: Letter, one: Row, bus: Bus) -> bool:
    return letter.original.topic == bus.name(one.topic) and letter.original.value == one.value


def test_feedback_that_came_before_its_prediction_is_joined(recorded: Place) -> None:
    assert [found.model for found in recorded.rows(FeedbackRow) if found.prediction_id == "p48"] == ["m"]


def test_every_letter_on_the_topic_is_known_to_sql(recorded: Place) -> None:
    there = {letter.id for topic in (DEAD_LETTERS, QUARANTINE) for letter in recorded.letters(topic)}
    assert {found.id for found in recorded.rows(DeadLetter)} == there


def test_51_a_locked_database_stops_the_recorder_and_nothing_is_put_aside(bus: Bus, tmp_path: Path) -> None:
    place = Place(bus, tmp_path)
    with place.recorder():
        until(place.caught_up)
        with closing(sqlite3.connect(tmp_path / "learnback.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            place.put(row(51, "while it is locked", said("p51", "up"), "stored"))
            log_end = place.behind()
            assert log_end == 1, "it was recorded in spite of the lock"
            other.execute("ROLLBACK")
        until(place.caught_up)
    assert [found.event_id for found in place.rows(FeedbackRow)] == ["f-p51"]
    assert place.rows(DeadLetter) == []


def test_53_without_dead_letters_the_recorder_stops_before_the_pill_until_they_are_back(
    bus: Bus, tmp_path: Path
) -> None:
    place = Place(bus, tmp_path)
    pill = Row(53, "a pill", FEEDBACK, b"x" * 2000, "dead", "decode_error")
    with place.recorder():
        until(place.caught_up)
        limit(bus, DEAD_LETTERS, 100)  # the broker refuses every letter now
        place.put(pill, row(53, "behind it", said("p53", "up"), "stored"))
        with bus.publisher() as publisher:
            publisher.publish(*(said(f"n{number}", "up") for number in range(20)))
        places = place.rows(Consumed)
        until(lambda: place.behind() > 0)
        assert place.letters(DEAD_LETTERS) == []
        limit(bus, DEAD_LETTERS, 1_048_588)
        until(place.caught_up)
    assert len(places) <= len(place.rows(Consumed))
    assert [letter.reason for letter in place.letters(DEAD_LETTERS)] == ["decode_error"]
    assert len(place.rows(FeedbackRow)) == 21
