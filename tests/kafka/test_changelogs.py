"""The aggregator's tables come back from their changelogs in bulk, and Faust reads on from where that stopped."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import pytest
from confluent_kafka import Producer
from faust import App
from faust.types import TP

from services.aggregator.changelogs import Changelogs, Contents
from services.aggregator.tables import Table
from services.aggregator.topics import CHANGELOGS, INTERNAL, JOINS
from shared.kafka import Bus
from tests.conftest import free_port

pytestmark = pytest.mark.kafka

JOINS_TOPIC = next(topic for topic in CHANGELOGS if topic.table == JOINS)


@contextmanager
def writing(bus: Bus) -> Iterator[Producer]:
    bus.create_topics(INTERNAL)
    producer = Producer({"bootstrap.servers": bus.servers})
    yield producer
    assert not producer.flush(30)


def test_the_newest_value_of_each_key_is_read_and_how_far(bus: Bus) -> None:
    topic = bus.name(JOINS_TOPIC)
    with writing(bus) as producer:
        for number in range(20_000):
            producer.produce(topic, b"%d" % number, b"key %d" % (number % 100), partition=number % 2)
        producer.produce(topic, None, b"key 7", partition=1)
        producer.produce(topic, None, b"never there", partition=1)
    kept = Changelogs(bus, CHANGELOGS).read()
    assert set(kept) == {bus.name(one) for one in CHANGELOGS}
    assert kept[topic].values == {b"key %d" % key: b"%d" % (19_900 + key) for key in range(100) if key != 7}
    assert kept[topic].offsets == {(topic, part): {0: 9_999, 1: 10_001}.get(part, -1) for part in range(6)}


def test_a_broker_that_does_not_answer_is_left_to_faust(bus: Bus) -> None:
    nowhere = replace(bus, servers=f"127.0.0.1:{free_port()}")
    kept = Changelogs(nowhere, CHANGELOGS).read(quiet_s=0.5)
    assert all(one == Contents() for one in kept.values())


async def test_a_table_tells_once_how_far_it_was_read() -> None:
    """Told again after its partition was another worker's, what that one wrote would be missing here."""
    app = App("none", store="memory://", Table=Table, key_serializer="raw", value_serializer="raw")
    table = app.Table("joins", key_type=bytes, value_type=bytes, partitions=2)
    assert isinstance(table, Table)
    ours, theirs = TP("joins", 0), TP("joins", 1)
    table.begin(Contents({b"a": b"1"}, {ours: 4, theirs: 9}))
    assert table.data[b"a"] == b"1"
    assert table.persisted_offset(ours) == 4
    assert table.persisted_offset(ours) is None
    await table.on_recovery_completed({ours}, set())
    assert table.persisted_offset(theirs) is None
