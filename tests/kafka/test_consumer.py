"""Where Faust goes back to: also in a partition of which its group has committed nothing."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import Producer

from services.aggregator.consumer import Places
from services.aggregator.topics import APP, INTERNAL, OUTCOMES
from shared.kafka import Bus

pytestmark = pytest.mark.kafka


class Here(Places):
    """The thread's own calls, on the loop of the test."""

    def __init__(self, consumer: AIOKafkaConsumer, tables: set[str]) -> None:
        self._consumer = consumer
        self.app: Any = SimpleNamespace(tables=SimpleNamespace(changelog_topics=tables))

    async def call_thread(self, fun: Callable[..., Awaitable[Any]], *arguments: Any, **named: Any) -> Any:
        return await fun(*arguments, **named)


@pytest.mark.parametrize(("committed", "is_table", "again"), [(False, False, 0), (True, False, 1), (False, True, 2)])
async def test_what_was_read_and_not_committed_is_read_again(
    bus: Bus, committed: bool, is_table: bool, again: int
) -> None:
    bus.create_topics(INTERNAL)
    topic = bus.name(OUTCOMES)
    producer = Producer({"bootstrap.servers": bus.servers})
    for number in range(4):
        producer.produce(topic, b"%d" % number, partition=0)
    assert not producer.flush(30)
    async with AIOKafkaConsumer(
        topic,
        bootstrap_servers=bus.servers,
        group_id=bus.group(APP),
        enable_auto_commit=False,
        auto_offset_reset="earliest",
    ) as consumer:
        first = await consumer.getone()
        if committed:
            await consumer.commit()
        assert [first.offset, (await consumer.getone()).offset] == [0, 1]
        await Here(consumer, {topic} if is_table else set()).seek_to_committed()
        assert (await consumer.getone()).offset == again
