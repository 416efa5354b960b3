"""Records that were fetched and not handed out yet, oldest first by the broker's clock.

Kafka hands out a piece of one partition after the other, and feedback is shorter than the prediction that it is about,
so of a long backlog it comes before it. Each such orphan is a row that is written twice. So records are handed out by
the broker's clock, and predictions with a head start, as what was written at once may be some moments apart. Pure.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heapreplace
from math import inf

from services.recorder.records import Part, Record


@dataclass
class Timeline:
    """What waits, by partition. A record's moment (ms) is when it was written, for some topics less their head start.

    `last` is the moment of the last record of each partition that was added.
    """

    head_starts: Mapping[str, int] = field(default_factory=dict)
    waiting: dict[Part, deque[Record]] = field(default_factory=dict)
    last: dict[Part, int] = field(default_factory=dict)
    size: int = 0

    def add(self, part: Part, record: Record) -> None:
        """A record that comes behind those of its partition that are here."""
        self.waiting.setdefault(part, deque()).append(record)
        self.last[part] = self._moment(record)
        self.size += 1

    def complete_until(self, unread: Iterable[Part]) -> float:
        """The moment before which nothing more will come, if these partitions have more to bring."""
        return min((self.last.get(part, 0) for part in unread), default=inf)

    def take(self, most: int, until: float = inf) -> list[Record]:
        """The oldest records, at most so many, until a moment; of each partition in its order."""
        heads = [(self._moment(queue[0]), part) for part, queue in self.waiting.items() if queue]
        heapify(heads)
        taken: list[Record] = []
        while heads and len(taken) < most and heads[0][0] <= until:
            queue = self.waiting[heads[0][1]]
            taken.append(queue.popleft())
            if queue:
                heapreplace(heads, (self._moment(queue[0]), heads[0][1]))
            else:
                heappop(heads)
        self.size -= len(taken)
        return taken

    def _moment(self, record: Record) -> int:
        return record.timestamp - self.head_starts.get(record.topic, 0)

    def clear(self) -> None:
        """Nothing waits."""
        self.waiting, self.last, self.size = {}, {}, 0
