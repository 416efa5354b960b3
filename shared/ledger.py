"""When an event that was accepted counts as lost: what the ledger's rows mean at a moment. Pure.

Counting per tumbling window at both ends and comparing is Uber's Chaperone. A row holds what one process says it
accepted in one minute, and what became of the events that arrived from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Protocol

MINUTE = timedelta(minutes=1)
GRACE = timedelta(seconds=60)  # from ack to row takes about a second; a restart of Kafka or the recorder, some 15 s


class Counted(Protocol):
    """What is asked of a row of the ledger."""

    bucket: datetime
    missing: int


def pending(row: Counted, now: datetime, read_until: datetime | None = None) -> int:
    """How many of a row's missing events may still come: they are young, or unread.

    What waits in a spool is not missing: the count of it waits there too, behind it.

    `read_until` is how far the recorder has read the log, when that is known and not now.
    """
    is_young = (read_until or now) - row.bucket < MINUTE + GRACE
    return max(0, row.missing) if is_young else 0


def imbalance(rows: Iterable[Counted], now: datetime, read_until: datetime | None = None) -> int:
    """Accepted − stored − dead − quarantined − pending over some rows; each row's difference counts, whatever its sign.

    Repeats, conflicts and erased users' events are taken out of `missing` by the recorder.
    """
    return sum(abs(row.missing) - pending(row, now, read_until) for row in rows)
