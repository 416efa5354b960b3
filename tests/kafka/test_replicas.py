"""Replicas of the aggregator and of the trainer on a real broker. The recorder's: tests/faults."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from bench.scale.aggregating import flow_on, storm
from bench.scale.training import shared, taken_over, two
from bench.traffic import Traffic
from shared.kafka import SESSION_TIMEOUT_MS, Bus

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(300)]


def test_aggregators_that_join_end_and_are_killed_count_each_once_and_leave_nothing_behind(
    tmp_path: Path, bus: Bus
) -> None:
    events = Traffic(seed=3).take(3_000)
    seen = storm(flow_on(bus, tmp_path / "aggregators"), events, per_s=200)
    assert {"joins", "is killed", "is ended"} <= seen.changes.keys()
    assert seen.late_s < 4 * SESSION_TIMEOUT_MS / 1000
    assert seen.judged == len(events) // 2


def test_of_two_trainers_one_works_and_the_other_takes_over_when_it_is_killed(tmp_path: Path, bus: Bus) -> None:
    def nothing(_: str) -> None:
        """Nobody listens."""

    with two(bus, tmp_path / "trainers") as (group, heard):
        assert shared(heard, 2, nothing) == [1, 1]
        assert taken_over(group, heard, nothing) < 2 * SESSION_TIMEOUT_MS / 1000
    assert Counter(heard.announced) == dict.fromkeys(heard.requests, 1)
