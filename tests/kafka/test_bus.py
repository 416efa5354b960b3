"""The bus on a real broker: topics as the table says, events that are durable, readers that see all, dead letters."""

from __future__ import annotations

import contextlib
import re
import subprocess
import sys
import time
from base64 import b64encode
from typing import Any

import pytest
from kafka import KafkaAdminClient
from kafka.structs import TopicPartition

from schemas.events import FeedbackReceived, PredictionServed, TrainingRequested
from shared.envelope import unseal
from shared.errors import InvalidEventError, UnavailableError
from shared.kafka import Bus
from shared.observe import Pulse
from shared.topics import DEAD_LETTERS, FEEDBACK, PREDICTIONS, TOPICS, TRAINING_REQUESTS
from tests.kafka.stage import limit
from tests.unit.events import EXAMPLES

pytestmark = pytest.mark.kafka
DEADLINE_S = 20


def poll_until(consumer: Any, count: int) -> list[Any]:
    records: list[Any] = []
    deadline = time.monotonic() + DEADLINE_S
    while len(records) < count:
        assert time.monotonic() < deadline, f"{len(records)} of {count} records came"
        for batch in consumer.poll(timeout_ms=200).values():
            records += batch
    return records


def test_the_topics_are_those_of_the_table(bus: Bus) -> None:
    bus.create_topics()  # again: nothing happens
    admin = KafkaAdminClient(bootstrap_servers=bus.servers)
    try:
        described = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics()}
    finally:
        admin.close()
    assert {bus.name(topic): topic.partitions for topic in TOPICS}.items() <= described.items()
    assert bus.topic(bus.name(FEEDBACK)) is FEEDBACK


def test_a_publisher_that_was_refused_goes_on_when_the_broker_takes_records_again(bus: Bus) -> None:
    with bus.publisher() as publisher:
        publisher.publish(EXAMPLES[0])
        limit(bus, PREDICTIONS, 100)
        for _ in range(3):
            with pytest.raises(UnavailableError):
                publisher.publish(EXAMPLES[0])
        limit(bus, PREDICTIONS, 1_048_588)
        publisher.publish(EXAMPLES[0])


def test_all_events_are_read_back_as_they_were_written(bus: Bus) -> None:
    with bus.publisher() as publisher:
        publisher.publish(*EXAMPLES)
    topics = tuple(topic for topic in TOPICS if topic.events)
    with bus.follower(*topics) as follower:
        read = [unseal(record.value, record.headers, bus.topic(record.topic)) for record in follower.catch_up()]
        assert sorted(event.event_id for event in read) == sorted(event.event_id for event in EXAMPLES)
        assert {event.event_id: event for event in read} == {event.event_id: event for event in EXAMPLES}
        with bus.publisher() as publisher:
            publisher.publish(EXAMPLES[0])
        later = list(follower.poll(5000))
    assert [unseal(record.value, record.headers, PREDICTIONS) for record in later] == [EXAMPLES[0]]


def test_a_prediction_and_its_feedback_share_a_partition(bus: Bus) -> None:
    said = [event for event in EXAMPLES if isinstance(event, PredictionServed | FeedbackReceived)]
    pairs = [event.model_copy(update={"prediction_id": f"p-{number}"}) for number in range(20) for event in said]
    with bus.publisher() as publisher:
        publisher.publish(*pairs)
    with bus.follower(PREDICTIONS, FEEDBACK) as follower:
        places: dict[bytes, set[int]] = {}
        for record in follower.catch_up():
            places.setdefault(record.key, set()).add(record.partition)
    assert len(places) == 20
    assert all(len(partitions) == 1 for partitions in places.values())


def test_what_was_not_committed_comes_again(bus: Bus) -> None:
    request = next(event for event in EXAMPLES if isinstance(event, TrainingRequested))
    with bus.publisher() as publisher:
        publisher.publish(request)
    for _ in range(2):
        with bus.consumer("tester", (TRAINING_REQUESTS,)) as consumer:
            [record] = poll_until(consumer, 1)
            assert unseal(record.value, record.headers, TRAINING_REQUESTS) == request
    with bus.consumer("tester", (TRAINING_REQUESTS,)) as consumer:
        [record] = poll_until(consumer, 1)
        consumer.commit()
        assert consumer.committed(TopicPartition(record.topic, record.partition)) == record.offset + 1


def test_poison_goes_aside_with_where_it_came_from(bus: Bus) -> None:
    with bus.publisher() as publisher:
        publisher.producer.send(bus.name(FEEDBACK), key=b"p-1", value=b"{swordfish").get(timeout=DEADLINE_S)
        publisher.publish(next(event for event in EXAMPLES if isinstance(event, FeedbackReceived)))
        with bus.follower(FEEDBACK) as follower:
            kinds = []
            for record in follower.catch_up():
                try:
                    kinds.append(type(unseal(record.value, record.headers, FEEDBACK)).__name__)
                except InvalidEventError as error:
                    publisher.dead_letter(record, "tester", error.code, error.detail)
                    kinds.append("poison")
    assert sorted(kinds) == ["FeedbackReceived", "poison"]
    with bus.follower(DEAD_LETTERS) as follower:
        [letter] = follower.catch_up()
    headers = {name: value.decode() for name, value in letter.headers}
    place = f"{bus.name(FEEDBACK)}/{headers['x-dlq-partition']}/0/tester"
    assert (letter.key, letter.value) == (place.encode(), b"{swordfish")
    assert headers["x-dlq-key"] == b64encode(b"p-1").decode()
    assert headers["x-dlq-topic"] == bus.name(FEEDBACK)
    assert headers["x-dlq-offset"] == "0"
    assert headers["x-dlq-service"] == "tester"
    assert headers["x-dlq-reason"] == "decode_error"
    assert "swordfish" not in "".join(headers.values())


def test_a_broker_that_is_away_is_one_sentence() -> None:
    # In a process of its own: kafka-python leaves the socket of a refused connection to the garbage collector.
    code = (
        "from kafka import KafkaAdminClient; KafkaAdminClient.DEFAULT_CONFIG['bootstrap_timeout_ms'] = 500;"
        "from shared.kafka import Bus; Bus('127.0.0.1:1').create_topics()"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=DEADLINE_S)
    sentence = r"UnavailableError: Kafka at 127\.0\.0\.1:1 did not create the topics \(\w+\)\. Is it running\?$"
    assert re.search(sentence, done.stderr.strip())


def test_a_worker_is_ready_when_it_has_partitions(bus: Bus) -> None:
    bus.create_topics()
    pulse = Pulse()
    with contextlib.closing(bus.consumer("tester", (TRAINING_REQUESTS,), pulse)) as consumer:
        assert not pulse.ready
        deadline = time.monotonic() + DEADLINE_S
        while not consumer.assignment():
            assert time.monotonic() < deadline
            consumer.poll(timeout_ms=300)
        assert pulse.ready
