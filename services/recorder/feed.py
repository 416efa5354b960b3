"""What the topics bring: a member of the recorder's group that reads each partition from where SQL stands.

librdkafka fetches and decodes in threads of its own, at a tenth of kafka-python's CPU time per record. The group only
says which partitions are ours; where to read on is said by whoever recorded, so nothing depends on committed offsets.
They are told to Kafka for those who watch the group's lag.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
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
from shared.topics import Topic

QUEUE_KB = 16 * 1024  # read ahead at most this much, so that memory does not follow the backlog
FETCH_BYTES = 256 * 1024  # of one partition at a time: predictions and their feedback come close to each other
PATIENCE = 10  # polls for a partition that has older records and brings none: its broker may be away

log = structlog.get_logger()


@dataclass
class Feed:
    """The group's member. `recorded` tells the next offset of each partition that was ever recorded.

    `places` is up to where everything is recorded, `reached` up to where it came; what is between waits in `timeline`,
    or is being recorded. `newest` is when the last record that was handed out of each partition was written.
    """

    consumer: Consumer
    recorded: Callable[[], Places]
    assigned: list[Part] = field(default_factory=list)
    places: dict[Part, int] = field(default_factory=dict)
    reached: dict[Part, int] = field(default_factory=dict)
    timeline: Timeline = field(default_factory=Timeline)
    paused: set[Part] = field(default_factory=set)
    fruitless: int = 0
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
        """The oldest of what came, at most so many records; of each partition from our place on, without gaps.

        Raises:
            FatalError: this member will not be given anything any more.
            UnavailableError: Kafka refuses to be read.
            OperationalError, InterfaceError: SQL did not say where to go on.
        """
        if self.assigned and not self.places:
            self._go()
        deadline = monotonic() + timeout_s
        taken: list[Record] = []
        while len(taken) < records and (left_s := deadline - monotonic()) > 0:
            self._fetch(records, left_s)
            taken += self.timeline.take(records - len(taken), self._complete_until())
        self.fruitless = 0 if taken or not self.timeline else self.fruitless + 1
        polled = {part: some for part, some in parted(taken).items() if part in self.places}
        self.newest |= {part: some[-1].timestamp for part, some in polled.items()}
        return polled

    def _fetch(self, records: int, timeout_s: float) -> None:
        try:
            messages = self.consumer.consume(records, timeout_s)
        except KafkaException as error:
            raise UnavailableError(f"Kafka cannot be read ({error.args[0].name()}).") from error
        self._expect(messages)
        self._hold_back()

    def _complete_until(self) -> float:
        """Up to when all that was written is here; for ever if a partition brings nothing though it has something."""
        if self.fruitless >= PATIENCE:
            return inf
        unread = [part for part, to in self.reached.items() if self._end_of(part, to + 1) > to]
        return self.timeline.complete_until(unread)

    def _hold_back(self) -> None:
        """Fetch no more of partitions that run ahead (what was fetched already is fetched again when they go on)."""
        full, roomy = self.timeline.full() - self.paused, self.timeline.roomy() & self.paused
        if full:
            self.consumer.pause([TopicPartition(*part) for part in full])
        if roomy:
            self.consumer.resume([TopicPartition(*part) for part in roomy])
        self.paused = self.paused - roomy | full

    def advance(self, places: Places) -> None:
        """Note up to where everything is recorded."""
        self.places |= places

    def rewind(self) -> None:
        """Read again from where SQL stands."""
        self._forget()

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
        return {part: max(0, self._end_of(part, place) - place) for part, place in self.places.items()}

    def _end_of(self, part: Part, unheard: int) -> int:
        """The offset that a partition's next record will get, as last heard; `unheard` before anything was."""
        ends = self.consumer.get_watermark_offsets(TopicPartition(*part), cached=True)
        return ends[1] if ends and ends[1] >= 0 else unheard

    def close(self) -> None:
        """Leave the group, so that others take over at once."""
        self.consumer.close()

    def _given(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Read nothing of what the group gave until SQL has said from where."""
        self.assigned = [Part(one.topic, one.partition) for one in partitions]
        self._forget()
        self.consumer.assign([])

    def _taken(self, _consumer: Consumer, _partitions: list[TopicPartition]) -> None:
        self.assigned = []
        self._forget()
        self.consumer.unassign()

    def _forget(self) -> None:
        self.places, self.reached = {}, {}
        self.timeline.clear()

    def _go(self) -> None:
        recorded = self.recorded()
        starts = {part: recorded.get(part, OFFSET_BEGINNING) for part in self.assigned}
        self.consumer.assign([TopicPartition(*part, start) for part, start in starts.items()])
        self.consumer.resume([TopicPartition(*part) for part in self.paused & starts.keys()])
        self.paused.clear()
        self.places = {part: max(0, start) for part, start in starts.items()}
        self.reached, self.fruitless = dict(self.places), 0

    def _expect(self, messages: Iterable[Message]) -> None:
        """Keep the records of partitions that are still ours, from our place on (older fetches may be handed out)."""
        for part, records in parted(_records(messages)).items():
            for record in records if part in self.reached else ():
                if record.offset >= self.reached[part]:
                    self.timeline.add(part, record)
                    self.reached[part] = record.offset + 1


def _note(problem: KafkaError) -> None:
    """Most problems pass by themselves; after a fatal one librdkafka reads nothing any more, and says so only once.

    Such a one is FENCED_INSTANCE_ID: a broker that was killed may come back with an older list of the group's static
    members, in which ours is not. A new process is a new member.
    """
    log.warning("kafka_says", error=problem.name())
    if problem.fatal() or problem.code() == KafkaError._FATAL:
        raise FatalError("The recorder's place in its group is lost; it has to be started again.")


def _records(messages: Iterable[Message]) -> Iterator[Record]:
    for message in messages:
        if (problem := message.error()) is not None:
            _note(problem)
        else:
            yield _record(message)


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
