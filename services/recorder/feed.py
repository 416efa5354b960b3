"""What the topics bring: a member of the recorder's group that reads each partition from where SQL stands.

librdkafka fetches and decodes in threads of its own, at a tenth of kafka-python's CPU time per record. The group only
says which partitions are ours; where to read on is said by whoever recorded, so nothing depends on committed offsets.
They are told to Kafka for those who watch the group's lag.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import NamedTuple, cast

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from shared.errors import FatalError, UnavailableError
from shared.kafka import RECONNECT_MS, SESSION_TIMEOUT_MS, Bus
from shared.topics import Topic

QUEUE_KB = 16 * 1024  # read ahead at most this much, so that memory does not follow the backlog
FETCH_BYTES = 256 * 1024  # of one partition at a time: predictions and their feedback come close to each other

log = structlog.get_logger()


class Part(NamedTuple):
    """One partition of one topic."""

    topic: str
    partition: int


class Record(NamedTuple):
    """One record as it was read. `timestamp` is in milliseconds."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]]
    timestamp: int


Polled = Mapping[Part, Sequence[Record]]
Places = Mapping[Part, int]


@dataclass
class Feed:
    """The group's member. `recorded` tells the next offset of each partition that was ever recorded."""

    consumer: Consumer
    recorded: Callable[[], Places]
    assigned: list[Part] = field(default_factory=list)
    places: dict[Part, int] = field(default_factory=dict)
    newest: dict[Part, int] = field(default_factory=dict)

    @classmethod
    def open(cls, bus: Bus, group: str, topics: Iterable[Topic], recorded: Callable[[], Places]) -> Feed:
        """Join the group."""
        member = bus.member(group)
        consumer = Consumer(
            {
                **({"group.instance.id": member} if member else {}),
                "bootstrap.servers": bus.servers,
                "group.id": bus.group(group),
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "auto.offset.reset": "earliest",
                "session.timeout.ms": SESSION_TIMEOUT_MS,
                "reconnect.backoff.max.ms": RECONNECT_MS,
                "queued.max.messages.kbytes": QUEUE_KB,
                "fetch.message.max.bytes": FETCH_BYTES,
            },
            logger=logging.getLogger("librdkafka"),
        )
        feed = cls(consumer, recorded)
        names = [bus.name(topic) for topic in topics]
        consumer.subscribe(names, on_assign=feed._given, on_revoke=feed._taken, on_lost=feed._taken)
        return feed

    @property
    def ready(self) -> bool:
        """Whether there are partitions to read, and it is known from where."""
        return bool(self.places)

    def poll(self, records: int, timeout_s: float) -> Polled:
        """What came within the time, at most so many records; of each partition from our place on, without gaps.

        Raises:
            FatalError: this member will not be given anything any more.
            UnavailableError: Kafka refuses to be read.
            OperationalError, InterfaceError: SQL did not say where to go on.
        """
        if self.assigned and not self.places:
            self._go()
        try:
            messages = self.consumer.consume(records, timeout_s)
        except KafkaException as error:
            raise UnavailableError(f"Kafka cannot be read ({error.args[0].name()}).") from error
        return self._expected(messages)

    def advance(self, places: Places) -> None:
        """Note up to where everything is recorded."""
        self.places |= places

    def rewind(self) -> None:
        """Read again from where SQL stands."""
        self.places = {}

    def tell_kafka(self) -> dict[str, int]:
        """Show our place to those who watch the group; how many records of each topic are still to come."""
        if not self.places:
            return {}
        offsets = [TopicPartition(*part, place) for part, place in self.places.items()]
        self.consumer.commit(offsets=offsets, asynchronous=True)
        lag: dict[str, int] = defaultdict(int)
        for part, records in self._behind().items():
            lag[part.topic] += records
        return lag

    def read_until(self, now: datetime) -> datetime:
        """Up to when everything that was written has been read: now, or the last record of who is behind most."""
        behind = [self.newest.get(part, 0) for part, records in self._behind().items() if records]
        return min([now, *[datetime.fromtimestamp(moment / 1000, UTC) for moment in behind]])

    def _behind(self) -> dict[Part, int]:
        """How many records of each partition are still to come."""
        ends = {part: self.consumer.get_watermark_offsets(TopicPartition(*part), cached=True) for part in self.places}
        return {part: max(0, end[1] - self.places[part]) if (end := ends[part]) else 0 for part in self.places}

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        self.consumer.close()

    def _given(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Read nothing of what the group gave until SQL has said from where."""
        self.assigned = [Part(one.topic, one.partition) for one in partitions]
        self.places = {}
        self.consumer.assign([])

    def _taken(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self.assigned, self.places = [], {}
        self.consumer.unassign()

    def _go(self) -> None:
        recorded = self.recorded()
        starts = {part: recorded.get(part, OFFSET_BEGINNING) for part in self.assigned}
        self.consumer.assign([TopicPartition(*part, start) for part, start in starts.items()])
        self.places = {part: max(0, start) for part, start in starts.items()}

    def _expected(self, messages: Iterable[Message]) -> Polled:
        """The records of partitions that are still ours, from our place on (librdkafka may hand out older fetches)."""
        polled: dict[Part, list[Record]] = {}
        for message in messages:
            if (problem := message.error()) is not None:
                _note(problem)
                continue
            record = _record(message)
            part = Part(record.topic, record.partition)
            if record.offset >= self.places.get(part, record.offset + 1):
                polled.setdefault(part, []).append(record)
                self.newest[part] = record.timestamp
        return polled


def _note(problem: KafkaError) -> None:
    """Most problems pass by themselves; after a fatal one librdkafka reads nothing any more, and says so only once.

    Such a one is FENCED_INSTANCE_ID: a broker that was killed may come back with an older list of the group's static
    members, in which ours is not. A new process is a new member.
    """
    log.warning("kafka_says", error=problem.name())
    if problem.fatal() or problem.code() == KafkaError._FATAL:
        raise FatalError("The recorder's place in its group is lost; it has to be started again.")


def _record(message: Message) -> Record:
    topic, partition, offset = message.topic(), message.partition(), message.offset()
    assert topic is not None, "only the client's own events have no place"
    assert partition is not None, topic
    assert offset is not None, topic
    headers = cast(Iterable[tuple[str, bytes | None]], message.headers() or ())
    return Record(
        topic,
        partition,
        offset,
        message.key(),
        message.value(),
        [(name, content or b"") for name, content in headers],
        message.timestamp()[1],
    )
