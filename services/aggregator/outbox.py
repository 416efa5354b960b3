"""What leaves the aggregator, in which order, and what may be acknowledged because of it.

Faust acknowledges a record when the agent is done with it, whether or not what it caused is on the broker. Here a
record is held until all that it caused is durable. First the tables, then the facts drawn from them: predictions and
feedback are two topics, so after a crash they may be read in another order, and an entry that was written fixes which
of the two records a fact comes from. Then the records. So a crash at any point repeats work, which facts and marks
make harmless, and loses none.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

from schemas.events import Event
from services.aggregator.facts import Fact
from services.aggregator.topics import APP, OUTCOMES
from shared import letters
from shared.crash import crash_point
from shared.envelope import Headers, seal
from shared.kafka import Bus
from shared.letters import Original
from shared.observe import DEAD_LETTERED, EVENTS_OUT

MAX_HELD = 20_000  # records that wait for an answer of the broker, about 20 MB; then reading waits too

Send = Callable[[str, bytes, bytes | None, Headers], Awaitable[Any]]
Acknowledge = Callable[[], Awaitable[Any]]


class Outbox:
    """Sends events, facts and dead letters, and holds the records that caused them."""

    def __init__(self, bus: Bus, send: Send) -> None:
        """Make one that sends by `send`: topic, key, value and headers to the answer that tells it is durable."""
        self._bus = bus
        self._send = send
        self._sent: list[Awaitable[Any]] = []
        self._facts: list[Fact] = []
        self._held: list[Acknowledge] = []
        self._forgotten = 0  # times
        self._room = asyncio.Event()
        self.handled: dict[tuple[str, int], int] = defaultdict(int)

    def emit(self, event: Event) -> None:
        """Send an event to its topic."""
        out = seal(event)
        self._sent.append(self._send(self._bus.name(out.topic), out.key, out.value, out.headers))
        EVENTS_OUT.labels(APP, type(event).__name__).inc()

    def tell(self, fact: Fact) -> None:
        """Keep a fact for the second stage until `settle`."""
        self._facts.append(fact)

    def put_aside(self, record: Any, reason: str, detail: str) -> None:
        """Send a record to the dead letters; `detail` names rules and fields, never values."""
        if letters.is_kept(reason, APP):
            out = letters.write(_original(record), APP, reason, detail)
            self._sent.append(self._send(self._bus.name(out.topic), out.key, out.value, out.headers))
        DEAD_LETTERED.labels(APP, reason).inc()

    async def hold(self, record: Any, acknowledge: Acknowledge) -> None:
        """Keep a handled record until `settle`; waits when too many are kept."""
        self.handled[record.topic, record.partition] = record.offset + 1
        self._held.append(acknowledge)
        if len(self._held) >= MAX_HELD:
            self._room.clear()
            await self._room.wait()

    async def settle(self, written: Iterable[Awaitable[Any]]) -> None:
        """Make what was sent and `written` durable, then the facts, then acknowledge the records held until now.

        When what is held is forgotten meanwhile, the rest is left to whoever reads the records again.

        Raises:
            Exception: the broker refused a record; nothing is acknowledged, and the process must start again.
        """
        forgotten = self._forgotten
        sent, self._sent = [*self._sent, *written], []
        facts, self._facts = self._facts, []
        held, self._held = self._held, []
        self._room.set()
        await asyncio.gather(*sent)
        if held:
            crash_point("aggregator.after_tables")
        if self._forgotten > forgotten:
            return
        topic = self._bus.name(OUTCOMES)
        await asyncio.gather(
            *(self._send(topic, fact.model.encode(), fact.model_dump_json().encode(), []) for fact in facts)
        )
        if held:
            crash_point("aggregator.before_commit")
        for acknowledge in held if self._forgotten == forgotten else ():
            await acknowledge()
        if held:
            crash_point("aggregator.after_commit")

    def forget_held(self) -> None:
        """Neither tell nor acknowledge what is not settled: its partitions may be another worker's now."""
        self._forgotten += 1
        self._facts.clear()
        self._held.clear()
        self._room.set()


def _original(record: Any) -> Original:
    """A record of Faust, which tells seconds where Kafka tells milliseconds."""
    written = int((record.timestamp or 0) * 1000)
    headers = list((record.headers or {}).items()) if isinstance(record.headers, dict) else list(record.headers or ())
    return Original(record.topic, record.partition, record.offset, written, record.key, record.value, headers)
