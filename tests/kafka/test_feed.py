"""The recorder's member of its group: whoever takes its name ends it, instead of leaving it deaf and ready."""

from __future__ import annotations

import time
from dataclasses import replace

import pytest

from services.recorder.feed import Feed
from shared.errors import FatalError
from shared.kafka import Bus
from shared.topics import FEEDBACK

pytestmark = pytest.mark.kafka
DEADLINE_S = 30


def test_a_recorder_whose_place_was_given_to_another_ends(bus: Bus) -> None:
    named = replace(bus, instance="one")
    first = Feed.open(named, "recorder", (FEEDBACK,), dict)
    poll_until_ready(first)
    second = Feed.open(named, "recorder", (FEEDBACK,), dict)
    try:
        poll_until_ready(second)
        with pytest.raises(FatalError, match="started again"):
            poll_for(first, DEADLINE_S)
    finally:
        first.close()
        second.close()


def poll_until_ready(feed: Feed) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not feed.ready:
        assert time.monotonic() < deadline, "it was given no partitions"
        feed.poll(10, 0.2)


def poll_for(feed: Feed, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        feed.poll(10, 0.2)
