"""What became of the events that each process accepted: the rows of the ledger that one batch touches.

A repeat is an event that was accepted a second time: same id, accepted at another moment. The very same record twice
(same id, same moment) is its log's doing, which sends again what was not confirmed: it was accepted once, so it counts
once, or it would hide a loss. (The second sending of a repeat cannot be told from a third acceptance.)
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from sqlalchemy import Connection, select
from sqlmodel import col

from schemas.events import Event, EventsCounted, FeedbackReceived, PredictionServed, ReviewDecided, TrainingRequested
from services.recorder.sql import among, chunks, replace
from shared.tables import FeedbackRow, LedgerRow, Prediction, Request, Review

Outcome = Literal["stored", "repeats", "conflicts", "dead", "quarantined", "erased"]
OUTCOMES: tuple[Outcome, ...] = ("stored", "repeats", "conflicts", "dead", "quarantined", "erased")
Slot = tuple[str, datetime]  # a process and a minute

ACCEPTED = (  # what comes in by HTTP, and where its first event can be found again
    (PredictionServed, Prediction),
    (FeedbackReceived, FeedbackRow),
    (ReviewDecided, Review),
    (TrainingRequested, Request),
)


@dataclass
class Arrivals:
    """The events of one batch that carry the name of who accepted them, and what became of them."""

    slots: list[tuple[Slot, Event]] = field(default_factory=list)
    aside: list[tuple[Slot, Outcome]] = field(default_factory=list)

    def event(self, instance: str, event: Event) -> None:
        """An event arrived."""
        self.slots.append(((instance, minute(event.occurred_at)), event))

    def put_aside(self, instance: str, at: datetime, outcome: Outcome) -> None:
        """A record arrived of which no event could be made."""
        self.aside.append(((instance, minute(at)), outcome))


@dataclass(frozen=True)
class Ends:
    """What became of a batch's events: ids whose rows it wrote, ids it left out, and (id, moment) of conflicts."""

    written: Set[str]
    erased: Set[str]
    conflicts: Set[tuple[str, datetime]]


def minute(moment: datetime) -> datetime:
    """The minute that a moment is in."""
    return moment.astimezone(UTC).replace(second=0, microsecond=0)


def settle(connection: Connection, arrivals: Arrivals, said: Sequence[EventsCounted], ends: Ends) -> Counter[Outcome]:
    """Write down what processes said and what arrived. Returns how often each outcome came."""
    became = _outcomes(connection, arrivals, ends)
    slots = {(one.instance, minute(one.bucket)) for one in said} | became.keys()
    if not slots:
        return Counter()
    rows = _rows(connection, slots)
    for one in said:
        _hear(rows[one.instance, minute(one.bucket)], one)
    for slot, counts in became.items():
        _count(rows[slot], counts)
    for row in rows.values():
        row.missing = max(row.accepted, row.arrived) - sum(getattr(row, outcome) for outcome in OUTCOMES)
    replace(connection, [rows[slot] for slot in sorted(rows)])
    return sum(became.values(), Counter())


def _outcomes(connection: Connection, arrivals: Arrivals, ends: Ends) -> dict[Slot, Counter[Outcome]]:
    became: dict[Slot, Counter[Outcome]] = defaultdict(Counter)
    for slot, outcome in arrivals.aside:
        became[slot][outcome] += 1
    known: list[tuple[Slot, Event]] = []
    unclaimed = set(ends.written)
    for slot, event in arrivals.slots:
        if (event.event_id, event.occurred_at) in ends.conflicts:
            became[slot]["conflicts"] += 1
        elif event.event_id in unclaimed:
            unclaimed.remove(event.event_id)  # the same id again in this batch is a repeat
            became[slot]["stored"] += 1
        elif event.event_id in ends.erased:
            became[slot]["erased"] += 1
        else:
            known.append((slot, event))
    first = _moments(connection, [event for _, event in known])
    for slot, event in known:
        if first.get(event.event_id) != event.occurred_at:
            became[slot]["repeats"] += 1
    return became


def _moments(connection: Connection, events: Sequence[Event]) -> dict[str, datetime]:
    """Event id → when the event that holds it was accepted, for those that hold it in a table of their type."""
    moments: dict[str, datetime] = {}
    for event_type, table in ACCEPTED:
        for ids in chunks(event.event_id for event in events if isinstance(event, event_type)):
            query = select(col(table.event_id), col(table.occurred_at)).where(among(connection, table.event_id, ids))
            moments.update((event_id, at) for event_id, at in connection.execute(query))
    return moments


def _rows(connection: Connection, slots: Iterable[Slot]) -> dict[Slot, LedgerRow]:
    """The rows of some slots; those that are not there yet are new."""
    slots = set(slots)
    columns = list(LedgerRow.model_fields)
    query = select(*[col(getattr(LedgerRow, name)) for name in columns]).where(
        col(LedgerRow.instance).in_({instance for instance, _ in slots}),
        col(LedgerRow.bucket).in_({bucket for _, bucket in slots}),
    )
    rows = {(instance, bucket): LedgerRow(instance=instance, bucket=bucket) for instance, bucket in slots}
    for found in connection.execute(query).mappings():
        if (slot := (found["instance"], found["bucket"])) in rows:
            rows[slot] = LedgerRow(**found)
    return rows


def _hear(row: LedgerRow, said: EventsCounted) -> None:
    """The newest word of a process is the whole truth."""
    row.accepted = max(row.accepted, said.accepted)
    if row.told_at is None or said.occurred_at >= row.told_at:
        row.told_at, row.unresolved = said.occurred_at, said.unresolved


def _count(row: LedgerRow, counts: Mapping[Outcome, int]) -> None:
    row.arrived += sum(counts.values())
    for outcome, count in counts.items():
        setattr(row, outcome, getattr(row, outcome) + count)
