"""From a request to its version in the artifact store: snapshot, training in a child, files.

What is stored already is not trained again, so that a repeated request makes nothing twice.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from multiprocessing.context import ForkServerContext
from pathlib import Path

import structlog
from kafka import TopicPartition

from schemas.events import CandidateTrained, TrainingRequested
from services.trainer import candidate
from services.trainer.checkpoint_folder import CheckpointFolder
from services.trainer.child import Child, Job, start
from services.trainer.desk import Desk, NotYetError
from services.trainer.origins import Origins
from services.trainer.place import InterruptedTrainingError, Place
from services.trainer.reports import Failure, Outcome, Progress
from services.trainer.snapshot import Snapshot
from shared import attempts
from shared.artifacts import ArtifactStore
from shared.crash import crash_point

WATCH_MS = 100  # how soon a finished child is noticed
PROGRESS_S = 0.5
PATIENCE_S = 120  # for SQL to know a request; the recorder lags by milliseconds, or it is down

Tell = Callable[[Progress], None]
log = structlog.get_logger()


class FailedTrainingError(Exception):
    """The request cannot be met, now or later; the reason says why."""


@dataclass(frozen=True)
class Maker:
    """What it takes to make a version; in `work_dir` its files lie until they are stored."""

    desk: Desk
    artifacts: ArtifactStore
    forkserver: ForkServerContext
    checkpoints: CheckpointFolder
    work_dir: Path
    threads: int
    device: str
    place: Place

    def clear(self) -> None:
        """Remove what a trainer left that was killed: its version is made anew, here or elsewhere."""
        for left in self.work_dir.glob("*"):
            shutil.rmtree(left)

    def expire(self) -> None:
        """Drop checkpoints from before the newest erasure."""
        self.checkpoints.expire(self.desk.erasures)

    def make(self, request: TrainingRequested, part: TopicPartition, offset: int, tell: Tell) -> CandidateTrained:
        """The announcement of the request's version, which is trained unless it is stored; `tell` hears how far it is.

        Raises:
            ArtifactError: the files of the champion, or of the version, are not what they were.
            FailedTrainingError, InterruptedTrainingError, NothingToLearnError: there is none.
        """
        erasures = self.desk.erasures()
        snapshot, texts = self._prepared(request, part, offset)
        event = self._announced(snapshot, request, part)
        if event is None:
            crash_point("trainer.before_training")
            # It may be killed as often as it likes while a child trains.
            attempts.forgive(self.place.consumer, part, offset)
            self._train(snapshot, texts, part, erasures, tell)
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
            self.place.idle(part)

    def _train(
        self, snapshot: Snapshot, texts: Mapping[str, str], part: TopicPartition, erasures: int, tell: Tell
    ) -> None:
        """Train a version in a child, and store it, unless a user was erased meanwhile who had a part in it."""
        origins = self._origins(snapshot)
        parent = None
        if snapshot.goes_on_from:
            folder = candidate.folder_of(snapshot.goes_on_from)
            parent, _ = self.place.patiently(part, lambda: self.artifacts.get(folder, snapshot.parent_manifest))
        output = self.work_dir / snapshot.version
        output.mkdir(parents=True)
        checkpoint = self.checkpoints.place(snapshot, origins, erasures), self.checkpoints.every_s
        child = start(self.forkserver, Job(snapshot, texts, parent, output, self.threads, self.device, *checkpoint))
        try:
            result = self._watch(child, part, tell)
            if isinstance(result, Failure):
                raise FailedTrainingError(f"Training {result.error}; see the trainer's log.")
            crash_point("trainer.after_adapter_write")
            if self._is_forgotten(snapshot, erasures):
                raise InterruptedTrainingError("a user was erased who had a part in it")
            outcome = result
            self.place.patiently(part, lambda: candidate.store(self.artifacts, snapshot, origins, outcome, output))
            crash_point("trainer.after_rename")
        finally:
            child.stop()
            shutil.rmtree(output, ignore_errors=True)

    def _announced(
        self, snapshot: Snapshot, request: TrainingRequested, part: TopicPartition
    ) -> CandidateTrained | None:
        return self.place.patiently(
            part, lambda: candidate.announced(self.artifacts, snapshot, request, datetime.now(UTC))
        )

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

    def _watch(self, child: Child, part: TopicPartition, tell: Tell) -> Outcome | Failure:
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
                    tell(news)
            if not running:
                return Failure(f"ended with exit code {child.process.exitcode}")
            self.place.idle(part, WATCH_MS)
