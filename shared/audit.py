"""How many events a process accepted, said as events, so that the recorder can notice a lost one.

Counts are per process and minute and only grow, so the newest word is the whole truth and a lost one costs nothing
but the last second. After `kill -9` what arrived is the better count: the recorder takes the larger of both.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from operator import attrgetter
from typing import Protocol

from schemas.events import EventsCounted
from shared.envelope import Sealed, sealed
from shared.errors import UnavailableError, UnconfirmedError
from shared.ids import new_id
from shared.log import Kept, Log

TELL_S = 1.0
MOMENT = attrgetter("occurred_at")
KEEP_MINUTES = 120  # minutes that a process keeps in mind; requests end within seconds


@dataclass
class Minute:
    """What one minute's events came to."""

    accepted: int = 0
    unresolved: int = 0


class Counts:
    """The counters of one process. An event costs one addition."""

    def __init__(self, instance: str, source: str) -> None:
        """Count for a process, by its own id, of a service."""
        self.instance = instance
        self._source = source
        self._minutes: dict[int, Minute] = defaultdict(Minute)
        self._changed: set[int] = set()

    def accepted(self, events: Sequence[Sealed]) -> None:
        """These events are durable."""
        for at, count in Counter(map(MOMENT, events)).items():  # those of a request share theirs
            minute = int(at.timestamp()) // 60
            self._minutes[minute].accepted += count
            self._changed.add(minute)

    def unresolved(self, events: Sequence[Sealed]) -> None:
        """These were refused, but the broker may have them."""
        for event in events:
            minute = int(event.occurred_at.timestamp()) // 60
            self._minutes[minute].unresolved += 1
            self._changed.add(minute)

    def changed(self) -> list[EventsCounted]:
        """What there is to say since the last time, oldest minute first."""
        minutes, self._changed = sorted(self._changed), set()
        told = [self._tell(minute) for minute in minutes]
        for old in sorted(self._minutes)[:-KEEP_MINUTES]:
            del self._minutes[old]
        return told

    def again(self, told: Sequence[EventsCounted]) -> None:
        """What could not be said is to be said the next time."""
        self._changed |= {int(event.bucket.timestamp()) // 60 for event in told}

    def _tell(self, minute: int) -> EventsCounted:
        count = self._minutes[minute]
        return EventsCounted(
            event_id=new_id(),
            occurred_at=datetime.now(UTC),
            source=self._source,
            instance=self.instance,
            bucket=datetime.fromtimestamp(minute * 60, UTC),
            accepted=count.accepted,
            unresolved=count.unresolved,
        )


class Countable(Log, Protocol):
    """A log that knows whose it is."""

    service: str


def audited(log: Countable) -> AuditedLog:
    """A log that counts what it accepts."""
    return AuditedLog(log, Counts(log.instance, log.service))


class AuditedLog:
    """A log that counts what is appended to it and says so each second, and once more at its end."""

    def __init__(self, log: Log, counts: Counts, every_s: float = TELL_S) -> None:
        """Count what is appended to a log, whose records carry the counts' instance."""
        self._log = log
        self._counts = counts
        self._every_s = every_s

    @property
    def ready(self) -> bool:
        """Whether events can be taken now."""
        return self._log.ready

    @property
    def degraded(self) -> bool:
        """Whether they are taken, but not by the broker."""
        return self._log.degraded

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Keep the log running and tell the counts; what came last is told before the log is closed."""
        async with self._log.running():
            teller = asyncio.create_task(self._keep_telling())
            try:
                yield
            finally:
                teller.cancel()
                await asyncio.wait([teller])
                await self._tell()

    @property
    def instance(self) -> str:
        """See `Log.instance`."""
        return self._log.instance

    async def append(self, events: Sequence[Sealed]) -> Kept:
        """See `Log.append`."""
        try:
            kept = await self._log.append(events)
        except UnconfirmedError:
            self._counts.unresolved(events)
            raise
        self._counts.accepted(events)
        return kept

    async def _keep_telling(self) -> None:
        while True:
            await asyncio.sleep(self._every_s)
            await self._tell()

    async def _tell(self) -> None:
        """Best effort: what cannot be said now is said the next time."""
        if told := self._counts.changed():
            try:
                await self._log.append([sealed(one, self.instance) for one in told])
            except UnavailableError:
                self._counts.again(told)
            except asyncio.CancelledError:
                self._counts.again(told)
                raise
