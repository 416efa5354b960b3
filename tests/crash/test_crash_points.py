"""Whatever step a service dies at, the next one finishes what it began: one row, one version, one verdict, one swap.

The matrix is read from the code: a place that is new there is tested here at once, by the story of its service.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.kafka import Bus
from tests.crash import acting, computing
from tests.crash.scene import Scene, points

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

STORIES: dict[str, Callable[[Scene, str], None]] = {
    "collector": acting.an_app_posts_until_it_is_told_202,
    "recorder": acting.the_recorder_records_every_event_once,
    "aggregator": acting.the_aggregator_asks_once,
    "trainer": computing.a_request_makes_one_version,
    "evaluator": computing.a_candidate_gets_one_verdict_and_serves,
    "predictor": computing.a_champion_answers,
}


@pytest.mark.parametrize("point", points())
def test_the_story_completes_after_a_death_at(point: str, bus: Bus, tmp_path: Path) -> None:
    STORIES[point.split(".")[0]](Scene(bus, tmp_path), point)


def test_every_service_that_keeps_something_can_be_killed() -> None:
    assert {point.split(".")[0] for point in points()} == set(STORIES)
    assert len(points()) >= 18
