"""Records into SQL: together when all is well, one by one to find the record that a batch fails of.

A record that raises each time is put aside, and the others are recorded. A database or a broker that is away is no
fault of a record: that is waited for, and nothing is skipped.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime

import structlog
from prometheus_client import Counter
from sqlalchemy import Engine
from sqlalchemy.exc import DataError, DBAPIError, IntegrityError

from schemas.events import UserErased
from services.recorder import gauges
from services.recorder.attempts import MOST
from services.recorder.batch import Batch, Recorded, record
from services.recorder.intake import Intake
from services.recorder.records import Part, Polled, Record, parted
from shared.crash import crash_point
from shared.errors import FatalError, UnavailableError
from shared.policy import PolicyFile

CONFLICTS = Counter("learnback_id_conflicts_total", "Events whose id another one had taken")
CRASH_LOOP = "crash_loop"
MOST_CULPRITS = 20  # records that fail one after the other without a good one in between: then it is not the records

log = structlog.get_logger()


@dataclass
class Recording:
    """Takes what was polled into SQL.

    `newest` is the latest moment of an event so far; `erased` says that a user was erased since somebody looked.
    """

    intake: Intake
    engine: Engine
    policies: PolicyFile
    places: dict[Part, int] = field(default_factory=dict)
    culprits: int = 0
    newest: datetime | None = None
    erased: bool = False

    def take(self, polled: Polled) -> None:
        """Record everything, but for records that fail each time, which are put aside. `places` tells how far it came.

        Raises:
            UnavailableError, DBAPIError: Kafka or SQL is away; what came after `places` is not recorded.
            FatalError: nothing can be recorded at all.
        """
        try:
            self._record(polled)
        except Exception as error:
            if is_away(error) or isinstance(error, FatalError):
                raise
            records = [one for records in polled.values() for one in records]
            if len(records) == 1:
                self._suspect(records[0], error)
                return
            for half in (records[: len(records) // 2], records[len(records) // 2 :]):
                self.take(parted(half))

    def put_aside(self, record: Record, attempts: int, error: str) -> None:
        """Put a record aside that cannot be recorded, and go on behind it.

        Raises:
            UnavailableError, DBAPIError: Kafka or SQL is away.
            FatalError: so many failed in a row that it is not theirs.
        """
        self.culprits += 1
        if self.culprits > MOST_CULPRITS:
            raise FatalError(f"{self.culprits} records in a row could not be recorded ({error}); see the log, and why.")
        log.error(CRASH_LOOP, topic=record.topic, partition=record.partition, offset=record.offset, error=error)
        self._write(self.intake.without(record, CRASH_LOOP, error, attempts))
        self.places[Part(record.topic, record.partition)] = record.offset + 1

    def _record(self, polled: Polled) -> None:
        batch = self.intake.take(polled)
        made = self._write(batch)
        crash_point("recorder.after_commit")
        self.places |= {part: records[-1].offset + 1 for part, records in polled.items()}
        self.culprits = 0
        self.newest = max((self.newest, *(event.occurred_at for event in batch.events)), key=_moment, default=None)
        self.erased = self.erased or bool(batch.of(UserErased))
        gauges.show_recorded(batch.arrivals, made, datetime.now(UTC))
        if made.conflicts:
            CONFLICTS.inc(made.conflicts)
            log.warning("id_taken", events=made.conflicts)

    def _write(self, batch: Batch) -> Recorded:
        with self.engine.connect() as connection:
            made = record(connection, batch, self.policies)
            self.intake.publish(made.out)  # before the commit: what is not published is recorded again
            crash_point("recorder.before_commit")
            connection.commit()
        return made

    def _suspect(self, record: Record, error: Exception) -> None:
        """Try one record until it has failed MOST times, then put it aside."""
        for _ in range(MOST - 1):
            try:
                return self._record(parted([record]))
            except Exception as again:
                if is_away(again):
                    raise
                error = again
        return self.put_aside(record, MOST, type(error).__name__)


def _moment(at: datetime | None) -> float:
    return at.timestamp() if at else 0.0


def is_away(error: Exception) -> bool:
    """Whether SQL or Kafka is away or not as it should be, so that the record is not to blame."""
    if isinstance(error, DBAPIError):
        return not isinstance(error, DataError | IntegrityError)
    return isinstance(error, UnavailableError)
