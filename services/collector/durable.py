"""The collector's log: Kafka, and the spool when Kafka is slow or away.

While the spool holds anything, everything goes through it, so that events of one key stay in their order; it is drained
from its head, and an event leaves it once the broker has confirmed it. What was confirmed twice, because a crash came
between, has the same id both times.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence

from schemas.events import UserErased
from services.collector.spool import Spool
from shared.crash import crash_point
from shared.envelope import Sealed
from shared.errors import UnavailableError, UnconfirmedError
from shared.log import KafkaLog, Kept

DRAIN = 2_000  # events in one round of draining: one wait for the broker, one fsync
IDLE_S = 0.2
FLUSH_S = 5.0


class DurableLog:
    """A log that takes events as long as the broker or the disk does. See `shared.log.Log`."""

    def __init__(self, kafka: KafkaLog, spool: Spool) -> None:
        """Make one of both; the spool is closed with it."""
        self.instance, self.service = kafka.instance, kafka.service
        self._kafka = kafka
        self._spool = spool
        self._filled, self._drained = asyncio.Event(), asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether events can be taken now, by the broker or by the spool."""
        return self._kafka.ready or self._spool.has_room

    @property
    def degraded(self) -> bool:
        """Whether events go to the spool."""
        return not self._kafka.ready or self._spool.events > 0

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep draining; at the end drain what the broker takes in time, the rest waits for the next start."""
        async with self._kafka.running():
            self._filled.set()  # what an earlier run left
            drainer = asyncio.create_task(self._drain())
            try:
                yield
            finally:
                await self._last_drain()
                drainer.cancel()
                await asyncio.wait([drainer])
                await self._spool.close()

    async def append(self, events: Sequence[Sealed]) -> Kept:
        """Return when all events are on the broker, or on the disk. Raises as `Log.append`."""
        records = [one.record for one in events]
        in_doubt = False
        if not self.degraded:
            try:
                batch = self._kafka.produce(records)
                crash_point("collector.after_produce")
                await self._kafka.confirm(batch)
            except UnavailableError as error:
                in_doubt = isinstance(error, UnconfirmedError)
            else:
                self._kafka.count(events)
                return Kept()
        try:
            await self._spool.put(records, [_whose(one) for one in events])
            in_doubt = True
            await self._forget(events)
        except UnavailableError as error:
            # 503 promises that nothing is kept: not when the broker may still have taken some of it.
            raise UnconfirmedError(str(error)) if in_doubt else error from None
        self._drained.clear()
        self._filled.set()
        return Kept("spool", self._spool.fullness)

    async def _forget(self, events: Sequence[Sealed]) -> None:
        """An erasure that had to be spooled takes its user's events with it: the broker may be away for days."""
        for event in events:
            if event.event_type is UserErased and event.user_key:
                await self.erase(event.user_key)

    async def erase(self, user_key: str) -> int:
        """Empty a user's events in the spool for good; returns how many there were."""
        return await self._spool.erase(user_key)

    async def _drain(self) -> None:
        while True:
            await self._filled.wait()
            await self._kafka.wait_ready()
            self._filled.clear()
            try:
                drained = await self._drain_some()
            except UnavailableError:
                await asyncio.sleep(IDLE_S)
                drained = True
            if drained:
                self._filled.set()
            else:
                self._drained.set()

    async def _drain_some(self) -> bool:
        spooled = await self._spool.head(DRAIN)
        if spooled:
            await self._kafka.send([entry.record for entry in spooled])
            crash_point("collector.mid_spool_drain")
            await self._spool.remove(spooled)
        return bool(spooled)

    async def _last_drain(self) -> None:
        if self._kafka.ready:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._drained.wait(), FLUSH_S)


def _whose(event: Sealed) -> str | None:
    """The user whose words an event holds; an erasure holds none, and must outlive what it erases."""
    return None if event.event_type is UserErased else event.user_key
