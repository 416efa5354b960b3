"""The recorder's member of its group: whoever takes its name ends it, instead of leaving it deaf and ready."""

from __future__ import annotations

import time
from collections import defaultdict
from dataclasses import replace

import pytest
from confluent_kafka import Producer, TopicPartition

from services.recorder import timeline
from services.recorder.feed import Feed
from services.recorder.records import Part, Record
from shared.errors import FatalError
from shared.kafka import Bus
from shared.topics import FEEDBACK, PREDICTIONS

pytestmark = pytest.mark.kafka
DEADLINE_S = 30
ANSWERS = 4000


def test_a_recorder_whose_place_was_given_to_another_ends(bus: Bus) -> None:
    named = replace(bus, instance="one")
    first = Feed.open(named, "recorder", (FEEDBACK,), dict)
    poll_until_ready(first)
    second = Feed.open(named, "recorder", (FEEDBACK,), dict)
    try:
        poll_until_ready(second)
        with pytest.raises(FatalError, match="started again"):
            poll_for(first, DEADLINE_S)
    finally:
        first.close()
        second.close()


def test_feedback_of_a_backlog_comes_after_its_prediction(bus: Bus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Though it is a tenth as long, so that Kafka sends it sooner, and has to be held back and fetched again."""
    monkeypatch.setattr(timeline, "FULL", 20_000)
    monkeypatch.setattr(timeline, "ROOM", 5_000)
    ids = [f"p{number}" for number in range(ANSWERS)]
    producer = Producer({"bootstrap.servers": bus.servers, "acks": "all"})
    for start in range(0, ANSWERS, 100):
        for topic, size in ((PREDICTIONS, 2000), (FEEDBACK, 200)):
            for key in ids[start : start + 100]:
                producer.produce(bus.name(topic), key.ljust(size), key)
            assert producer.flush(DEADLINE_S) == 0
    feed = Feed.open(bus, "recorder", (PREDICTIONS, FEEDBACK), dict)
    came: dict[Part, list[Record]] = defaultdict(list)
    known: set[bytes | None] = set()
    held_back, early, deadline = 0, 0, time.monotonic() + DEADLINE_S
    try:
        while sum(map(len, came.values())) < 2 * ANSWERS:
            assert time.monotonic() < deadline, "not everything came"
            polled = feed.poll(500, 0.1)
            held_back += len(feed.paused)
            known |= {one.key for part, some in polled.items() if part.topic == bus.name(PREDICTIONS) for one in some}
            for part, some in polled.items():
                early += part.topic == bus.name(FEEDBACK) and sum(one.key not in known for one in some)
                came[part] += some
    finally:
        feed.close()
    assert all([one.offset for one in some] == list(range(len(some))) for some in came.values())
    assert held_back
    assert early <= ANSWERS / 100, early  # what was written in the same millisecond


def test_nobody_waits_for_ever_for_a_partition_whose_broker_is_away(bus: Bus) -> None:
    feed = Feed.open(bus, "recorder", (PREDICTIONS, FEEDBACK), dict)
    try:
        poll_until_ready(feed)
        silent = next(part for part in feed.places if part.topic == bus.name(PREDICTIONS))
        feed.consumer.pause([TopicPartition(*silent)])  # as if its records did not come
        feed._end_of = lambda part, unheard: 1 if part == silent else unheard - 1  # type: ignore[method-assign]
        producer = Producer({"bootstrap.servers": bus.servers, "acks": "all"})
        producer.produce(bus.name(FEEDBACK), b"said", b"p1")
        assert producer.flush(DEADLINE_S) == 0
        deadline = time.monotonic() + DEADLINE_S
        while not (polled := feed.poll(10, 0.2)):
            assert time.monotonic() < deadline, "the feedback waits"
    finally:
        feed.close()
    assert [one.value for some in polled.values() for one in some] == [b"said"]


def poll_until_ready(feed: Feed) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not feed.ready:
        assert time.monotonic() < deadline, "it was given no partitions"
        feed.poll(10, 0.2)


def poll_for(feed: Feed, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        feed.poll(10, 0.2)
