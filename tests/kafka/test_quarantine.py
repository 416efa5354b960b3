"""What an older Learnback did not know waits in the quarantine, and is recorded by the one that knows it."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared import letters
from shared.envelope import Outgoing, seal
from shared.kafka import Bus
from shared.letters import Original
from shared.tables import DeadLetter, FeedbackRow
from shared.topics import FEEDBACK
from tests.kafka.recorders import Desk, desk, until
from tests.unit.recorder_story import corrected, said, served

pytestmark = pytest.mark.kafka


def refused(bus: Bus, offset: int, record: Outgoing, reason: str = "unknown_version") -> Outgoing:
    """The letter that an older recorder wrote of a record, whose place the log no longer holds."""
    lay = Original(bus.name(FEEDBACK), 0, offset, 0, record.key, record.value, record.headers)
    return letters.write(lay, "recorder", reason, "")


def redriven(here: Desk) -> set[int]:
    """The offsets of letters whose records were sent again."""
    return {row.offset for row in here.rows(DeadLetter) if row.redriven}


def test_what_is_known_after_an_upgrade_is_recorded_once_and_the_rest_goes_on_waiting(bus: Bus, tmp_path: Path) -> None:
    known, forged = seal(said("p1", "b", name="-known")), seal(said("p1", "b", name="-forged"))
    newer = known._replace(value=(known.value or b"")[:-1] + b', "schema_version": 9}')
    with desk(bus, tmp_path) as here, bus.publisher() as publisher:
        publisher.publish(served("p1", "hello"))
        publisher.send(refused(bus, 1001, known), refused(bus, 1002, newer))
        publisher.send(refused(bus, 1003, forged, "forged_app"))  # it waits for a person
        upgraded = here.start()
        until(lambda: here.count(FeedbackRow) == 1 and redriven(here) == {1001})
        upgraded.terminate()
        assert upgraded.wait(30) == 0

        publisher.publish(*corrected("p2", "bye", "b"))
        here.start()
        until(lambda: here.count(FeedbackRow) == 2)
        with bus.follower(FEEDBACK) as follower:
            sent = [record for record in follower.catch_up() if letters.REDRIVEN in record.headers]
        assert [(record.key, record.value) for record in sent] == [(known.key, known.value)]
        assert redriven(here) == {1001}
        assert {row.offset for row in here.rows(DeadLetter)} == {1001, 1002, 1003}
