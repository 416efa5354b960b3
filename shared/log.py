"""Where the HTTP services put events: the broker's log, which has them once `append` has returned."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import AsyncIterator, Sequence
from typing import Any, Protocol

import structlog
from aiokafka import AIOKafkaProducer
from aiokafka.errors import KafkaError

from schemas.events import Event
from shared.envelope import Outgoing, seal
from shared.errors import UnavailableError
from shared.ids import new_id
from shared.kafka import Bus
from shared.observe import EVENTS_OUT

LINGER_MS = 2  # concurrent requests share a batch; nobody notices 2 ms
BATCH_BYTES = 256 * 1024  # per partition: a list of 500 goes out in a few batches
REQUEST_TIMEOUT_MS = 5_000  # a frozen broker is given up after this and its requests are sent again
FLUSH_S = 5.0
RETRY_FIRST_S, RETRY_MOST_S = 0.2, 5.0


class Log(Protocol):
    """What the app needs of a log."""

    @property
    def ready(self) -> bool:
        """Whether events can be taken now."""

    def running(self) -> contextlib.AbstractAsyncContextManager[None]:
        """Within this context events can be appended; at its end all of them have been flushed."""

    async def append(self, events: Sequence[Event]) -> None:
        """Return when all events are durable.

        Raises:
            UnavailableError: they are not known to be; with the same ids it is harmless to send them again.
        """


class KafkaLog:
    """A log on Kafka. It connects in the background, and gets a new producer when the old one is broken.

    An idempotent producer that lost its place (OutOfOrderSequenceNumber, aiokafka issue 1017) refuses everything
    until it is made anew. It retries what can be retried itself, so each error that comes out of it means that.
    """

    def __init__(self, bus: Bus, service: str, ack_timeout_s: float = 2.0) -> None:
        """Make one for a bus and the service that writes; `ack_timeout_s` is how long `append` waits."""
        self.instance = new_id()  # this process: each record names it, so that what arrives can be held against counts
        self.service = service
        self._bus = bus
        self._ack_timeout_s = ack_timeout_s
        self._producer: AIOKafkaProducer | None = None
        self._connected = asyncio.Event()
        self._broken = asyncio.Event()
        self._confirms = True

    @property
    def ready(self) -> bool:
        """Whether the topics exist and a producer is connected."""
        return self._connected.is_set()

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep a producer connected; flush it at the end."""
        keeper = asyncio.create_task(self._keep())
        try:
            yield
        finally:
            keeper.cancel()
            await asyncio.wait([keeper])
            await _stop(self._producer)

    async def append(self, events: Sequence[Event]) -> None:
        """Send the events and wait for the acks of all of them. See `Log.append`."""
        producer = None
        try:
            async with asyncio.timeout(self._ack_timeout_s):
                await self._connected.wait()
                producer = self._producer
                await self._send(producer, [seal(event, instance=self.instance.encode()) for event in events])
        except TimeoutError:
            self._note(confirms=False)
            raise UnavailableError(f"Kafka did not confirm within {self._ack_timeout_s:g} s; send it again.") from None
        except KafkaError as error:
            self._note(confirms=False)
            if producer is self._producer:
                self._connected.clear()  # who comes next waits for the new one
                self._broken.set()
            raise UnavailableError(f"Kafka did not confirm ({type(error).__name__}); send it again.") from error
        self._note(confirms=True)
        for event in events:
            EVENTS_OUT.labels(self.service, type(event).__name__).inc()

    def _note(self, confirms: bool) -> None:
        """Log the change, not each request of an outage."""
        if confirms != self._confirms:
            self._confirms = confirms
            structlog.get_logger().warning("kafka_confirms" if confirms else "kafka_silent", servers=self._bus.servers)

    async def _send(self, producer: Any, records: list[Outgoing]) -> None:
        acks: list[asyncio.Future[Any]] = []
        try:
            for record in records:
                name = self._bus.name(record.topic)
                acks.append(await producer.send(name, record.value, record.key, headers=record.headers))
            await asyncio.gather(*acks)
        finally:
            for ack in acks:
                ack.cancel()

    async def _keep(self) -> None:
        while True:
            self._producer = await self._connect()
            self._connected.set()
            await self._broken.wait()
            structlog.get_logger().warning("producer_broken", servers=self._bus.servers)
            self._broken.clear()
            await _stop(self._producer)

    async def _connect(self) -> AIOKafkaProducer:
        delay = RETRY_FIRST_S
        while True:
            try:
                producer = await self._start()
            except (KafkaError, UnavailableError, OSError) as error:
                structlog.get_logger().warning("kafka_away", servers=self._bus.servers, error=type(error).__name__)
                await asyncio.sleep(delay * random.uniform(0.5, 1))
                delay = min(2 * delay, RETRY_MOST_S)
            else:
                structlog.get_logger().info("kafka_connected", servers=self._bus.servers)
                return producer

    async def _start(self) -> AIOKafkaProducer:
        """A started producer; it comes first since it tells at once that no broker answers, `create_topics` in 30 s."""
        producer = AIOKafkaProducer(
            bootstrap_servers=self._bus.servers,
            acks="all",
            enable_idempotence=True,
            linger_ms=LINGER_MS,
            max_batch_size=BATCH_BYTES,
            request_timeout_ms=REQUEST_TIMEOUT_MS,
        )
        try:
            await producer.start()
            await asyncio.to_thread(self._bus.create_topics)
        except BaseException:
            await _stop(producer)
            raise
        return producer


async def _stop(producer: AIOKafkaProducer | None) -> None:
    """Flush and close, but do not wait for ever: aiokafka would, as long as the broker is away."""
    if producer is not None:
        with contextlib.suppress(TimeoutError, KafkaError):
            async with asyncio.timeout(FLUSH_S):
                await producer.stop()
