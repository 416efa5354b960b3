"""Records that came and were not handed out yet, oldest first by the broker's clock.

Kafka sends as many bytes of each partition. Feedback is shorter than the prediction that it is about, so in a backlog
it runs ahead, and each orphan is a row that is written twice. What is recorded never depends on the order, only what
it costs; so nobody waits long for a partition that brings nothing. Pure.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from math import inf

from services.recorder.records import Part, Record

FULL = 1 << 20  # bytes of one partition that wait, from which on no more of it is fetched
ROOM = FULL // 4  # bytes below which more of it is fetched again


@dataclass
class Timeline:
    """What waits, by partition; `last` is the moment (ms) of the newest record of each partition that came."""

    waiting: dict[Part, deque[Record]] = field(default_factory=lambda: defaultdict(deque))
    last: dict[Part, int] = field(default_factory=dict)
    held: dict[Part, int] = field(default_factory=lambda: defaultdict(int))

    def add(self, part: Part, record: Record) -> None:
        """A record that comes behind those of its partition that are here."""
        self.waiting[part].append(record)
        self.last[part] = record.timestamp
        self.held[part] += _size(record)

    def complete_until(self, unread: Iterable[Part]) -> float:
        """The moment up to which all is here, if these partitions have more to bring."""
        return min((self.last.get(part, 0) for part in unread), default=inf)

    def take(self, most: int, until: float) -> list[Record]:
        """The oldest records, at most so many, up to a moment; of each partition in its order."""
        heads = [(queue[0].timestamp, part) for part, queue in self.waiting.items() if queue]
        heapify(heads)
        taken: list[Record] = []
        while heads and len(taken) < most and heads[0][0] <= until:
            part = heads[0][1]
            queue = self.waiting[part]
            record = queue.popleft()
            taken.append(record)
            self.held[part] -= _size(record)
            if queue:
                heapreplace(heads, (queue[0].timestamp, part))
            else:
                heappop(heads)
        return taken

    def full(self) -> set[Part]:
        """The partitions of which enough waits."""
        return {part for part, size in self.held.items() if size >= FULL}

    def roomy(self) -> set[Part]:
        """The partitions of which more may come."""
        return {part for part, size in self.held.items() if size < ROOM}

    def clear(self) -> None:
        """Nothing waits."""
        self.waiting.clear()
        self.last.clear()
        self.held.clear()

    def __bool__(self) -> bool:
        """Whether anything waits."""
        return any(self.waiting.values())


def _size(record: Record) -> int:
    return len(record.value or b"")
