"""One producer of librdkafka: from the first greeting until it is given up.

What may wait, the greeting and the withdrawal, is done in a thread. In between the event loop itself asks for delivery
reports, a thousand times a second while there are any to come: each report takes the GIL, and would otherwise take it
from the thread that serves requests (decision 0009). A line that is given up withdraws what it still holds, so that
each batch learns its fate at once: what had not left is known to be nowhere, what had left may be on the broker. It is
never used again; whoever needs one makes a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import structlog
from confluent_kafka import KafkaError, KafkaException, Producer

from shared.envelope import Outgoing
from shared.errors import ConfigError, UnavailableError
from shared.kafka import Bus
from shared.observe import PRODUCER_FATAL

LINGER_MS = 5  # as Kafka's own since 4.0 (KIP-1030): one request for all that come within; each costs the broker 60 µs
BATCH_BYTES = 256 * 1024  # per partition: a list of 500 goes out in a few requests
GREETING_S = 2.0
RETRY_FIRST_S, RETRY_MOST_S = 0.2, 2.0
POLL_S = 0.001  # between two looks for reports
IDLE_S = 0.1  # when there are none to come: errors are told all the same
WITHDRAWAL_S = 1.0

OPTIONS: dict[str, Any] = {
    "acks": "all",
    "enable.idempotence": True,
    "partitioner": "murmur2_random",  # where Java, kafka-python and Faust put the same key
    "linger.ms": LINGER_MS,
    "batch.size": BATCH_BYTES,
    "socket.nagle.disable": True,
    "reconnect.backoff.max.ms": 1_000,
    "log_level": 0,  # it tells an outage ten times a second; the log here tells it once
}


class Batch:
    """Records that are confirmed together: counted down as their reports come in."""

    __slots__ = ("at", "error", "future", "line", "size", "waiting")

    def __init__(self, line: Line, count: int, size: int) -> None:
        """Make one for so many records and bytes."""
        self.line = line
        self.waiting = count
        self.size = size
        self.at = time.monotonic()
        self.future: asyncio.Future[None] = line.loop.create_future()
        self.error: str | None = None

    def told(self, error: KafkaError | None, _message: object) -> None:
        """One record's delivery report."""
        if error is not None:
            self.error = error.name()
        self.waiting -= 1
        if not self.waiting:
            self.line.finished.append(self)


class Line:
    """One producer. All but the thread's own methods belong to the event loop."""

    def __init__(self, bus: Bus, changed: Callable[[Line], None]) -> None:
        """Start one; `changed` is called in the loop when it is up, when it has broken, and when it has ended."""
        self.loop = asyncio.get_running_loop()
        self.up = False
        self.broken = False
        self.open: dict[Batch, None] = {}  # oldest first
        self.held = 0  # bytes of them
        self.finished: list[Batch] = []
        self._bus = bus
        self._changed = changed
        self._given_up = threading.Event()
        self._producer = Producer({"bootstrap.servers": bus.servers, "error_cb": self._on_error, **OPTIONS})
        self._next_poll: asyncio.TimerHandle | None = None
        self._thread = threading.Thread(target=self._live, name="producer", daemon=True)
        self._thread.start()

    def produce(self, records: Sequence[Outgoing], size: int) -> Batch:
        """Hand records over; the batch's future is done when all are confirmed or given up.

        Raises:
            BufferError: librdkafka's own queue is full; the line must be given up, since some may have been taken.
        """
        batch = Batch(self, len(records), size)
        self.open[batch] = None
        self.held += size
        produce, told, name, topic = self._producer.produce, batch.told, "", None
        for record in records:
            if record.topic is not topic:  # most lists go to one
                topic, name = record.topic, self._bus.name(record.topic)
            produce(name, record.value, record.key, headers=record.headers, on_delivery=told)  # type: ignore[arg-type]
        if len(self.open) == 1:  # it was idle
            self._poll_in(POLL_S)
        return batch

    def give_up(self) -> None:
        """Withdraw everything and end; the open batches are told soon."""
        self.up, self.broken = False, True
        self._given_up.set()

    def join(self, timeout_s: float) -> None:
        """Wait for the thread's end."""
        self._thread.join(timeout_s)

    def poll(self) -> None:
        """Take the reports that are there; whoever waits for them goes on."""
        if self.broken or not self.up:  # then the thread does
            return
        self._producer.poll(0)
        self._finish()
        self._poll_in(POLL_S if self.open else IDLE_S)

    def _poll_in(self, delay: float) -> None:
        if self._next_poll:
            self._next_poll.cancel()
        self._next_poll = self.loop.call_later(delay, self.poll)

    def _finish(self) -> None:
        batches, self.finished = self.finished, []
        for batch in batches:
            if batch in self.open:
                del self.open[batch]
                self.held -= batch.size
            if not batch.future.done():
                batch.future.set_result(None)

    # --- in the loop, called from the thread -------------------------------------------------------------------------

    def _tell(self, change: Callable[[], None]) -> None:
        with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits any more
            self.loop.call_soon_threadsafe(change)

    def _on_up(self) -> None:
        self.up = not self.broken
        self.poll()
        self._changed(self)

    def _on_break(self) -> None:
        self.give_up()
        self._changed(self)

    def _on_end(self) -> None:
        """All reports that will ever come are in `finished`."""
        self._finish()
        for batch in self.open:
            batch.error = batch.error or "no report"
        self.finished = list(self.open)
        self._finish()
        self._changed(self)

    # --- in the thread -----------------------------------------------------------------------------------------------

    def _live(self) -> None:
        if self._greet():
            self._tell(self._on_up)
            self._given_up.wait()
        self._withdraw()
        self._tell(self._on_end)

    def _greet(self) -> bool:
        """Wait until the broker answers and leads all topics; False when given up meanwhile."""
        delay, told = RETRY_FIRST_S, False
        while not self._given_up.is_set():
            try:
                known = self._producer.list_topics(timeout=GREETING_S).topics
                if not self._bus.fits({name: len(topic.partitions) for name, topic in known.items()}):
                    self._bus.create_topics()
            except (KafkaException, UnavailableError, ConfigError) as error:
                if not told:
                    structlog.get_logger().warning("kafka_away", servers=self._bus.servers, reason=str(error))
                    told = True
                self._given_up.wait(delay)
                delay = min(2 * delay, RETRY_MOST_S)
            else:
                return True
        return False

    def _withdraw(self) -> None:
        self._producer.purge()
        deadline = time.monotonic() + WITHDRAWAL_S
        while len(self._producer) and time.monotonic() < deadline:
            self._producer.poll(IDLE_S)
        self._producer.poll(0)

    def _on_error(self, error: KafkaError) -> None:
        if error.fatal():
            PRODUCER_FATAL.inc()
            structlog.get_logger().error("producer_fatal", servers=self._bus.servers, error=error.name())
        if error.fatal() or error.code() == KafkaError._ALL_BROKERS_DOWN:
            self._tell(self._on_break)
