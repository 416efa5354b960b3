"""The ledger: what each process says it accepted is held against what arrived, and a lost event shows as 1."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import REGISTRY

from schemas.events import Event, EventsCounted
from services.recorder import gauges
from services.recorder.accounting import Arrivals
from services.recorder.batch import Batch, record
from services.recorder.digest import digest
from shared.audit import AuditedLog, Counts
from shared.envelope import Sealed, sealed
from shared.errors import UnconfirmedError
from shared.ledger import GRACE, MINUTE, imbalance
from shared.log import Kept
from shared.tables import LedgerRow
from tests.unit.events import carried
from tests.unit.recorder_story import ANN, NOON, Database, at, erased, said, served

WHO, OTHER = "collector-1", "collector-2"
LATER = NOON + MINUTE + GRACE


def counted(accepted: int, instance: str = WHO, *, when: float = 1, unresolved: int = 0) -> EventsCounted:
    return EventsCounted(
        event_id=f"n-{instance}-{accepted}-{when}",
        occurred_at=at(when),
        source="collector",
        instance=instance,
        bucket=NOON,
        accepted=accepted,
        unresolved=unresolved,
    )


def arrive(database: Database, *events: Event, instance: str = WHO) -> None:
    """Record events that one process accepted, and what processes say of their counts."""
    arrivals = Arrivals()
    for event in events:
        if not isinstance(event, EventsCounted):
            arrivals.event(instance, event)
    with database.engine.connect() as connection:
        record(connection, Batch(events=events, arrivals=arrivals), database.policies)
        connection.commit()


def balance(database: Database, now: Any = LATER, **more: Any) -> int:
    return imbalance(database.rows(LedgerRow), now, **more)


def asked(number: int, when: float = 0) -> Event:
    return served(f"p{number}", f"text {number}", when=when)


@pytest.mark.usefixtures("everywhere")
def test_a_lost_event_makes_the_imbalance_one_and_its_arrival_makes_it_none() -> None:
    database = Database()
    arrive(database, *[asked(number) for number in range(9)], counted(10))
    assert balance(database, NOON + GRACE) == 0  # it may be on its way
    assert balance(database) == 1
    assert balance(database, read_until=NOON + GRACE) == 0  # the recorder has not read that far
    arrive(database, asked(9))
    assert balance(database) == 0
    (row,) = database.rows(LedgerRow)
    assert (row.accepted, row.arrived, row.stored, row.missing) == (10, 10, 10, 0)


@pytest.mark.usefixtures("everywhere")
def test_counts_that_a_killed_process_could_not_say_are_those_that_arrived() -> None:
    database = Database()
    arrive(database, counted(2), *[asked(number) for number in range(5)])
    (row,) = database.rows(LedgerRow)
    assert (row.accepted, row.arrived, row.missing) == (2, 5, 0)


@pytest.mark.usefixtures("everywhere")
def test_a_repeat_is_accepted_twice_and_stored_once() -> None:
    database = Database()
    arrive(database, asked(1), asked(1, when=2), counted(2))
    arrive(database, asked(1, when=3), instance=OTHER)
    first, second = sorted(database.rows(LedgerRow), key=lambda row: row.instance)
    assert (first.stored, first.repeats, first.missing) == (1, 1, 0)
    assert (second.stored, second.repeats, second.missing) == (0, 1, 0)


@pytest.mark.usefixtures("everywhere")
def test_a_record_that_its_log_sent_twice_hides_no_loss() -> None:
    database = Database()
    arrive(database, asked(1), asked(1), asked(2), counted(3))
    arrive(database, asked(2))
    assert balance(database) == 1
    (row,) = database.rows(LedgerRow)
    assert (row.arrived, row.stored, row.repeats) == (2, 2, 0)


@pytest.mark.usefixtures("everywhere")
def test_every_way_that_an_event_can_end_is_counted() -> None:
    database = Database()
    arrive(database, erased(ANN, 50))  # nobody counted it in this minute but its own process
    arrivals = Arrivals()
    arrivals.put_aside(OTHER, NOON, "dead")
    arrivals.put_aside(OTHER, NOON, "quarantined")
    events = [asked(1), served("p-taken", "x", user=None), said("p-taken", "b", user=None), counted(6, OTHER)]
    taken = served("p-taken", "y", user=None).model_copy(update={"event_id": "e-other"})
    for event in (*events[:3], taken):
        arrivals.event(OTHER, event)
    with database.engine.connect() as connection:
        record(connection, Batch(events=(*events, taken), arrivals=arrivals), database.policies)
        connection.commit()
    row = next(row for row in database.rows(LedgerRow) if row.instance == OTHER)
    ends = (row.stored, row.erased, row.conflicts, row.dead, row.quarantined, row.repeats)
    assert ends == (2, 1, 1, 1, 1, 0)
    assert (row.arrived, row.missing) == (6, 0)


@pytest.mark.usefixtures("everywhere")
def test_an_older_word_does_not_undo_a_newer_one() -> None:
    database = Database()
    arrive(database, counted(5, when=9), counted(3, when=4, unresolved=3))
    (row,) = database.rows(LedgerRow)
    assert (row.accepted, row.unresolved) == (5, 0)


@pytest.mark.usefixtures("everywhere")
def test_what_nobody_counts_has_no_row_and_the_digest_leaves_the_ledger_out() -> None:
    counting, plain = Database(), Database()
    arrive(counting, asked(1), counted(1))
    plain.record(asked(1))
    assert not plain.rows(LedgerRow)
    assert digest(counting.engine) == digest(plain.engine)


@settings(deadline=None)  # a dozen transactions on a busy machine
@given(st.data())
def test_whatever_the_order_and_the_batches_only_what_is_lost_is_missing(data: st.DataObject) -> None:
    number = data.draw(st.integers(1, 12))
    accepted = [asked(data.draw(st.integers(0, 5)), when=when) for when in range(number)]
    lost = data.draw(st.sets(st.integers(0, number - 1), max_size=3))
    once = [event for event in accepted if sum(event.event_id == one.event_id for one in accepted) == 1]
    twice = data.draw(st.lists(st.sampled_from(once), max_size=3)) if once else []
    gone = [accepted[index] for index in lost]
    sent = [event for event in accepted + twice if event not in gone] + [counted(number, when=60)]
    database = Database()
    for event in data.draw(st.permutations(sent)):
        arrive(database, event)
    assert balance(database) == len(lost)


@pytest.mark.usefixtures("everywhere")
def test_the_gauges_tell_what_is_missing() -> None:
    database = Database()
    arrive(database, asked(1), counted(3))
    gauges.show_balance(database.engine, LATER, LATER)
    assert REGISTRY.get_sample_value("learnback_ledger_imbalance", {"window": "1h"}) == 2
    assert REGISTRY.get_sample_value("learnback_ledger_imbalance_worst_minute") == 2
    gauges.show_balance(database.engine, LATER + timedelta(hours=2), LATER + timedelta(hours=2))
    assert REGISTRY.get_sample_value("learnback_ledger_imbalance", {"window": "1h"}) == 0
    assert REGISTRY.get_sample_value("learnback_ledger_imbalance", {"window": "all"}) == 2


@dataclass
class Memory:
    """A log that keeps what it is given, as long as it has a mind to."""

    kept: list[Event] = field(default_factory=list)
    away: bool = False
    ready: bool = True
    degraded: bool = False
    instance: str = WHO
    told: asyncio.Event = field(default_factory=asyncio.Event)

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    async def append(self, events: Sequence[Sealed]) -> Kept:
        if self.away:
            raise UnconfirmedError("away")
        self.kept += [carried(one) for one in events]
        if any(one.event_type is EventsCounted for one in events):
            self.told.set()
        return Kept()


def counts(memory: Memory) -> list[tuple[int, int]]:
    return [(one.accepted, one.unresolved) for one in memory.kept if isinstance(one, EventsCounted)]


def test_a_process_says_what_it_accepted_and_what_it_cannot_know() -> None:
    memory = Memory()

    async def serve() -> None:
        log = AuditedLog(memory, Counts(WHO, "collector"), every_s=0.01)
        async with log.running():
            await log.append([sealed(asked(1), WHO), sealed(asked(2), WHO)])
            memory.away = True
            with pytest.raises(UnconfirmedError):
                await log.append([sealed(asked(3), WHO)])
            memory.away = False
            await asyncio.wait_for(memory.told.wait(), 5)
            await log.append([sealed(asked(4), WHO)])  # the last word is said at the end, whatever the clock says

    asyncio.run(serve())
    assert counts(memory)[-1] == (3, 1)
    assert {(one.instance, one.bucket) for one in memory.kept if isinstance(one, EventsCounted)} == {(WHO, NOON)}


def test_counts_that_could_not_be_said_are_said_later() -> None:
    memory = Memory()

    async def outage() -> None:
        log = AuditedLog(memory, Counts(WHO, "collector"), every_s=0.001)
        async with log.running():
            await log.append([sealed(asked(1), WHO)])
            memory.away = True
            for _ in range(5):
                await asyncio.sleep(0.002)
            memory.away = False

    asyncio.run(outage())
    assert counts(memory)[-1] == (1, 0)
