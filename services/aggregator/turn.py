"""The turn: twice a second, decide, make it durable, announce it, and acknowledge the records that led to it."""

from __future__ import annotations

import time
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
from shared.kafka import Bus
from shared.observe import HANDLE_SECONDS, LAG, Pulse
from shared.topics import FEEDBACK

# What Faust may have on its way to the broker before it stops reading, by sleeping. Its default of 100 is less than one
# turn writes; the outbox bounds the amount by what it holds.
MAX_UNSENT = 100_000
TURN_S = 0.5  # feedback is counted within two turns; a crash repeats about so much work


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


def turn_regularly(aggregator: Aggregator) -> None:
    """Hook the turn and what a rebalance needs into the Faust app."""
    app, pulse = aggregator.app, aggregator.pulse

    async def on_revoked(*_: Any, **__: Any) -> None:
        pulse.ready = False
        aggregator.outbox.forget_held()
        for shelf in (aggregator.joins, aggregator.loops, aggregator.slices):
            shelf.forget_changes()

    async def on_recover() -> None:
        app.producer.buffer.max_messages = MAX_UNSENT
        _recover(aggregator)
        pulse.ready = True

    async def touch() -> None:
        pulse.touch()

    async def turn() -> None:
        while not app.should_stop:
            if pulse.ready:
                with HANDLE_SECONDS.labels(APP).time():
                    await _turn(aggregator)
            await app.sleep(TURN_S)

    app.on_partitions_revoked.connect(on_revoked)
    # Called when all tables are complete and before any record is handed to an agent.
    aggregator.joins_table.on_recover(on_recover)
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
