"""The recorder's loop: a poll, one transaction with the rows and the offsets, and on.

SQL says where to go on, so a crash at any point repeats without effect. Kafka's own offsets are committed behind, for
those who look at the group's lag, and are never ahead. There is no rebalance listener (kafka-python gets stuck with
one, dpkp/kafka-python#3131): what is assigned is compared each turn instead.
"""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field

import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition
from prometheus_client import Counter
from sqlalchemy import Engine, select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlmodel import col

from services.recorder.batch import Batch, record
from services.recorder.intake import SERVICE, Intake, Polled
from shared.errors import UnavailableError
from shared.observe import HANDLE_SECONDS, LAG, Pulse
from shared.policy import PolicyFile
from shared.tables import Consumed

BACKOFF_S = (0.2, 5.0)  # first and longest wait for a database that is away; far below max.poll.interval.ms
TELL_KAFKA_S = 1.0
CONFLICTS = Counter("learnback_prediction_conflicts_total", "Predictions whose id another event had taken")
TRANSIENT = (OperationalError, InterfaceError, UnavailableError)

log = structlog.get_logger()


@dataclass
class Worker:
    """The loop and what it works with; the fields are the test seams."""

    consumer: KafkaConsumer
    intake: Intake
    engine: Engine
    policies: PolicyFile
    pulse: Pulse
    stopping: threading.Event
    poll_ms: int = 200
    places: dict[TopicPartition, int] = field(default_factory=dict)
    backoff_s: float = BACKOFF_S[0]
    told_at: float = 0.0

    def run(self) -> None:
        """Record until asked to stop; a batch that has begun is finished."""
        while not self.stopping.is_set():
            try:
                self.turn()
            except TRANSIENT as error:
                self._back_off(error)
            else:
                self.backoff_s = BACKOFF_S[0]
        if self.places:
            self._tell_kafka(every_s=0)

    def turn(self) -> None:
        """Poll once and record what came.

        Raises:
            OperationalError, InterfaceError, UnavailableError: SQL or Kafka is away; nothing was recorded.
        """
        self.pulse.touch()
        polled = self.consumer.poll(timeout_ms=self.poll_ms)
        self._follow_assignment()
        self.pulse.ready = bool(self.places)
        if polled := self._expected(polled):
            with HANDLE_SECONDS.labels(SERVICE).time():
                self._record(self.intake.take(polled))
        self._tell_kafka(TELL_KAFKA_S)

    def _record(self, batch: Batch) -> None:
        with self.engine.connect() as connection:
            conflicts = record(connection, batch, self.policies)
            connection.commit()
        self.places |= {TopicPartition(one.topic, one.partition): one.next_offset for one in batch.offsets}
        if conflicts:
            CONFLICTS.inc(conflicts)
            log.warning("prediction_id_taken", events=conflicts)

    def _follow_assignment(self) -> None:
        """Go to where SQL stands on partitions that are new to this member, and forget those that left."""
        assigned = set(self.consumer.assignment())
        self.places = {part: place for part, place in self.places.items() if part in assigned}
        if new := assigned - self.places.keys():
            recorded = self._recorded()
            for part in new:
                self.consumer.seek(part, recorded.get(part, 0))
                self.places[part] = recorded.get(part, 0)

    def _recorded(self) -> dict[TopicPartition, int]:
        query = select(col(Consumed.topic), col(Consumed.partition), col(Consumed.next_offset))
        with self.engine.connect() as connection:
            return {TopicPartition(topic, part): place for topic, part, place in connection.execute(query)}

    def _expected(self, polled: Polled) -> Polled:
        """The records from our own place on: a partition that left and came back within one poll starts elsewhere."""
        kept = {
            part: [one for one in records if one.offset >= self.places[part]]
            for part, records in polled.items()
            if part in self.places
        }
        return {part: records for part, records in kept.items() if records}

    def _back_off(self, error: Exception) -> None:
        """Wait, then read again from where SQL stands."""
        self.pulse.ready = False
        log.warning("waiting", error=type(error).__name__, seconds=self.backoff_s)
        self.stopping.wait(self.backoff_s)
        self.backoff_s = min(self.backoff_s * 2, BACKOFF_S[1])
        self.places = {}

    def _tell_kafka(self, every_s: float) -> None:
        """Show our place and lag to those who watch the group."""
        if time.monotonic() - self.told_at < every_s:
            return
        self.told_at = time.monotonic()
        self.consumer.commit_async({part: OffsetAndMetadata(place, "", -1) for part, place in self.places.items()})
        lag: dict[str, int] = defaultdict(int)
        for part, place in self.places.items():
            lag[part.topic] += max(0, (self.consumer.highwater(part) or place) - place)
        for topic, events in lag.items():
            LAG.labels(SERVICE, topic).set(events)
