"""The trainer's loop: one request at a time, trained in a child, while the consumer keeps polling.

A long training must not look like a dead consumer: all partitions are paused and the loop polls on (measured: without
poll the group takes the partition away after `max.poll.interval.ms`). The offset is committed after the candidate is
announced; a crash before that repeats the request, which makes the same version.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import structlog
from kafka import OffsetAndMetadata, TopicPartition

from schemas.events import TrainingRequested
from services.trainer.making import FailedTrainingError, Maker
from services.trainer.place import POLL_MS, InterruptedTrainingError, Place
from services.trainer.progress import State, progressed
from services.trainer.reports import Progress
from services.trainer.start import NothingToLearnError
from shared import attempts
from shared.crash import crash_point
from shared.envelope import unseal
from shared.errors import ArtifactError, InvalidEventError
from shared.kafka import Publisher
from shared.observe import EVENTS_IN, EVENTS_OUT
from shared.topics import TRAINING_REQUESTS

log = structlog.get_logger()


@dataclass(frozen=True)
class Worker:
    """The loop: its place in the group, where it tells how far it is, and who makes versions."""

    place: Place
    publisher: Publisher
    maker: Maker

    def run(self) -> None:
        """Take requests until asked to stop."""
        pulse, consumer = self.place.pulse, self.place.consumer
        self.maker.clear()
        while not self.place.stopping.is_set():
            pulse.touch()
            pulse.ready = bool(consumer.assignment())
            self.maker.expire()
            for part, records in consumer.poll(timeout_ms=POLL_MS, max_records=1).items():
                for record in records:
                    self._take(part, record)

    def _take(self, part: TopicPartition, record: Any) -> None:
        consumer = self.place.consumer
        try:
            if attempts.begin(consumer, part, record.offset):
                self._handle(part, record)
            else:
                self._put_aside(record)
        except InterruptedTrainingError:
            attempts.forgive(consumer, part, record.offset)
            if part in consumer.assignment():
                consumer.seek(part, record.offset)
            return
        finally:
            consumer.resume(*consumer.paused())
        self.maker.checkpoints.clear()
        if part in consumer.assignment():
            consumer.commit({part: OffsetAndMetadata(record.offset + 1, "", -1)})

    def _put_aside(self, record: Any) -> None:
        """Give up a request of which the trainer died each time."""
        reason = f"The trainer died of it {attempts.MOST} times."
        self.publisher.dead_letter(record, "trainer", attempts.CRASH_LOOP, reason, attempts.MOST)
        with suppress(InvalidEventError):
            event = unseal(record.value, record.headers, TRAINING_REQUESTS)
            if isinstance(event, TrainingRequested):
                self._tell(event, "failed", detail=reason)

    def _handle(self, part: TopicPartition, record: Any) -> None:
        try:
            event = unseal(record.value, record.headers, TRAINING_REQUESTS)
        except InvalidEventError as error:
            self.publisher.dead_letter(record, "trainer", error.code, error.detail)
            return
        if isinstance(event, TrainingRequested):
            EVENTS_IN.labels("trainer", "TrainingRequested").inc()
            self.on_training_requested(event, part, record.offset)

    def on_training_requested(self, request: TrainingRequested, part: TopicPartition, offset: int) -> None:
        """Train what the request asks for and announce the candidate.

        Raises:
            InterruptedTrainingError: it is not done, and is to be taken again.
        """
        self._tell(request, "started")
        try:
            event = self.maker.make(request, part, offset, lambda now: self._tell(request, "running", now))
        except NothingToLearnError as reason:
            self._tell(request, "skipped", detail=str(reason))
            return
        except (FailedTrainingError, ArtifactError) as reason:
            self._tell(request, "failed", detail=str(reason))
            log.warning("training_failed", request_id=request.request_id, reason=str(reason))
            return
        crash_point("trainer.before_event")
        self.publisher.publish(event)
        crash_point("trainer.after_event")
        EVENTS_OUT.labels("trainer", "CandidateTrained").inc()
        self._tell(request, "finished", Progress(event.steps, event.steps, 0.0, event.examples_per_s, 0.0))
        log.info("candidate_trained", model=event.model, version=event.version, lessons=len(event.lessons))

    def _tell(self, request: TrainingRequested, state: State, now: Progress | None = None, detail: str = "") -> None:
        self.publisher.publish(progressed(request, state, datetime.now(UTC), now, detail))
