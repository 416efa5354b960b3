"""What was put aside is looked at and sent again; the log alone gives the same database, as often as one likes."""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from schemas.events import Event
from shared.envelope import seal
from shared.kafka import Bus
from shared.tables import DeadLetter, Example, FeedbackRow, Prediction
from shared.topics import FEEDBACK, PREDICTIONS
from tests.kafka.recorders import desk, until
from tests.unit.recorder_story import ANN, BOB, EVE, corrected, erased, reviewed, said, served

pytestmark = pytest.mark.kafka
HOUR = 3600.0


@pytest.fixture(params=[1, 6])
def bus_with(request: pytest.FixtureRequest, kafka_servers: str) -> Bus:
    """A bus whose predictions and feedback have one partition, or six."""
    bus = Bus(kafka_servers, prefix=f"t{uuid.uuid4().hex[:10]}")
    admin = KafkaAdminClient(bootstrap_servers=kafka_servers)
    partitions = {"num_partitions": request.param, "replication_factor": 1}
    admin.create_topics({bus.name(topic): partitions for topic in (PREDICTIONS, FEEDBACK)})
    admin.close()
    bus.create_topics(exact=False)
    return bus


def story() -> list[Event]:
    """Joins, near-duplicates, conflicts, an orphan, a review; Ann asks to be forgotten in the end."""
    log: list[Event] = []
    for number in range(120):
        user = (ANN, BOB, EVE, None)[number % 4]
        log += corrected(f"p{number}", f"text {number % 50}", "abc"[number % 3], number, user=user)
    log += [said(f"p{number}", "other", 500, user=(ANN, BOB, EVE, None)[number % 4]) for number in range(0, 12)]
    log += [served("p0", "another text under a taken id").model_copy(update={"event_id": "e-taken"})]
    log += [said("nobody", "b", 10, user=BOB), reviewed("text 3", "relabel", "b", 600)]
    return [*log, served("p-late", "a day later", when=30 * HOUR, user=BOB), erased(ANN, 700)]


def test_a_replay_gives_the_same_database_three_times(bus_with: Bus, tmp_path: Path) -> None:
    with desk(bus_with, tmp_path) as here, bus_with.publisher() as publisher:
        here.start()
        publisher.publish(*story()[:-1])
        publisher.producer.send(bus_with.name(FEEDBACK), key=b"k", value=b"{torn")
        until(lambda: {row.reason for row in here.rows(DeadLetter)} >= {"decode_error", "orphan", "id_conflict"})
        publisher.publish(story()[-1])
        until(lambda: not any(row.user_key == ANN for row in [*here.rows(Prediction), *here.rows(DeadLetter)]))
        until(lambda: here.rows(DeadLetter) != [] and settled(here.read))
        assert "nobody" not in {row.prediction_id for row in here.rows(FeedbackRow)}
        live = here.run("digest")
        for number in range(3):
            assert here.run("replay", "--into", f"sqlite:///{tmp_path}/replayed-{number}.db") == live
        assert len(here.rows(Example)) > 30


def settled(read: Callable[[], int]) -> bool:
    """Whether nothing more comes for a while: the recorder has read its own letters."""
    before, end = read(), time.monotonic() + 2
    while time.monotonic() < end:
        if read() != before:
            return False
        time.sleep(0.1)
    return True


def test_what_was_put_aside_is_listed_shown_and_sent_again_once(bus: Bus, tmp_path: Path) -> None:
    secret = "words that nobody may see by chance"
    newer = seal(said("p1", "b"))
    with desk(bus, tmp_path) as here, bus.publisher() as publisher:
        here.start()
        publisher.publish(served("p1", secret), said("p2", "b", user=BOB), served("p3", "late", when=30 * HOUR))
        body = (newer.value or b"").replace(b'"b"', b'"' + secret.encode() + b'"')[:-1] + b', "schema_version": 2}'
        publisher.producer.send(bus.name(FEEDBACK), key=b"p1", value=body, headers=newer.headers)
        until(lambda: {row.reason for row in here.rows(DeadLetter)} == {"orphan", "unknown_version"})
        listed = here.run("dlq", "list")
        assert ("orphan" in listed, "unknown_version" in listed, secret in listed) == (True, True, False)
        assert "unknown_version" not in here.run("dlq", "list", "--reason", "orphan")
        [quarantined] = [row for row in here.rows(DeadLetter) if row.quarantined]
        assert secret not in here.run("dlq", "show", quarantined.id)
        assert secret in here.run("dlq", "show", quarantined.id, "--payload")
        publisher.publish(served("p2", "the other half", user=BOB))
        assert "1 of 1 sent again" in here.run("dlq", "redrive", "--all", "--reason", "orphan")
        until(lambda: [row.target for row in here.rows(FeedbackRow)] == ["b"])
        until(lambda: [row.redriven for row in here.rows(DeadLetter) if row.reason == "orphan"] == [True])
        assert "sent again before" in here.run("dlq", "redrive", "--all", "--reason", "orphan")
        assert "is stored" in here.run("dlq", "redrive", "--all", "--again", "--reason", "orphan")
        live = here.run("digest")
        assert here.run("replay", "--into", f"sqlite:///{tmp_path}/replayed.db") == live
