"""Clocks jump, groups are in turmoil, logs are replayed from the start: the ledger is the same."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from kafka import KafkaAdminClient

from schemas.events import Event
from shared.envelope import seal
from shared.kafka import Bus
from shared.tables import FeedbackRow, Prediction
from shared.topics import FEEDBACK, PREDICTIONS, TOPICS
from tests.conftest import free_port
from tests.crash.scene import Scene, until
from tests.faults.place import await_recorded, digest_of, rows, seconds
from tests.unit.recorder_story import ANN, BOB, corrected

pytestmark = [pytest.mark.kafka, pytest.mark.faults, pytest.mark.timeout(600)]
DAY_S = 24 * 60 * 60
CLOCKS = (0, 1, -1, 40, -40)  # in days; the last is older than the topics' retention


def test_clocks_that_are_days_off_lose_nothing_and_repeat_nothing(tmp_path: Path, bus: Bus) -> None:
    """Writers whose clocks jump, in what they say and in what they stamp on records; each event comes from two of them.

    Not by libfaketime: librdkafka waits by C11 conditions, which it does not know, and stands still (docs/log.md).
    """
    expected, scene = [], Scene(bus, tmp_path)
    with bus.publisher() as publisher:
        for number, days in enumerate(CLOCKS * 20):
            for event in corrected(f"p{number}", f"text {number % 30}", "abc"[number % 2], days * DAY_S):
                expected.append(event.event_id)
                for shift in (days, -days):
                    moment = int((time.time() + shift * DAY_S) * 1000)
                    out = seal(event)
                    publisher.producer.send(
                        bus.name(out.topic), key=out.key, value=out.value, headers=out.headers, timestamp_ms=moment
                    ).get(20)
    with scene.running("recorder"):
        await_recorded(scene, PREDICTIONS, FEEDBACK)
    stored = [row.event_id for row in (*rows(scene, Prediction), *rows(scene, FeedbackRow))]
    assert sorted(stored) == sorted(expected)
    assert digest_of(scene) == digest_of(replayed(bus, tmp_path / "again"))


def test_recorders_that_come_and_go_skip_nothing_and_repeat_nothing(tmp_path: Path, bus: Bus) -> None:
    """Members without names of their own: each coming and each going is a rebalance."""
    scene, events = Scene(bus, tmp_path), story(2400)
    nameless = {"LEARNBACK_INSTANCE": "", "LEARNBACK_RECORDER_BATCH_SIZE": "50"}
    other = {**nameless, "LEARNBACK_RECORDER_PORT": str(free_port())}
    storms, sent = max(4, round(seconds(in_ci=16) / 4)), 0
    with bus.publisher() as publisher, scene.running("recorder", **nameless):
        until(lambda: scene.answers("recorder"), "the recorder is ready")
        for _ in range(storms):
            with scene.running("recorder", **other) as process:
                stop = time.monotonic() + 2
                while time.monotonic() < stop:
                    publisher.publish(*events[sent : sent + 40])
                    sent += 40
                    time.sleep(0.1)
                process.terminate()
                process.wait(30)
        publisher.publish(*events[sent:])
        await_recorded(scene, PREDICTIONS, FEEDBACK)
    assert (len(rows(scene, Prediction)), len(rows(scene, FeedbackRow))) == (2400, 2400)
    assert digest_of(scene) == digest_of(replayed(bus, tmp_path / "again"))


def test_three_replays_with_one_partition_and_with_six_give_the_same_digest(tmp_path: Path, kafka_servers: str) -> None:
    events, digests = story(600), set()
    for partitions in (1, 6):
        bus = Bus(kafka_servers, prefix=f"t{os.urandom(5).hex()}")
        create(bus, partitions)
        with bus.publisher() as publisher:
            publisher.publish(*events)
        digests |= {digest_of(replayed(bus, tmp_path / f"{partitions}-{number}")) for number in range(3)}
    assert len(digests) == 1


def replayed(bus: Bus, folder: Path) -> Scene:
    """An empty database into which a recorder has read the log from its start, in small batches."""
    folder.mkdir()
    scene = Scene(Bus(bus.servers, bus.prefix), folder)
    with scene.running("recorder", LEARNBACK_INSTANCE="", LEARNBACK_RECORDER_BATCH_SIZE="170"):
        await_recorded(scene, PREDICTIONS, FEEDBACK)
    return scene


def create(bus: Bus, partitions: int) -> None:
    """The topics of an installation whose predictions and feedback have another number of partitions."""
    admin = KafkaAdminClient(bootstrap_servers=bus.servers)
    wanted = {
        bus.name(topic): {
            "num_partitions": partitions if topic in (PREDICTIONS, FEEDBACK) else topic.partitions,
            "replication_factor": 1,
            "configs": topic.configs,
        }
        for topic in TOPICS
    }
    try:
        admin.create_topics(wanted)
    finally:
        admin.close()


def story(pairs: int) -> list[Event]:
    """Predictions and corrections by several users, on texts that come again."""
    events: list[Event] = []
    for number in range(pairs):
        user = (ANN, BOB, None)[number % 3]
        events += corrected(f"p{number}", f"text {number % (pairs // 3)}", "abc"[number % 2], number, user=user)
    return events
