"""Events that wait to be sent: bounded, batched, counted. Pure; the clients add the locks and the clocks."""

from __future__ import annotations

import json
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

BATCH_EVENTS = 100
BATCH_BYTES = 512 * 1024  # the collector takes 1 MiB
LINGER_S = 0.05  # an event waits this long for others to share its request


@dataclass(frozen=True)
class Queued:
    """One event as it will be sent."""

    path: str
    event_id: str
    body: bytes


@dataclass(frozen=True)
class Batch:
    """Events of one route that share a request."""

    path: str
    events: tuple[Queued, ...]

    @property
    def content(self) -> bytes:
        """The request's body: a JSON list."""
        return b"[" + b",".join(event.body for event in self.events) + b"]"

    def only(self, *indexes: int) -> Batch:
        """The batch of some of its events."""
        return Batch(self.path, tuple(self.events[index] for index in indexes))


@dataclass(frozen=True)
class Stats:
    """What became of the events: sent == accepted + rejected + dropped + pending."""

    sent: int
    accepted: int
    rejected: int
    dropped: int
    pending: int


def write(path: str, event_id: str, body: Mapping[str, Any]) -> Queued:
    """Make the event's bytes now, so that what the app changes later does not change it.

    Raises:
        ValueError, TypeError: the values are not JSON, or not Unicode.
    """
    present = {name: value for name, value in body.items() if value is not None}
    text = json.dumps({**present, "event_id": event_id}, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return Queued(path, event_id, text.encode())


@dataclass
class Outbox:
    """The queue and its books."""

    capacity: int
    _waiting: dict[str, deque[Queued]] = field(default_factory=dict)
    _size: int = 0
    _sent: int = 0
    _accepted: int = 0
    _rejected: int = 0
    _dropped: int = 0
    _closed: bool = False

    @property
    def stats(self) -> Stats:
        """What became of the events so far."""
        settled = self._accepted + self._rejected + self._dropped
        return Stats(self._sent, self._accepted, self._rejected, self._dropped, self._sent - settled)

    @property
    def full_batch(self) -> bool:
        """Whether waiting longer would not make a larger request."""
        return any(len(waiting) >= BATCH_EVENTS for waiting in self._waiting.values())

    @property
    def empty(self) -> bool:
        """Whether nothing waits to be taken; what was taken may still be under way."""
        return self._size == 0

    def add(self, event: Queued) -> bool:
        """Take an event in; False, and counted as dropped, when the queue is full or closed."""
        self._sent += 1
        if self._closed or self._size >= self.capacity:
            self._dropped += 1
            return False
        self._waiting.setdefault(event.path, deque()).append(event)
        self._size += 1
        return True

    def refuse(self) -> None:
        """Count an event that cannot even be written as JSON."""
        self._sent += 1
        self._rejected += 1

    def take(self) -> Batch | None:
        """The next batch; routes take turns."""
        for path, waiting in self._waiting.items():
            if waiting:
                self._waiting[path] = self._waiting.pop(path)
                return self._fill(path, waiting)
        return None

    def settle(self, accepted: int = 0, rejected: int = 0) -> None:
        """Count what a request brought; nothing once everything was given up."""
        if not self._closed:
            self._accepted += accepted
            self._rejected += rejected

    def give_up(self) -> None:
        """Take no more, and count all that is pending as dropped."""
        self._closed = True
        self._dropped += self.stats.pending
        self._waiting.clear()
        self._size = 0

    def _fill(self, path: str, waiting: deque[Queued]) -> Batch:
        events = [waiting.popleft()]
        size = len(events[0].body)
        while waiting and len(events) < BATCH_EVENTS and size + len(waiting[0].body) < BATCH_BYTES:
            events.append(waiting.popleft())
            size += len(events[-1].body) + 1
        self._size -= len(events)
        return Batch(path, tuple(events))
