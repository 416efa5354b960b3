"""Turns while partitions are taken: what is under way ends first, and what is not durable is told by nobody."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import pytest

from services.aggregator import turn
from services.aggregator.analyst import Analyst
from services.aggregator.join import Entry
from services.aggregator.joiner import Joiner
from services.aggregator.outbox import Outbox
from services.aggregator.shelf import Shelf
from services.aggregator.slices import Slice
from services.aggregator.tally import Tally
from services.aggregator.triggers import Loop
from services.aggregator.turn import Aggregator, Turns
from shared.kafka import Bus
from shared.observe import Pulse
from shared.policy import PolicyFile
from tests.unit.aggregator_facts import judged

BUS = Bus("nowhere:9092", prefix="t")
POLICIES = PolicyFile()


class Broker:
    """Takes what is sent, and answers when it is told to."""

    def __init__(self) -> None:
        self.written: list[bytes] = []
        self.facts = 0
        self.acknowledged = 0
        self.answer = asyncio.Event()

    def send(self, topic: str, *_: Any) -> Awaitable[Any]:
        self.facts += topic.endswith("aggregator-outcomes.v1")
        return self.answer.wait()

    def change(self, partition: int | None, key: bytes, *_: Any) -> Awaitable[Any]:
        self.written.append(key)
        return self.answer.wait()

    async def acknowledge(self) -> None:
        self.acknowledged += 1

    def table(self) -> Any:
        return SimpleNamespace(data={}, send_changelog=self.change)


def aggregator_on(broker: Broker) -> Aggregator:
    outbox = Outbox(BUS, broker.send)
    joins, loops, slices = Shelf(broker.table(), Entry), Shelf(broker.table(), Loop), Shelf(broker.table(), Slice)
    consumer = SimpleNamespace(highwater=lambda _: 0, assignment=set)
    producer = SimpleNamespace(buffer=SimpleNamespace())
    app: Any = SimpleNamespace(consumer=consumer, producer=producer, consumer_generation_id=1)
    return Aggregator(
        app=app,
        bus=BUS,
        outbox=outbox,
        joiner=Joiner(joins, 10, outbox.tell, POLICIES),
        analyst=Analyst(loops, Tally(slices, POLICIES, outbox.emit), POLICIES, outbox.emit),
        joins=joins,
        loops=loops,
        slices=slices,
        joins_table=None,
        pulse=Pulse(ready=True),
    )


async def handle(aggregator: Aggregator, broker: Broker, offset: int) -> None:
    """What an agent does with a record that judges."""
    aggregator.joins.put(f"p{offset}", Entry(partition=0, at=0.0))
    aggregator.outbox.tell(judged().model_copy(update={"offset": offset}))
    record = SimpleNamespace(topic="t", partition=0, offset=offset)
    await aggregator.outbox.hold(record, broker.acknowledge)


def played(story: Callable[[Broker, Aggregator, Turns], Awaitable[None]]) -> Broker:
    async def play() -> Broker:
        broker = Broker()
        aggregator = aggregator_on(broker)
        turns = Turns(aggregator)
        await handle(aggregator, broker, 7)
        await story(broker, aggregator, turns)
        return broker

    return asyncio.run(play())


async def soon() -> None:
    await asyncio.sleep(0.01)


def test_partitions_are_given_up_when_the_turn_under_way_has_ended() -> None:
    async def story(broker: Broker, aggregator: Aggregator, turns: Turns) -> None:
        under_way = asyncio.create_task(turns.take())
        await soon()
        revoked = asyncio.create_task(turns.on_revoked())
        await soon()
        assert not revoked.done()
        broker.answer.set()
        await revoked
        assert under_way.done()
        await turns.take()  # none begins before the next recovery

    broker = played(story)
    assert (broker.written, broker.facts, broker.acknowledged) == ([b"p7"], 1, 1)


def test_a_turn_that_the_broker_does_not_answer_tells_and_acknowledges_nothing_afterwards(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(turn, "LAST_TURN_S", 0.01)

    async def story(broker: Broker, aggregator: Aggregator, turns: Turns) -> None:
        under_way = asyncio.create_task(turns.take())
        await soon()
        await turns.on_revoked()
        broker.answer.set()
        await under_way

    broker = played(story)
    assert (broker.written, broker.facts, broker.acknowledged) == ([b"p7"], 0, 0)


def test_what_is_handled_after_the_partitions_were_taken_is_forgotten() -> None:
    async def story(broker: Broker, aggregator: Aggregator, turns: Turns) -> None:
        broker.answer.set()
        await turns.on_revoked()
        await handle(aggregator, broker, 8)
        await turns.on_recovered()  # of the generation that is over
        await turns.take()
        aggregator.app.consumer_generation_id = 2
        await turns.on_recovered()
        await handle(aggregator, broker, 9)
        await turns.take()

    broker = played(story)
    assert (broker.written, broker.facts, broker.acknowledged) == ([b"p9"], 1, 1)


async def test_a_generation_of_the_same_number_is_another_one_after_a_broker_was_emptied() -> None:
    aggregator = aggregator_on(Broker())
    turns = Turns(aggregator)
    await turns.on_revoked()
    await turns.on_recovered()
    assert not aggregator.pulse.ready
    await turns.on_assigned()
    await turns.on_recovered()
    assert aggregator.pulse.ready
