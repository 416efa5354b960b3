"""The trainer's loop: one request at a time, trained in a child, while the consumer keeps polling.

A long training must not look like a dead consumer: all partitions are paused and the loop polls on (measured: without
poll the group takes the partition away after `max.poll.interval.ms`). The offset is committed after the candidate is
announced; a crash before that repeats the request, which makes the same version.
"""

from __future__ import annotations

import shutil
import tempfile
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, Literal

import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from schemas.events import TrainingProgressed, TrainingRequested
from services.trainer import candidate
from services.trainer.child import Child, Job, start
from services.trainer.desk import Desk, NothingToLearnError, NotYetError
from services.trainer.reports import Failure, Outcome, Progress
from services.trainer.snapshot import Snapshot
from shared.artifacts import ArtifactStore
from shared.envelope import unseal
from shared.errors import InvalidEventError
from shared.kafka import Publisher
from shared.observe import DEAD_LETTERED, EVENTS_IN, EVENTS_OUT, Pulse
from shared.text import short_hash
from shared.topics import TRAINING_REQUESTS

POLL_MS = 500
WATCH_MS = 100  # how soon a finished child is noticed
PROGRESS_S = 0.5
PATIENCE_S = 120  # for SQL to know a request; the recorder lags by milliseconds, or it is down

log = structlog.get_logger()
State = Literal["started", "running", "finished", "skipped", "failed"]


class InterruptedTrainingError(Exception):
    """The partition went to another member, or the process is to stop: the request is for later."""


@dataclass
class Worker:
    """The loop and what it works with; the fields are the test seams."""

    consumer: KafkaConsumer
    publisher: Publisher
    desk: Desk
    artifacts: ArtifactStore
    forkserver: ForkServerContext
    work_dir: Path
    threads: int
    pulse: Pulse
    stopping: threading.Event

    def run(self) -> None:
        """Take requests until asked to stop."""
        while not self.stopping.is_set():
            self.pulse.touch()
            self.pulse.ready = bool(self.consumer.assignment())
            for part, records in self.consumer.poll(timeout_ms=POLL_MS, max_records=1).items():
                for record in records:
                    self._take(part, record)

    def _take(self, part: TopicPartition, record: Any) -> None:
        try:
            self._handle(part, record)
        except InterruptedTrainingError:
            if part in self.consumer.assignment():
                self.consumer.seek(part, record.offset)
            return
        finally:
            self.consumer.resume(*self.consumer.paused())
        if part in self.consumer.assignment():
            self.consumer.commit({part: OffsetAndMetadata(record.offset + 1, "", -1)})

    def _handle(self, part: TopicPartition, record: Any) -> None:
        try:
            event = unseal(record.value, record.headers, TRAINING_REQUESTS)
        except InvalidEventError as error:
            self.publisher.dead_letter(record, "trainer", error.code, error.detail)
            DEAD_LETTERED.labels("trainer", error.code).inc()
            return
        if isinstance(event, TrainingRequested):
            EVENTS_IN.labels("trainer", "TrainingRequested").inc()
            self.on_training_requested(event, part)

    def on_training_requested(self, request: TrainingRequested, part: TopicPartition) -> None:
        """Train what the request asks for and announce the candidate.

        Raises:
            InterruptedTrainingError: it is not done, and is to be taken again.
        """
        self._tell(request, "started")
        try:
            snapshot, texts = self._prepared(request, part)
        except NothingToLearnError as reason:
            self._tell(request, "skipped", detail=str(reason))
            return
        if candidate.announced(self.artifacts, snapshot, request, datetime.now(UTC)) is None:
            result = self._trained(request, snapshot, texts, part)
            if isinstance(result, Failure):
                self._tell(request, "failed", detail=f"Training raised {result.error}; see the trainer's log.")
                return
        event = candidate.announced(self.artifacts, snapshot, request, datetime.now(UTC))
        if event is None:
            raise InterruptedTrainingError("the artifact store does not give back what was stored")
        self.publisher.publish(event)
        EVENTS_OUT.labels("trainer", "CandidateTrained").inc()
        self._tell(request, "finished", Progress(event.steps, event.steps, 0.0, event.examples_per_s, 0.0))
        log.info("candidate_trained", model=event.model, version=event.version, lessons=len(event.lessons))

    def _prepared(self, request: TrainingRequested, part: TopicPartition) -> tuple[Snapshot, Mapping[str, str]]:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.desk.prepare(request)
            except NotYetError as reason:
                if time.monotonic() > deadline:
                    log.warning("still_waiting", request_id=request.request_id, reason=str(reason))
                    raise InterruptedTrainingError(str(reason)) from None
            self._idle(part)

    def _trained(
        self, request: TrainingRequested, snapshot: Snapshot, texts: Mapping[str, str], part: TopicPartition
    ) -> Outcome | Failure:
        parent = None
        if snapshot.parent:
            parent, _ = self.artifacts.get(candidate.folder_of(snapshot.parent), snapshot.parent_manifest)
        self.work_dir.mkdir(parents=True, exist_ok=True)
        output = Path(tempfile.mkdtemp(prefix=f"{snapshot.version}-", dir=self.work_dir))
        child = start(self.forkserver, Job(snapshot, texts, parent, output, self.threads))
        try:
            result = self._watch(child, request, part)
            if isinstance(result, Outcome):
                candidate.store(self.artifacts, snapshot, result, output)
            return result
        finally:
            child.stop()
            shutil.rmtree(output, ignore_errors=True)

    def _watch(self, child: Child, request: TrainingRequested, part: TopicPartition) -> Outcome | Failure:
        """Pass the child's progress on until it ends, polling all the while."""
        told = 0.0
        while True:
            running = child.process.is_alive()  # asked before the news, so that the last words are not missed
            for news in child.news():
                if not isinstance(news, Progress):
                    return news
                if time.monotonic() - told >= PROGRESS_S:
                    told = time.monotonic()
                    self._tell(request, "running", news)
            if not running:
                return Failure(f"exit code {child.process.exitcode}")
            self._idle(part, WATCH_MS)

    def _idle(self, part: TopicPartition, timeout_ms: int = POLL_MS) -> None:
        """Let the time pass without losing the place in the group."""
        self.consumer.pause(*self.consumer.assignment())  # newly assigned partitions arrive unpaused
        for other, records in self.consumer.poll(timeout_ms=timeout_ms, max_records=1).items():
            self.consumer.seek(other, records[0].offset)
        self.pulse.touch()
        if self.stopping.is_set() or part not in self.consumer.assignment():
            raise InterruptedTrainingError("stopped" if self.stopping.is_set() else "the partition moved")

    def _tell(self, request: TrainingRequested, state: State, now: Progress | None = None, detail: str = "") -> None:
        step = now.step if now else 0
        moment = datetime.now(UTC)
        self.publisher.publish(
            TrainingProgressed(
                event_id=short_hash("progress", request.request_id, state, str(step), moment.isoformat()),
                occurred_at=moment,
                source="trainer",
                request_id=request.request_id,
                model=request.model,
                state=state,
                step=step,
                steps=now.steps if now else 0,
                loss=now.loss if now and state == "running" else None,
                examples_per_s=now.examples_per_s if now else None,
                seconds_left=now.seconds_left if now else None,
                detail=detail,
            )
        )
