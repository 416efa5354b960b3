"""What the topics bring: a member of the recorder's group that reads each partition from where SQL stands.

librdkafka fetches and decodes in threads of its own, at a tenth of kafka-python's CPU time per record. The group only
says which partitions are ours; where to read on is said by whoever recorded, so nothing depends on committed offsets.
They are told to Kafka for those who watch the group's lag.
"""

from __future__ import annotations

import logging
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from math import inf
from time import monotonic
from typing import cast

import structlog
from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from services.recorder.records import Part, Places, Polled, Record, parted
from services.recorder.timeline import Timeline
from shared.errors import FatalError, UnavailableError
from shared.kafka import RECONNECT_MS, SESSION_TIMEOUT_MS, Bus
from shared.topics import PREDICTIONS, Topic

QUEUE_KB = 8 * 1024  # fetch ahead at most this much, so that memory does not follow the backlog
FETCH_BYTES = 256 * 1024  # of one partition at a time: predictions and their feedback come close to each other
BATCHES = 4  # that wait at most for what is older
HEAD_START_MS = 200  # of predictions: more than a producer takes to send what it has, less than a user takes to answer

log = structlog.get_logger()


@dataclass
class Feed:
    """The group's member. `recorded` tells the next offset of each partition that was ever recorded.

    Who records while another thread polls holds `recording`: a batch is recorded before its partitions go to others.
    `places` is where to read on, `done` up to where everything is recorded, `newest` when the last of it was written.
    """

    consumer: Consumer
    recorded: Callable[[], Places]
    assigned: list[Part] = field(default_factory=list)
    places: dict[Part, int] = field(default_factory=dict)
    done: dict[Part, int] = field(default_factory=dict)
    recording: threading.Lock = field(default_factory=threading.Lock)
    newest: dict[Part, int] = field(default_factory=dict)
    timeline: Timeline = field(default_factory=Timeline)

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
        feed = cls(consumer, recorded, timeline=Timeline({bus.name(PREDICTIONS): HEAD_START_MS}))
        names = [bus.name(topic) for topic in topics]
        consumer.subscribe(names, on_assign=feed._given, on_revoke=feed._taken, on_lost=feed._taken)
        return feed

    @property
    def ready(self) -> bool:
        """Whether there are partitions to read, and it is known from where."""
        return bool(self.places)

    def poll(self, most: int, timeout_s: float) -> Polled:
        """The oldest records that came within the time; of each partition from where the last ones ended.

        Raises:
            FatalError: this member will not be given anything any more.
            UnavailableError: Kafka refuses to be read.
            OperationalError, InterfaceError: SQL did not say where to go on.
        """
        if self.assigned and not self.places:
            self._go()
        deadline = monotonic() + timeout_s
        taken: list[Record] = []
        wait_s = 0.0 if self.timeline.size else timeout_s
        while len(taken) < most:
            self._fetch(most, wait_s)
            taken += self.timeline.take(most - len(taken), self._complete_until(most))
            if (wait_s := deadline - monotonic()) <= 0:
                break
        taken = taken or self.timeline.take(most)  # somebody's leader is away, and the others go on
        return {part: records for part, records in parted(taken).items() if part in self.places}

    def _fetch(self, most: int, timeout_s: float) -> None:
        try:
            messages = self.consumer.consume(most, timeout_s)
        except KafkaException as error:
            raise UnavailableError(f"Kafka cannot be read ({error.args[0].name()}).") from error
        self._expect(messages)

    def _complete_until(self, most: int) -> float:
        """Up to when all that was written waits here, or is done; for ever when too much waits to look for older."""
        if self.timeline.size > BATCHES * most:
            return inf
        ends = {part: self._ends_at(part) for part in self.places}
        return self.timeline.complete_until(part for part, end in ends.items() if end > self.places[part] or end < 0)

    def advance(self, polled: Polled) -> None:
        """Note that everything up to the end of what was polled is recorded."""
        for part, records in polled.items():
            if part in self.done:
                self.done[part] = records[-1].offset + 1
                self.newest[part] = records[-1].timestamp

    def rewind(self) -> None:
        """Read again from where SQL stands."""
        self._forget()

    def tell_kafka(self) -> dict[str, int]:
        """Show our place to those who watch the group; how many records of each topic are still to come."""
        if not self.done:
            return {}
        offsets = [TopicPartition(*part, place) for part, place in self.done.items()]
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
        """How many records of each partition are not recorded yet."""
        return {part: max(0, self._ends_at(part) - place) for part, place in self.done.items()}

    def _ends_at(self, part: Part) -> int:
        """The offset that the next record of a partition will get, as last heard; -1 before anything was."""
        heard = self.consumer.get_watermark_offsets(TopicPartition(*part), cached=True)
        return max(-1, heard[1]) if heard else -1

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        self.consumer.close()

    def _given(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Read nothing of what the group gave until SQL has said from where."""
        with self.recording:
            self.assigned = [Part(one.topic, one.partition) for one in partitions]
            self._forget()
        self.consumer.assign([])

    def _taken(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        with self.recording:
            self.assigned = []
            self._forget()
        self.consumer.unassign()

    def _forget(self) -> None:
        self.places, self.done = {}, {}
        self.timeline.clear()

    def _go(self) -> None:
        recorded = self.recorded()
        starts = {part: recorded.get(part, OFFSET_BEGINNING) for part in self.assigned}
        self.consumer.assign([TopicPartition(*part, start) for part, start in starts.items()])
        self.places = {part: max(0, start) for part, start in starts.items()}
        self.done = dict(self.places)

    def _expect(self, messages: Iterable[Message]) -> None:
        """Keep the records of partitions that are still ours, from our place on (older fetches may be handed out)."""
        for message in messages:
            if (problem := message.error()) is not None:
                _note(problem)
                continue
            record = _record(message)
            part = Part(record.topic, record.partition)
            if record.offset >= self.places.get(part, record.offset + 1):
                self.timeline.add(part, record)
                self.places[part] = record.offset + 1


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
