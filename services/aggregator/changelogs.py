"""What the tables' changelogs hold, read in bulk while the rest of the aggregator is still being imported.

Faust takes a changelog record by record through its consumer, its flow control and a queue: 0.13 ms of CPU each, 34 s
for 200,000 of them (docs/log.md). librdkafka fetches them in threads of its own and hands them over by the thousand.
Where reading stopped is told to Faust, which reads on from there once the partitions are ours (see `tables`).
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, TopicPartition

from shared.kafka import Bus
from shared.topics import Topic

AT_ONCE = 10_000  # records, some 5 MB
QUIET_S = 10.0  # without a record: the broker is away, and Faust will read when it is back
AHEAD_KB = 32 * 1024  # fetched before it is asked for, of each partition

log = structlog.get_logger()


@dataclass
class Contents:
    """The newest value of each key of one changelog, and the last offset of each partition that was read to its end."""

    values: dict[bytes, bytes] = field(default_factory=dict)
    offsets: dict[tuple[str, int], int] = field(default_factory=dict)

    def apply(self, record: Any) -> None:
        """Take one record; one without a value takes its key away."""
        if (value := record.value()) is None:
            self.values.pop(record.key(), None)
        else:
            self.values[record.key()] = value


class Changelogs:
    """Several changelogs; librdkafka begins to fetch them when this is made."""

    def __init__(self, bus: Bus, topics: Iterable[Topic]) -> None:
        """Begin. The topics must exist."""
        self._parts = [
            TopicPartition(bus.name(topic), part, OFFSET_BEGINNING)
            for topic in topics
            for part in range(topic.partitions)
        ]
        self._consumer = Consumer(
            {
                "bootstrap.servers": bus.servers,
                "group.id": bus.group("nobody"),  # librdkafka wants one; nothing is committed
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "queued.max.messages.kbytes": AHEAD_KB,
                "fetch.wait.max.ms": 10,  # the end of a partition is told by an empty answer, which waits so long
                "fetch.queue.backoff.ms": 10,
            }
        )
        self._consumer.assign(self._parts)

    def read(self, quiet_s: float = QUIET_S) -> dict[str, Contents]:
        """All of it, by the full name of each topic.

        A broker that says nothing for `quiet_s` is no error: of what was not read to its end no offset is told.
        """
        kept = {part.topic: Contents() for part in self._parts}
        left, heard_at = len(self._parts), time.monotonic()
        try:
            while left and time.monotonic() - heard_at < quiet_s:
                for record in self._consumer.consume(AT_ONCE, 0.1):
                    left -= _take(kept, record)
                    heard_at = heard_at if record.error() else time.monotonic()
        except KafkaException as error:
            log.warning("changelogs_away", error=error.args[0].name())
        finally:
            self._consumer.close()
        return kept


def _take(kept: dict[str, Contents], record: Any) -> bool:
    """Apply what librdkafka hands over; True when it is the end of a partition."""
    topic, error = record.topic(), record.error()
    if error is None:
        kept[topic].apply(record)
    elif error.code() == KafkaError._PARTITION_EOF:
        place = topic, record.partition()
        is_first = place not in kept[topic].offsets  # each time that it comes to the end, it says so
        kept[topic].offsets[place] = record.offset() - 1
        return is_first
    return False
