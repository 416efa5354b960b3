"""The end of the load: wait until nothing is on its way any more, since only then a history proves anything."""

from __future__ import annotations

import re
import time
import urllib.request
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy import create_engine

from local.readiness import is_ready
from nemesis.installation import Installation
from shared.errors import FatalError
from shared.kafka import Bus
from shared.tables import consumed
from shared.topics import TOPICS

CALM_S = 3.0  # nothing moves for this long: dead letters that the last records led to have been read too
POLL_S = 0.25
SPOOLED = re.compile(r"^learnback_spool_events ([-0-9.e+]+)$", re.MULTILINE)


@dataclass(frozen=True)
class Drain:
    """How long it took; `problem` says what did not come to rest in time."""

    seconds: float
    problem: str | None = None


def drain(here: Installation, timeout_s: float) -> Drain:
    """Wait until every program is ready, the spool is empty and the recorder has read everything."""
    start = time.monotonic()
    try:
        _drained(here, start, timeout_s)
    except FatalError as error:
        return Drain(time.monotonic() - start, str(error))
    return Drain(time.monotonic() - start)


def _drained(here: Installation, start: float, timeout_s: float) -> None:
    _await(lambda: all(map(is_ready, here.programs.values())), start + timeout_s, "not every program became ready")
    await_spool(here.ports.url("collector"), start + timeout_s)
    rest(here.bus, here.run.database_url, start + timeout_s - time.monotonic())


def await_spool(collector: str, deadline: float) -> None:
    """Wait until the spool of the collector at an address is empty.

    Raises:
        FatalError: it is not at the deadline, which is a moment of the monotonic clock.
    """
    _await(lambda: spooled(collector) == 0, deadline, "the collector's spool did not become empty")


def rest(bus: Bus, database_url: str, timeout_s: float) -> None:
    """Wait until the recorder has read everything, and nothing comes any more.

    Raises:
        FatalError: it did not within the time.
    """
    deadline = time.monotonic() + timeout_s
    calm_since: float | None = None
    while calm_since is None or time.monotonic() - calm_since < CALM_S:
        if time.monotonic() > deadline:
            raise FatalError(f"The recorder did not catch up in time: {lag(bus, database_url)} records are left.")
        calm_since = None if lag(bus, database_url) else calm_since or time.monotonic()
        time.sleep(POLL_S)


def spooled(collector: str) -> float:
    """Events in the spool of the collector at an address."""
    with urllib.request.urlopen(f"{collector}/metrics", timeout=5) as answer:  # noqa: S310
        found = SPOOLED.search(answer.read().decode())
    if found is None:
        raise FatalError("The collector does not say how many events are in its spool.")
    return float(found.group(1))


def lag(bus: Bus, database_url: str) -> int:
    """Records on the broker that SQL does not know of yet."""
    engine = create_engine(database_url)
    with engine.connect() as connection:
        places = consumed(connection)
    engine.dispose()
    with bus.follower(*TOPICS) as follower:
        ends = follower.consumer.end_offsets(follower.parts)
    return sum(end - places.get((part.topic, part.partition), 0) for part, end in ends.items())


def _await(holds: Callable[[], bool], deadline: float, otherwise: str) -> None:
    while True:
        try:
            if holds():
                return
        except OSError:
            pass
        if time.monotonic() > deadline:
            raise FatalError(f"After the faults {otherwise} in time.")
        time.sleep(POLL_S)
