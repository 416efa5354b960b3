"""The trainer's loop: one request at a time, trained in a child, while the consumer keeps polling.

A long training must not look like a dead consumer: all partitions are paused and the loop polls on (measured: without
poll the group takes the partition away after `max.poll.interval.ms`). The offset is committed after the candidate is
announced; a crash before that repeats the request, which makes the same version.
"""

from __future__ import annotations

import shutil
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.context import ForkServerContext
from pathlib import Path
from typing import Any, TypeVar

import structlog
from kafka import KafkaConsumer, OffsetAndMetadata, TopicPartition

from schemas.events import CandidateTrained, TrainingRequested
from services.trainer import candidate
from services.trainer.checkpoints import Checkpoints
from services.trainer.child import Child, Job, start
from services.trainer.desk import Desk, NotYetError
from services.trainer.origins import Origins
from services.trainer.progress import State, progressed
from services.trainer.reports import Failure, Outcome, Progress
from services.trainer.snapshot import Snapshot
from services.trainer.start import NothingToLearnError
from shared import attempts
from shared.artifacts import ArtifactStore
from shared.crash import crash_point
from shared.envelope import unseal
from shared.errors import ArtifactError, InvalidEventError, UnavailableError
from shared.kafka import Publisher
from shared.observe import EVENTS_IN, EVENTS_OUT, Pulse
from shared.topics import TRAINING_REQUESTS

POLL_MS = 500
WATCH_MS = 100  # how soon a finished child is noticed
PROGRESS_S = 0.5
PATIENCE_S = 120  # for SQL to know a request; the recorder lags by milliseconds, or it is down

STORE_MS = 2000  # until an artifact store that is away is asked again

Told = TypeVar("Told")
log = structlog.get_logger()


class InterruptedTrainingError(Exception):
    """The partition went to another member, or the process is to stop: the request is for later."""


class FailedTrainingError(Exception):
    """The request cannot be met, now or later; the reason says why."""


@dataclass
class Worker:
    """The loop and what it works with; the fields are the test seams."""

    consumer: KafkaConsumer
    publisher: Publisher
    desk: Desk
    artifacts: ArtifactStore
    forkserver: ForkServerContext
    checkpoints: Checkpoints
    work_dir: Path
    threads: int
    device: str
    pulse: Pulse
    stopping: threading.Event

    def run(self) -> None:
        """Take requests until asked to stop."""
        for left in self.work_dir.glob("*"):  # by a trainer that was killed: it is made anew, here or elsewhere
            shutil.rmtree(left)
        while not self.stopping.is_set():
            self.pulse.touch()
            self.pulse.ready = bool(self.consumer.assignment())
            self.checkpoints.expire(self.desk.erasures)
            for part, records in self.consumer.poll(timeout_ms=POLL_MS, max_records=1).items():
                for record in records:
                    self._take(part, record)

    def _take(self, part: TopicPartition, record: Any) -> None:
        try:
            if attempts.begin(self.consumer, part, record.offset):
                self._handle(part, record)
            else:
                self._put_aside(record)
        except InterruptedTrainingError:
            attempts.forgive(self.consumer, part, record.offset)
            if part in self.consumer.assignment():
                self.consumer.seek(part, record.offset)
            return
        finally:
            self.consumer.resume(*self.consumer.paused())
        self.checkpoints.clear()
        if part in self.consumer.assignment():
            self.consumer.commit({part: OffsetAndMetadata(record.offset + 1, "", -1)})

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
            event = self._made(request, part, offset)
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

    def _made(self, request: TrainingRequested, part: TopicPartition, offset: int) -> CandidateTrained:
        """The announcement of the request's version, which is trained unless it is stored.

        Raises:
            ArtifactError: the files of the champion, or of the version, are not what they were.
            FailedTrainingError, InterruptedTrainingError, NothingToLearnError: there is none.
        """
        erasures = self.desk.erasures()
        snapshot, texts = self._prepared(request, part, offset)
        event = self._announced(snapshot, request, part)
        if event is None:
            crash_point("trainer.before_training")
            attempts.forgive(self.consumer, part, offset)  # it may be killed as often as it likes while a child trains
            self._train(request, snapshot, texts, part, erasures)
            event = self._announced(snapshot, request, part)
        assert event is not None  # it was stored a moment ago, and nobody removes a version
        return event

    def _prepared(
        self, request: TrainingRequested, part: TopicPartition, offset: int
    ) -> tuple[Snapshot, Mapping[str, str]]:
        deadline = time.monotonic() + PATIENCE_S
        while True:
            try:
                return self.desk.prepare(request, f"{part.topic}/{part.partition}/{offset}")
            except NotYetError as reason:
                if time.monotonic() > deadline:
                    log.warning("still_waiting", request_id=request.request_id, reason=str(reason))
                    raise InterruptedTrainingError(str(reason)) from None
            self._idle(part)

    def _train(
        self,
        request: TrainingRequested,
        snapshot: Snapshot,
        texts: Mapping[str, str],
        part: TopicPartition,
        erasures: int,
    ) -> None:
        """Train a version in a child, and store it, unless a user was erased meanwhile who had a part in it."""
        origins = self._origins(snapshot)
        parent = None
        if snapshot.goes_on_from:
            folder = candidate.folder_of(snapshot.goes_on_from)
            parent, _ = self._patiently(part, lambda: self.artifacts.get(folder, snapshot.parent_manifest))
        output = self.work_dir / snapshot.version
        output.mkdir(parents=True)
        checkpoint = self.checkpoints.place(snapshot, origins, erasures), self.checkpoints.every_s
        child = start(self.forkserver, Job(snapshot, texts, parent, output, self.threads, self.device, *checkpoint))
        try:
            result = self._watch(child, request, part)
            if isinstance(result, Failure):
                raise FailedTrainingError(f"Training {result.error}; see the trainer's log.")
            crash_point("trainer.after_adapter_write")
            if self._is_forgotten(snapshot, erasures):
                raise InterruptedTrainingError("a user was erased who had a part in it")
            outcome = result
            self._patiently(part, lambda: candidate.store(self.artifacts, snapshot, origins, outcome, output))
            crash_point("trainer.after_rename")
        finally:
            child.stop()
            shutil.rmtree(output, ignore_errors=True)

    def _announced(
        self, snapshot: Snapshot, request: TrainingRequested, part: TopicPartition
    ) -> CandidateTrained | None:
        return self._patiently(part, lambda: candidate.announced(self.artifacts, snapshot, request, datetime.now(UTC)))

    def _patiently(self, part: TopicPartition, ask: Callable[[], Told]) -> Told:
        """What the artifact store answers, as soon as it does: what was trained is not to be trained again."""
        while True:
            try:
                return ask()
            except UnavailableError as reason:
                log.warning("waiting", reason=str(reason))
                self._idle(part, STORE_MS)

    def _origins(self, snapshot: Snapshot) -> Origins:
        try:
            return self.desk.origins(snapshot)
        except NotYetError as reason:
            raise InterruptedTrainingError(str(reason)) from None

    def _is_forgotten(self, snapshot: Snapshot, erasures: int) -> bool:
        try:
            return self.desk.forget(snapshot, erasures)
        except NotYetError as reason:
            raise InterruptedTrainingError(str(reason)) from None

    def _watch(self, child: Child, request: TrainingRequested, part: TopicPartition) -> Outcome | Failure:
        """Pass the child's progress on until it ends, polling all the while."""
        told = 0.0
        while True:
            running = child.process.is_alive()  # asked before the news, so that the last words are not missed
            for news in child.news():
                if not isinstance(news, Progress):
                    return news
                crash_point("trainer.mid_epoch")
                if time.monotonic() - told >= PROGRESS_S:
                    told = time.monotonic()
                    self._tell(request, "running", news)
            if not running:
                return Failure(f"ended with exit code {child.process.exitcode}")
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
        self.publisher.publish(progressed(request, state, datetime.now(UTC), now, detail))
