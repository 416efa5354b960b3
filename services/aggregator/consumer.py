"""Faust's consumer, which neither skips a record nor hands one on out of turn when partitions move (docs/log.md).

To go back to the committed places, Faust moves the consumer while a task of its own reads from it. What that task has
in hand then is handed on all the same, and records that are read again count as old ones; if it is one record that was
lost so, the next are committed as if it had been handled. Here the task that reads is the only one that goes back: it
is asked to, drops what it has in hand, and reads on from there when the rebalance is over.

aiokafka leaves a partition of which nothing was committed where it stands. Here it begins anew.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from typing import Any

from aiokafka import AIOKafkaConsumer
from aiokafka.errors import IllegalStateError
from faust.transport.drivers import aiokafka
from faust.types import TP


class Places(aiokafka.AIOKafkaConsumerThread):
    """The thread that reads."""

    async def seek_to_committed(self) -> Mapping[TP, int]:
        """Go back to the committed offset of each partition, or to its beginning; tables are read by their own rules.

        Raises:
            IllegalStateError: a partition is another worker's now.
        """
        committed: Mapping[TP, int] = await self.call_thread(self._go_back, self._ensure_consumer())
        return committed

    async def _go_back(self, consumer: AIOKafkaConsumer) -> Mapping[TP, int | None]:
        committed: Mapping[TP, int | None] = await consumer.seek_to_committed()
        tables = self.app.tables.changelog_topics
        fresh = [part for part, offset in committed.items() if not offset and part.topic not in tables]
        for part, offset in (await consumer.beginning_offsets(fresh)).items():
            consumer.seek(part, offset)
        return committed


class Consumer(aiokafka.Consumer):
    """The consumer; one task asks it for records, again and again."""

    def __init__(self, *arguments: Any, **named: Any) -> None:
        super().__init__(*arguments, **named)
        self._must_go_back = False

    async def perform_seek(self) -> None:
        """Have the task that reads go back to the committed places before it hands on anything more."""
        self._must_go_back = True

    async def getmany(self, *arguments: Any, **named: Any) -> AsyncIterator[tuple[TP, Any]]:
        """The next records; while a rebalance goes on, those of tables alone."""
        app: Any = self.app
        if self._must_go_back and not app.rebalancing:
            await self._go_back()
        begun = app.rebalancing_count, app.consumer_generation_id

        def is_settled() -> bool:
            now = app.rebalancing_count, app.consumer_generation_id
            return not (self._must_go_back or app.rebalancing) and now == begun

        async for part, message in super().getmany(*arguments, **named):
            if self._is_changelog_tp(part) or is_settled():
                yield part, message
        self._must_go_back = not is_settled()

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Faust's look at whether a partition moves, which would end a process where it is just being placed.

        How far all are is told by `learnback_consumer_lag_events`.
        """

    async def _go_back(self) -> None:
        self._must_go_back = False  # first: it may be asked for again meanwhile
        try:
            await super().perform_seek()
        except (IllegalStateError, AssertionError):  # a partition, or all of them, went meanwhile
            self._must_go_back = True

    def _new_consumer_thread(self) -> Places:
        return Places(self, loop=self.loop, beacon=self.beacon)


class Transport(aiokafka.Transport):
    """What makes that consumer, and Faust's own producer."""

    Consumer = Consumer
