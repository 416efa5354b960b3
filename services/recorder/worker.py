"""The recorder's loop: a poll, one transaction with the rows and the offsets, and on.

SQL says where to go on, so a crash at any point repeats without effect. Kafka's own offsets are committed behind, for
those who look at the group's lag, and are never ahead.
"""

from __future__ import annotations

import threading
import time
from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from sqlalchemy import Engine
from sqlalchemy.exc import DBAPIError

from services.recorder import gauges
from services.recorder.attempts import MOST, Attempts
from services.recorder.batch import SERVICE
from services.recorder.chores import Chores
from services.recorder.feed import Feed
from services.recorder.recording import Recording, is_away
from services.recorder.records import Part, Polled, Record, parted
from shared.crash import crash_point
from shared.errors import UnavailableError
from shared.observe import HANDLE_SECONDS, LAG, Pulse
from shared.tables import consumed, reason

BACKOFF_S = (0.2, 5.0)  # first and longest wait for a database that is away; far below max.poll.interval.ms
TELL_S = 1.0

log = structlog.get_logger()


@dataclass
class Worker:
    """The loop and what it works with; the fields are the test seams."""

    feed: Feed
    recording: Recording
    engine: Engine
    pulse: Pulse
    stopping: threading.Event
    chores: Chores
    batch_size: int = 1000
    poll_s: float = 0.1
    backoff_s: float = BACKOFF_S[0]
    told_at: float = 0.0
    attempts: Attempts = field(init=False)

    def __post_init__(self) -> None:
        """Know how far a suspect batch may reach."""
        self.attempts = Attempts(self.engine, self.batch_size)

    def run(self) -> None:
        """Record until asked to stop; a batch that has begun is finished."""
        while not self.stopping.is_set():
            try:
                self.turn()
            except (DBAPIError, UnavailableError) as error:
                if not is_away(error):
                    raise
                self._back_off(error)
            else:
                self.backoff_s = BACKOFF_S[0]
        self.attempts.forgive()
        self.feed.tell_kafka()

    def turn(self) -> None:
        """Poll once and record what came.

        Raises:
            DBAPIError, UnavailableError: SQL or Kafka is away; what was not recorded is read again.
        """
        self.pulse.touch()
        polled = self.feed.poll(self.batch_size, self.poll_s)
        self.pulse.ready = self.feed.ready
        if polled:
            crash_point("recorder.after_poll")
            with HANDLE_SECONDS.labels(SERVICE).time():
                self._record(polled)
            if self.recording.erased:
                self.recording.erased = False
                self.chores.after_erasure()
        self._tell()

    def _record(self, polled: Polled) -> None:
        if self.attempts.begin(polled):
            for records in polled.values():
                for one in records:
                    self._record_alone(one)
        else:
            self.recording.take(polled)
        self.attempts.past(polled)
        self.feed.advance(self.recording.places)

    def _record_alone(self, one: Record) -> None:
        if (tries := self.attempts.tried(one)) >= MOST:
            self.recording.put_aside(one, tries, "the recorder died of it")
        else:
            self.recording.take(parted([one]))

    def _back_off(self, error: Exception) -> None:
        """Wait, then read again from where SQL stands."""
        self.pulse.ready, self.pulse.trouble = False, reason(error)
        log.warning("waiting", reason=self.pulse.trouble, seconds=self.backoff_s)
        self.stopping.wait(self.backoff_s)
        self.backoff_s = min(self.backoff_s * 2, BACKOFF_S[1])
        self.feed.rewind()

    def _tell(self) -> None:
        """Show our place and lag to those who watch the group, and whether the ledger balances."""
        if time.monotonic() - self.told_at < TELL_S:
            return
        self.told_at = time.monotonic()
        lag = self.feed.tell_kafka()
        for topic, events in lag.items():
            LAG.labels(SERVICE, topic).set(events)
        self.chores.turn(self.recording.newest, caught_up=not any(lag.values()))
        now = datetime.now(UTC)
        gauges.show_balance(self.engine, now, self.feed.read_until(now))


def recorded(engine: Engine) -> dict[Part, int]:
    """The next offset of each partition, as SQL has it."""
    with engine.connect() as connection:
        return {Part(*place): offset for place, offset in consumed(connection).items()}
