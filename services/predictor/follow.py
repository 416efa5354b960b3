"""Follows the compacted models topic: what holds now, then each change as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import aclosing

import structlog
from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from schemas.events import ModelStateChanged
from shared.kafka import Bus
from shared.states import States, apply
from shared.topics import MODELS

POLL_MS = 200
RETRY_S = 2.0

log = structlog.get_logger()


async def states(bus: Bus) -> AsyncGenerator[list[ModelStateChanged], None]:
    """First one list with every model's champion and canary (perhaps empty), then a list whenever something changed.

    When the broker goes away, it waits and starts over; a state told twice changes nothing.
    """
    while True:
        try:
            async with aclosing(_follow(bus)) as following:
                async for news in following:
                    yield news
        except KafkaError as error:
            log.warning("models_topic_away", error=type(error).__name__)
            await asyncio.sleep(RETRY_S)


async def _follow(bus: Bus) -> AsyncGenerator[list[ModelStateChanged], None]:
    parts = [TopicPartition(bus.name(MODELS), part) for part in range(MODELS.partitions)]
    consumer = AIOKafkaConsumer(bootstrap_servers=bus.servers, enable_auto_commit=False, auto_offset_reset="earliest")
    try:
        await consumer.start()
        consumer.assign(parts)
        await consumer.seek_to_beginning(*parts)
        ends = await consumer.end_offsets(parts)
        known: States = {}
        while any([await consumer.position(part) < ends[part] for part in parts]):
            known = apply(known, await _poll(consumer))
        yield _in_order(known)
        while True:
            if changed := apply({}, await _poll(consumer)):
                yield _in_order(changed)
    finally:
        await consumer.stop()


async def _poll(consumer: AIOKafkaConsumer) -> list[object]:
    batches = await consumer.getmany(timeout_ms=POLL_MS)
    return [record for records in batches.values() for record in records]


def _in_order(changed: States) -> list[ModelStateChanged]:
    """Champions before canaries: a canary that was promoted is loaded once."""
    return [state for _, state in sorted(changed.items(), key=lambda one: (one[0][1] != "champion", one[0][0]))]
