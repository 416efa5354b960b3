"""Where the HTTP services put events: the broker's log, which has them once `append` has returned."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Literal, Protocol

import structlog

from shared.envelope import Outgoing, Sealed
from shared.errors import UnavailableError, UnconfirmedError
from shared.ids import new_id
from shared.kafka import Bus
from shared.observe import EVENTS_OUT
from shared.producer import Batch, Line

MAX_HELD = 64 * 1024 * 1024  # bytes that may wait for the broker: two seconds of the most that one process can take
WATCH_S = 0.1
SIZE, TYPE = attrgetter("size"), attrgetter("event_type")
FLUSH_S = 5.0


@dataclass(frozen=True)
class Kept:
    """Where events are durable, and how full that is (0–1)."""

    where: Literal["broker", "spool"] = "broker"
    fullness: float = 0.0


class Log(Protocol):
    """What an app needs of a log."""

    @property
    def instance(self) -> str:
        """The name of this process, which its records carry."""

    @property
    def ready(self) -> bool:
        """Whether events can be taken now."""

    @property
    def degraded(self) -> bool:
        """Whether they are taken, but not by the broker."""

    def running(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Within this context events can be appended; at its end all of them have been flushed."""

    async def append(self, events: Sequence[Sealed]) -> Kept:
        """Return when all events are durable.

        Raises:
            UnavailableError: they are not, and none of them is anywhere.
            UnconfirmedError: they are not known to be; with the same ids it is harmless to send them again.
        """


class KafkaLog:
    """A log on Kafka. It connects in the background, and takes a new producer when the old one is broken.

    An idempotent producer that lost its place refuses everything until it is made anew (librdkafka issue 3584), and
    one that had to wait for a frozen broker may lose some (4134). So whatever a producer reports as failed, or does
    not report in time, is the end of that producer; what it reports as delivered is on the broker.
    """

    def __init__(self, bus: Bus, service: str, ack_timeout_s: float = 2.0) -> None:
        """Make one for a bus and the service that writes; `ack_timeout_s` is how long events wait for the broker."""
        self.instance = new_id()  # this process: each record names it, so that what arrives can be held against counts
        self.service = service
        self._bus = bus
        self._ack_timeout_s = ack_timeout_s
        self._line: Line | None = None
        self._up = asyncio.Event()

    @property
    def ready(self) -> bool:
        """Whether the topics exist and a producer is connected."""
        return self._up.is_set()

    @property
    def degraded(self) -> bool:
        """Never: there is nothing but the broker."""
        return False

    async def wait_ready(self) -> None:
        """Return when the broker answers."""
        await self._up.wait()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep a producer connected; flush it at the end."""
        self._line = line = Line(self._bus, self._on_change)
        watchman = asyncio.create_task(self._watch())
        try:
            yield
        finally:
            line, self._line = self._line, None
            self._up.clear()
            await _flush(line)
            watchman.cancel()
            line.give_up()
            await asyncio.to_thread(line.join, FLUSH_S)

    async def append(self, events: Sequence[Sealed]) -> Kept:
        """Send the events and wait until the broker has confirmed all of them. See `Log.append`."""
        if not self._up.is_set():
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._ack_timeout_s):
                    await self._up.wait()
        await self.send([one.record for one in events])
        self.count(events)
        return Kept()

    def count(self, events: Sequence[Sealed]) -> None:
        """Count events that are on the broker."""
        for event_type, number in Counter(map(TYPE, events)).items():
            EVENTS_OUT.labels(self.service, event_type.__name__).inc(number)

    async def send(self, records: Sequence[Outgoing]) -> None:
        """Send records now, or not at all. Raises as `Log.append`."""
        await self.confirm(self.produce(records))

    def produce(self, records: Sequence[Outgoing]) -> Batch:
        """Hand records over to a connected producer. Raises as `Log.append`."""
        line, size = self._line, sum(map(SIZE, records))
        if line is None or not line.up:
            raise UnavailableError("Kafka is away; send it again.")
        if line.held + size > MAX_HELD:
            raise UnavailableError("Too many events wait for Kafka; send it again.")
        try:
            return line.produce(records, size)
        except BufferError:
            self._replace(line, "its queue is full")
            raise UnconfirmedError("Kafka's client did not take all of it; send it again with the same ids.") from None

    async def confirm(self, batch: Batch) -> None:
        """Wait until the broker has confirmed all of a batch.

        Raises:
            UnconfirmedError: it has not, and may have them all the same.
        """
        await batch.future
        if batch.error is None:
            return
        self._replace(batch.line, batch.error)
        raise UnconfirmedError(f"Kafka did not confirm ({batch.error}); send it again with the same ids.")

    async def _watch(self) -> None:
        """Give a producer up that has not confirmed its oldest batch in time: one clock for all requests."""
        while True:
            await asyncio.sleep(WATCH_S)
            line = self._line
            if line and self._is_late(line):
                line.poll()  # it may be this process that was late
                if self._is_late(line):
                    self._replace(line, "no confirmation in time")

    def _is_late(self, line: Line) -> bool:
        oldest = next(iter(line.open), None)
        return oldest is not None and time.monotonic() - oldest.at > self._ack_timeout_s

    def _replace(self, line: Line, why: str) -> None:
        line.give_up()
        if line is self._line:
            structlog.get_logger().warning("producer_given_up", servers=self._bus.servers, reason=why)
            self._up.clear()
            self._line = Line(self._bus, self._on_change)

    def _on_change(self, line: Line) -> None:
        if line is not self._line:
            return
        if line.broken:
            self._replace(line, "the broker is gone")
        elif line.up:
            structlog.get_logger().info("kafka_connected", servers=self._bus.servers)
            self._up.set()


async def _flush(line: Line) -> None:
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(FLUSH_S):
            while line.open:
                await asyncio.wait([batch.future for batch in line.open])
