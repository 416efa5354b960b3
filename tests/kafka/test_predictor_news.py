"""How the predictor hears of model states on a real broker: what holds, then each change, whatever else is there."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import uuid

import pytest

from schemas.events import ModelStateChanged
from services.predictor.follow import states
from shared.kafka import Bus
from tests.conftest import free_port
from tests.kafka.models_topic import poison, publish
from tests.unit.events import EXAMPLES

pytestmark = pytest.mark.kafka


async def test_the_news_are_what_holds_now_and_then_each_change(bus: Bus) -> None:
    first = next(event for event in EXAMPLES if isinstance(event, ModelStateChanged))
    second = first.model_copy(update={"version": "v-3"})
    canary = first.model_copy(update={"version": "v-4", "alias": "canary"})
    elsewhere = first.model_copy(update={"model": "a-model"})
    await asyncio.to_thread(publish, bus, elsewhere, second, canary, first)
    await asyncio.to_thread(poison, bus, second)
    news = states(bus)
    async with asyncio.timeout(60), contextlib.aclosing(news):
        assert await anext(news) == [elsewhere, first, canary]
        await asyncio.to_thread(poison, bus, first)
        await asyncio.to_thread(publish, bus, second)
        assert await anext(news) == [second]


async def test_the_news_wait_for_topics_that_are_not_there_yet(kafka_servers: str) -> None:
    bus = Bus(kafka_servers, f"t{uuid.uuid4().hex[:10]}")
    news = states(bus)
    async with asyncio.timeout(60), contextlib.aclosing(news):
        first = asyncio.ensure_future(anext(news))
        await asyncio.to_thread(bus.create_topics)
        assert await first == []


async def test_without_a_broker_the_news_wait_and_leave_nothing_open() -> None:
    news = states(Bus(f"127.0.0.1:{free_port()}"))
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1), contextlib.aclosing(news):
            await anext(news)
    gc.collect()  # a consumer that was left open would warn, and a warning fails the test
