"""The aggregator's consumer while partitions move: what is dropped, what is handed on, and when it goes back."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka
from faust.types import TP

from services.aggregator.app import create
from services.aggregator.consumer import Consumer, Places
from services.aggregator.settings import AggregatorSettings
from shared.kafka import Bus
from shared.observe import Pulse
from shared.policy import PolicyFile

DATA, TABLE = TP("feedback", 0), TP("changelog", 0)


class Reading:
    """The product's consumer on a broker of this test: `batch` is what a fetch brings, `during` what happens then."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        bus = Bus("nowhere:9092", prefix="t")
        self.app: Any = create(bus, AggregatorSettings(data_dir=folder), PolicyFile(), Pulse(), {}).app
        self.consumer = self.app.consumer
        self.batch: list[TP] = [DATA, DATA]
        self.during: Callable[[], None] = lambda: None
        self.seeks = 0
        self.fails: Exception | None = None

        async def getmany(*_: Any, **__: Any) -> Any:
            self.during()
            for number, part in enumerate(self.batch):
                yield part, number

        async def perform_seek(_: Any) -> None:
            self.seeks += 1
            if self.fails:
                raise self.fails

        monkeypatch.setattr(aiokafka.Consumer, "getmany", getmany)
        monkeypatch.setattr(aiokafka.Consumer, "perform_seek", perform_seek)
        monkeypatch.setattr(self.consumer, "_is_changelog_tp", lambda part: part == TABLE)

    async def read(self) -> list[tuple[TP, int]]:
        return [found async for found in self.consumer.getmany(1.0)]

    def begins(self) -> None:
        self.app.rebalancing = True
        self.app.rebalancing_count += 1

    def ends(self) -> None:
        self.app.rebalancing = False

    def passes(self) -> None:
        self.begins()
        self.app.consumer_generation_id += 1
        self.ends()


@pytest.fixture
async def reading(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Reading:
    return Reading(tmp_path, monkeypatch)


async def test_the_aggregator_reads_by_it(reading: Reading) -> None:
    assert isinstance(reading.consumer, Consumer)
    assert isinstance(reading.consumer._thread, Places)
    assert await reading.read() == [(DATA, 0), (DATA, 1)]
    assert reading.seeks == 0


async def test_a_batch_that_was_asked_for_before_a_rebalance_is_dropped_and_read_again_after_it(
    reading: Reading,
) -> None:
    reading.during = reading.begins
    assert await reading.read() == []
    reading.during = lambda: None
    assert await reading.read() == []  # it goes on
    assert reading.seeks == 0
    reading.ends()
    assert await reading.read() == [(DATA, 0), (DATA, 1)]
    assert reading.seeks == 1


async def test_a_rebalance_that_came_and_went_during_a_fetch_is_noticed(reading: Reading) -> None:
    reading.during = reading.passes
    assert await reading.read() == []
    reading.during = lambda: None
    assert await reading.read() == [(DATA, 0), (DATA, 1)]
    assert reading.seeks == 1


async def test_a_rebalance_in_the_middle_of_a_batch_keeps_its_rest_back(reading: Reading) -> None:
    handed_on = []
    async for found in reading.consumer.getmany(1.0):
        handed_on.append(found)
        reading.begins()
    reading.ends()
    assert handed_on == [(DATA, 0)]
    await reading.read()
    assert reading.seeks == 1


async def test_tables_are_read_during_a_rebalance(reading: Reading) -> None:
    reading.begins()
    reading.batch = [TABLE, DATA, TABLE]
    assert await reading.read() == [(TABLE, 0), (TABLE, 2)]


async def test_the_task_that_reads_is_the_one_that_goes_back(reading: Reading) -> None:
    """Asked to by another one while a batch is in hand, it drops that first."""
    handed_on = []
    async for found in reading.consumer.getmany(1.0):
        handed_on.append(found)
        await reading.consumer.perform_seek()
        assert reading.seeks == 0
    assert handed_on == [(DATA, 0)]
    assert await reading.read() == [(DATA, 0), (DATA, 1)]
    assert reading.seeks == 1


@pytest.mark.parametrize("error", [IllegalStateError("not assigned"), AssertionError("none")])
async def test_partitions_that_went_while_it_went_back_are_left_to_the_next_time(
    reading: Reading, error: Exception
) -> None:
    reading.fails = error
    await reading.consumer.perform_seek()
    assert await reading.read() == []
    reading.fails = None
    assert await reading.read() == [(DATA, 0), (DATA, 1)]
    assert reading.seeks == 2
