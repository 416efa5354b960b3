"""Ids are unique, valid UUIDv7, and in the order of time."""

from __future__ import annotations

import time
from uuid import UUID

from shared.ids import new_id


def test_an_id_is_a_uuid_of_version_7_with_the_time_in_front() -> None:
    before = time.time_ns() // 1_000_000
    made = UUID(new_id())
    assert made.version == 7
    assert made.variant == "specified in RFC 4122"
    assert before <= made.int >> 80 <= time.time_ns() // 1_000_000


def test_ids_are_unique_and_later_ones_come_after() -> None:
    first = [new_id() for _ in range(1000)]
    time.sleep(0.002)
    assert len(set(first)) == 1000
    assert max(first) < new_id()
