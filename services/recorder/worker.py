"""The recorder's loop: a poll, one transaction with the rows and the offsets, and on.

SQL says where to go on, so a crash at any point repeats without effect. Kafka's own offsets are committed behind, for
those who look at the group's lag, and are never ahead.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass
from datetime import UTC, datetime

import structlog
from prometheus_client import Counter
from sqlalchemy import Engine, select
from sqlalchemy.exc import InterfaceError, OperationalError
from sqlmodel import col

from services.recorder import gauges
from services.recorder.batch import Batch, record
from services.recorder.feed import Feed, Part
from services.recorder.intake import SERVICE, Intake
from shared.crash import crash_point
from shared.errors import UnavailableError
from shared.observe import HANDLE_SECONDS, LAG, Pulse
from shared.policy import PolicyFile
from shared.tables import Consumed

BACKOFF_S = (0.2, 5.0)  # first and longest wait for a database that is away; far below max.poll.interval.ms
TELL_S = 1.0
CONFLICTS = Counter("learnback_id_conflicts_total", "Events whose id another one had taken")
TRANSIENT = (OperationalError, InterfaceError, UnavailableError)

log = structlog.get_logger()


@dataclass
class Worker:
    """The loop and what it works with; the fields are the test seams."""

    feed: Feed
    intake: Intake
    engine: Engine
    policies: PolicyFile
    pulse: Pulse
    stopping: threading.Event
    batch_size: int = 1000
    poll_s: float = 0.1
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
        self._tell(every_s=0)

    def turn(self) -> None:
        """Poll once and record what came.

        Raises:
            OperationalError, InterfaceError, UnavailableError: SQL or Kafka is away; nothing was recorded.
        """
        self.pulse.touch()
        polled = self.feed.poll(self.batch_size, self.poll_s)
        self.pulse.ready = self.feed.ready
        if polled:
            crash_point("recorder.after_poll")
            with HANDLE_SECONDS.labels(SERVICE).time():
                self._record(self.intake.take(polled))
        self._tell(TELL_S)

    def _record(self, batch: Batch) -> None:
        with self.engine.connect() as connection:
            made = record(connection, batch, self.policies)
            crash_point("recorder.before_commit")
            connection.commit()
        crash_point("recorder.after_commit")
        gauges.show_recorded(batch.arrivals, made.outcomes, datetime.now(UTC))
        self.feed.advance({Part(one.topic, one.partition): one.next_offset for one in batch.offsets})
        if made.conflicts:
            CONFLICTS.inc(made.conflicts)
            log.warning("id_taken", events=made.conflicts)

    def _back_off(self, error: Exception) -> None:
        """Wait, then read again from where SQL stands."""
        self.pulse.ready = False
        log.warning("waiting", error=type(error).__name__, seconds=self.backoff_s)
        self.stopping.wait(self.backoff_s)
        self.backoff_s = min(self.backoff_s * 2, BACKOFF_S[1])
        self.feed.rewind()

    def _tell(self, every_s: float) -> None:
        """Show our place and lag to those who watch the group, and whether the ledger balances."""
        if time.monotonic() - self.told_at < every_s:
            return
        self.told_at = time.monotonic()
        for topic, events in self.feed.tell_kafka().items():
            LAG.labels(SERVICE, topic).set(events)
        now = datetime.now(UTC)
        gauges.show_balance(self.engine, now, self.feed.read_until(now))


def recorded(engine: Engine) -> dict[Part, int]:
    """The next offset of each partition, as SQL has it."""
    query = select(col(Consumed.topic), col(Consumed.partition), col(Consumed.next_offset))
    with engine.connect() as connection:
        return {Part(topic, part): place for topic, part, place in connection.execute(query)}
