"""The turn: twice a second, decide, make it durable, announce it, and acknowledge the records that led to it."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import faust
from faust.types import TP

from services.aggregator.analyst import Analyst
from services.aggregator.join import Entry
from services.aggregator.joiner import Joiner
from services.aggregator.outbox import Outbox
from services.aggregator.shelf import Shelf
from services.aggregator.slices import Slice
from services.aggregator.topics import APP, OUTCOMES
from services.aggregator.triggers import Loop
from shared.kafka import SESSION_TIMEOUT_MS, Bus
from shared.observe import HANDLE_SECONDS, LAG, Pulse
from shared.topics import FEEDBACK

# What Faust may have on its way to the broker before it stops reading, by sleeping. Its default of 100 is less than one
# turn writes; the outbox bounds the amount by what it holds.
MAX_UNSENT = 100_000
TURN_S = 0.5  # feedback is counted within two turns; a crash repeats about so much work
LAST_TURN_S = SESSION_TIMEOUT_MS / 1000  # how long a rebalance or an end waits for the turn that is under way


@dataclass(frozen=True)
class Aggregator:
    """The parts of a running aggregator."""

    app: faust.App
    bus: Bus
    outbox: Outbox
    joiner: Joiner
    analyst: Analyst
    joins: Shelf[Entry]
    loops: Shelf[Loop]
    slices: Shelf[Slice]
    joins_table: Any
    pulse: Pulse

    def write(self) -> list[Any]:
        """Hand all changed values to Kafka."""
        return [*self.joins.write(), *self.loops.write(), *self.slices.write()]

    def forget(self) -> None:
        """Drop what is not durable: Kafka delivers its records again, here or to another worker."""
        self.outbox.forget_held()
        for shelf in (self.joins, self.loops, self.slices):
            shelf.forget_changes()


class Turns:
    """The turns of one aggregator while its partitions come and go."""

    def __init__(self, aggregator: Aggregator) -> None:
        """Make it; no turn is taken before the first recovery."""
        self._aggregator = aggregator
        self._turning = asyncio.Lock()
        self._revoked: int | None = None  # the last generation of the group whose partitions were taken

    async def take(self) -> None:
        """One turn, unless the partitions are being handed out."""
        if self._aggregator.pulse.ready:
            async with self._turning:
                with HANDLE_SECONDS.labels(APP).time():
                    await _turn(self._aggregator)

    async def finish(self, *_: Any, **__: Any) -> None:
        """No turn begins from now on, and the one under way ends: whoever comes next reads all that it wrote."""
        self._aggregator.pulse.ready = False
        with suppress(TimeoutError):  # the broker is away
            await asyncio.wait_for(self._turning.acquire(), LAST_TURN_S)
            self._turning.release()

    async def on_revoked(self, *_: Any, **__: Any) -> None:
        """The partitions may be another worker's now."""
        self._revoked = self._aggregator.app.consumer_generation_id
        await self.finish()
        self._aggregator.forget()

    async def on_assigned(self, *_: Any, **__: Any) -> None:
        """They are given out again. A broker that was emptied counts generations from one."""
        self._revoked = None

    async def on_recovered(self) -> None:
        """All tables are complete, and no record was handed to an agent yet."""
        if self._aggregator.app.consumer_generation_id == self._revoked:
            return  # the next rebalance began before this one's recovery had ended
        self._aggregator.app.producer.buffer.max_messages = MAX_UNSENT
        _recover(self._aggregator)
        self._aggregator.pulse.ready = True


def turn_regularly(aggregator: Aggregator) -> None:
    """Hook the turn and what a rebalance needs into the Faust app."""
    app, turns = aggregator.app, Turns(aggregator)

    async def touch() -> None:
        aggregator.pulse.touch()

    async def turn() -> None:
        while not app.should_stop:
            await turns.take()
            await app.sleep(TURN_S)

    app.on_partitions_revoked.connect(turns.on_revoked)
    app.on_partitions_assigned.connect(turns.on_assigned)
    app.on_before_shutdown.connect(turns.finish)
    aggregator.joins_table.on_recover(turns.on_recovered)
    # A turn waits while the broker is away; the loop that does so is alive all the same.
    app.timer(TURN_S, name=f"{APP}.touch")(touch)
    app.task(turn)


async def _turn(aggregator: Aggregator) -> None:
    now = time.time()
    aggregator.analyst.publish(now)
    aggregator.analyst.look(now)
    await aggregator.outbox.settle(aggregator.write())
    aggregator.analyst.announce()
    _measure(aggregator)


def _recover(aggregator: Aggregator) -> None:
    aggregator.forget()  # what was still handled after the partitions were taken
    owned: dict[str, set[int]] = {}
    for part in aggregator.app.consumer.assignment():
        owned.setdefault(part.topic, set()).add(part.partition)
    by_prediction = owned.get(aggregator.bus.name(FEEDBACK), set())
    by_model = owned.get(aggregator.bus.name(OUTCOMES), set())
    aggregator.joins.keep_only(by_prediction, FEEDBACK.partitions)
    aggregator.loops.keep_only(by_model, OUTCOMES.partitions)
    aggregator.slices.keep_only(by_model, OUTCOMES.partitions)
    aggregator.joiner.recover()
    aggregator.analyst.recover()


def _measure(aggregator: Aggregator) -> None:
    lag: dict[str, int] = {}
    for (topic, partition), done in aggregator.outbox.handled.items():
        end = aggregator.app.consumer.highwater(TP(topic, partition)) or done
        lag[topic] = lag.get(topic, 0) + max(0, end - done)
    for topic, events in lag.items():
        LAG.labels(APP, topic).set(events)
