"""Kafka, as the workers use it: topics, a publisher that knows when it is durable, consumers, dead letters, replays.

Faust (aggregator) and librdkafka (`shared/producer.py`) have clients of their own; topic names come from here.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from schemas.events import Event
from shared import letters
from shared.envelope import Headers, Outgoing, seal
from shared.errors import ConfigError, UnavailableError
from shared.observe import DEAD_LETTERED, Pulse
from shared.settings import Platform
from shared.topics import TOPICS, Topic

SESSION_TIMEOUT_MS = 15_000  # a killed worker's partitions move after this; heartbeats every third of it
ACK_TIMEOUT_S = 30
JOIN_GROUP, STATIC_MEMBERS = "JoinGroup", 5  # version of the request since Kafka 2.3
RECONNECT_MS = 1_000  # the longest pause between two tries to reach a broker; kafka-python would wait up to 30 s


@dataclass(frozen=True)
class Bus:
    """One Kafka cluster and the prefix under which this installation's topics and groups live.

    With `instance`, a name that survives a restart, members of groups are static (KIP-345): a killed worker that is
    started again has its partitions back in 0.4 s, and not when the session of the dead one has ended (13.6 s).
    """

    servers: str
    prefix: str = "learnback"
    replication: int = 1
    instance: str | None = None

    @classmethod
    def of(cls, platform: Platform) -> Bus:
        """The bus that the settings name."""
        return cls(
            platform.kafka_bootstrap_servers, platform.topic_prefix, platform.topic_replication, platform.instance
        )

    def name(self, topic: Topic) -> str:
        """The topic's full name on the broker."""
        return f"{self.prefix}.{topic.name}"

    def fits(self, partitions: Mapping[str, int]) -> bool:
        """Whether all topics are among these, each with as many partitions as it needs."""
        return all(partitions.get(self.name(topic)) == topic.partitions for topic in TOPICS)

    def topic(self, name: str) -> Topic:
        """The topic of a full name."""
        return {self.name(topic): topic for topic in TOPICS}[name]

    def find(self, name: str) -> Topic | None:
        """The topic of a full name, if it is one of ours."""
        return next((topic for topic in TOPICS if self.name(topic) == name), None)

    def group(self, service: str) -> str:
        """The consumer group of a service."""
        return f"{self.prefix}.{service}"

    def member(self, service: str) -> str | None:
        """The name of this replica in the service's group, if it has one that stays."""
        return f"{service}-{self.instance}" if self.instance else None

    def create_topics(self, extra: tuple[Topic, ...] = (), exact: bool = True) -> None:
        """Create what is missing, and wait until the broker can lead it. Safe to repeat.

        Who only records what is there, in whatever partition, need not be `exact` about their number.

        Raises:
            UnavailableError: the broker does not answer or refuses a topic.
            ConfigError: the broker is too old, or a topic that is there has another number of partitions.
        """
        topics = (*TOPICS, *extra)
        wanted = {
            self.name(topic): {
                "num_partitions": topic.partitions,
                "replication_factor": self.replication,
                "configs": topic.configs,
            }
            for topic in topics
        }
        try:
            admin = KafkaAdminClient(bootstrap_servers=self.servers, reconnect_backoff_max_ms=RECONNECT_MS)
            try:
                _check_broker(admin, self.servers)
                present = set(admin.list_topics())
                missing = {name: config for name, config in wanted.items() if name not in present}
                if missing:
                    admin.create_topics(missing, raise_errors=False)
                _await_topics(admin, set(wanted))
                if exact:
                    _check_partitions(admin, {self.name(topic): topic.partitions for topic in topics})
            finally:
                admin.close()
        except KafkaError as error:
            raise UnavailableError(
                f"Kafka at {self.servers} did not create the topics ({type(error).__name__}). Is it running?"
            ) from error

    @contextmanager
    def publisher(self) -> Iterator[Publisher]:
        """A publisher that is flushed and closed at the end."""
        publisher = Publisher(self)
        try:
            yield publisher
        finally:
            publisher.close(ACK_TIMEOUT_S)

    def consumer(
        self, service: str, topics: tuple[Topic, ...], pulse: Pulse | None = None, **options: Any
    ) -> KafkaConsumer:
        """A member of the service's group, without auto-commit, from the earliest record on.

        It tells the pulse that it is ready when it gets partitions, which is in the midst of its first poll.

        Values and keys are bytes. Partitions and offsets are the caller's to commit.

        Raises:
            UnavailableError: the broker does not lead all partitions of the topics.
        """
        consumer = KafkaConsumer(
            bootstrap_servers=self.servers,
            group_id=self.group(service),
            group_instance_id=self.member(service),
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            session_timeout_ms=SESSION_TIMEOUT_MS,
            heartbeat_interval_ms=SESSION_TIMEOUT_MS // 3,
            reconnect_backoff_max_ms=RECONNECT_MS,
            **options,
        )
        consumer.subscribe([self.name(topic) for topic in topics], listener=_Assigned(pulse) if pulse else None)
        _await_partitions(consumer, {self.name(topic): topic.partitions for topic in topics})
        return consumer

    @contextmanager
    def follower(self, *topics: Topic) -> Iterator[Follower]:
        """A reader of whole topics without a group: everything from the start, then what comes."""
        consumer = KafkaConsumer(
            bootstrap_servers=self.servers, enable_auto_commit=False, reconnect_backoff_max_ms=RECONNECT_MS
        )
        try:
            parts = [
                TopicPartition(self.name(topic), part)
                for topic in topics  # as many as there are: who runs it may have made more, or fewer
                for part in sorted(consumer.partitions_for_topic(self.name(topic)) or range(topic.partitions))
            ]
            consumer.assign(parts)
            consumer.seek_to_beginning(*parts)
            yield Follower(consumer, parts)
        finally:
            consumer.close()


@dataclass(frozen=True)
class _Assigned(ConsumerRebalanceListener):  # type: ignore[misc]  # kafka-python has no types
    """Tells at once that there are partitions; that there are none, the worker's loop sees."""

    pulse: Pulse

    def on_partitions_assigned(self, assigned: list[TopicPartition]) -> None:
        self.pulse.ready = self.pulse.ready or bool(assigned)

    def on_partitions_revoked(self, revoked: list[TopicPartition]) -> None:
        pass


@dataclass(frozen=True)
class Follower:
    """A group-less reader. See `Bus.follower`."""

    consumer: KafkaConsumer
    parts: list[TopicPartition]

    def ends(self) -> dict[Any, int]:
        """Where each partition ends now."""
        return dict(self.consumer.end_offsets(self.parts)) if self.parts else {}

    def span(self, ends: Mapping[Any, int]) -> int:
        """How many offsets there are up to those ends."""
        starts = self.consumer.beginning_offsets(self.parts) if self.parts else {}
        return sum(ends[part] - starts[part] for part in self.parts)

    def catch_up(self, until: Mapping[Any, int] | None = None) -> Iterator[Any]:
        """Yield every record up to given ends, or to what is the end of each partition now."""
        ends = self.ends() if until is None else until
        while any(self.consumer.position(part) < ends[part] for part in self.parts):
            for record in self.poll(200):
                if until is None or record.offset < ends[TopicPartition(record.topic, record.partition)]:
                    yield record

    def poll(self, timeout_ms: int) -> Iterator[Any]:
        """Yield the records that come within the time."""
        for records in self.consumer.poll(timeout_ms=timeout_ms).values():
            yield from records


@dataclass
class Publisher:
    """Sends events and tells when they are durable.

    kafka-python's producer is idempotent, and one that lost its place refuses everything from then on. So a producer
    that failed is let go of, and the next records get a new one.
    """

    bus: Bus
    _producer: KafkaProducer | None = None

    @property
    def producer(self) -> KafkaProducer:
        """The producer of now."""
        if self._producer is None:
            self._producer = KafkaProducer(
                bootstrap_servers=self.bus.servers, acks="all", linger_ms=2, reconnect_backoff_max_ms=RECONNECT_MS
            )
        return self._producer

    def close(self, timeout_s: float) -> None:
        """Let go of the producer, and of what it does not get rid of in time."""
        if self._producer is not None:
            self._producer.close(timeout=timeout_s)
            self._producer = None

    def publish(self, *events: Event) -> None:
        """Send the events and wait until every replica that must have them has them.

        Raises:
            UnavailableError: an event is not known to be durable; send it again, its id makes that harmless.
        """
        self.send(*map(seal, events))

    def dead_letter(self, record: Any, service: str, reason: str, detail: str, attempts: int = 1) -> None:
        """Put a record's bytes aside, with where they came from and why, before its offset is committed.

        `detail` names rules and fields, never values. What says nothing is passed over. See `shared.letters`.

        Raises:
            UnavailableError: the letter is not known to be durable; do not commit the record's offset.
        """
        if letters.is_kept(reason, service):
            self.send(letters.write(record, service, reason, detail, attempts))
        DEAD_LETTERED.labels(service, reason).inc()

    def send(self, *outgoing: Outgoing) -> None:
        """Send records and wait until every replica that must have them has them.

        Raises:
            UnavailableError: one is not known to be durable.
        """
        self._send([(self.bus.name(out.topic), out.key, out.value, out.headers) for out in outgoing])

    def send_back(self, letter: letters.Letter) -> None:
        """Send the record of a letter to where it came from, as it was.

        Raises:
            UnavailableError: it is not known to be durable.
        """
        one = letter.original
        self._send([(one.topic, one.key, one.value, [*one.headers, letters.REDRIVEN])])

    def _send(self, records: Sequence[tuple[str, bytes | None, bytes | None, Headers]]) -> None:
        try:
            sent = [
                self.producer.send(topic, key=key, value=value, headers=headers)
                for topic, key, value, headers in records
            ]
            for future in sent:
                future.get(timeout=ACK_TIMEOUT_S)
        except KafkaError as error:
            self.close(0)
            raise UnavailableError(f"Kafka did not confirm {len(records)} records ({type(error).__name__}).") from error


def _check_broker(admin: KafkaAdminClient, servers: str) -> None:
    joins = next((span for api, span in admin.api_versions().items() if api.name == JOIN_GROUP), (0, 0))
    if joins[1] < STATIC_MEMBERS:
        raise ConfigError(
            f"Kafka at {servers} is older than 2.3: it knows neither members of groups that keep their name nor"
            " max.compaction.lag.ms. Upgrade it, or set LEARNBACK_KAFKA_BOOTSTRAP_SERVERS."
        )


def _check_partitions(admin: KafkaAdminClient, wanted: Mapping[str, int]) -> None:
    """A key's partition is its hash modulo their number, so that joins and changelogs need the very number."""
    there = {topic["name"]: len(topic["partitions"]) for topic in admin.describe_topics(sorted(wanted))}
    wrong = [
        f"{name} has {there[name]} and needs {count}"
        for name, count in sorted(wanted.items())
        if there.get(name, count) != count
    ]
    if wrong:
        raise ConfigError(
            f"Topics have the wrong number of partitions: {'; '.join(wrong)}. Keys would be in other places than the"
            " services look: set another LEARNBACK_TOPIC_PREFIX, or delete these topics if nothing on them is needed."
        )


def _await_topics(admin: KafkaAdminClient, names: set[str], timeout_s: float = 20) -> None:
    deadline = time.monotonic() + timeout_s
    while missing := names - set(admin.list_topics()):
        if time.monotonic() > deadline:
            raise UnavailableError(f"Kafka did not create {', '.join(sorted(missing))} within {timeout_s:.0f} s.")
        time.sleep(0.1)


def _await_partitions(consumer: KafkaConsumer, counts: dict[str, int], timeout_s: float = 20) -> None:
    """Learn of all partitions before the consumer joins its group.

    A member that joins before it knows them joins a second time when it does, and kafka-python 3.0.12 forgets that
    join when one poll is shorter than it: it sets `_assignment_snapshot` before the answer is there, `need_rejoin` says
    no, and the member stays without partitions for ever (2 of 10 that started along with a busy broker, measured).
    """
    deadline = time.monotonic() + timeout_s
    while missing := [name for name, count in counts.items() if len(consumer.partitions_for_topic(name)) < count]:
        if time.monotonic() > deadline:
            consumer.close()
            raise UnavailableError(f"Kafka does not lead all partitions of {', '.join(missing)}.")
        time.sleep(0.1)
