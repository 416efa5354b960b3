"""Whatever step a service dies at, the next one finishes what it began: one row, one version, one verdict, one swap.

The matrix is read from the code: a place that is new there is tested here at once, by the story of its service.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from shared.kafka import Bus
from tests.crash import acting, computing, stewarding
from tests.crash.scene import Scene, points

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(180)]

STORIES: dict[str, Callable[[Scene, str], None]] = {
    "collector": acting.an_app_posts_until_it_is_told_202,
    "recorder": acting.the_recorder_records_every_event_once,
    "aggregator": acting.the_aggregator_asks_once,
    "trainer": computing.a_request_makes_one_version,
    "evaluator": computing.a_candidate_gets_one_verdict_and_serves,
    "evaluator.after_canary": stewarding.a_canary_wins_its_trial,
    "evaluator.after_trial": stewarding.a_canary_wins_its_trial,
    "evaluator.after_trial_won": stewarding.a_canary_wins_its_trial,
    "evaluator.after_watch": stewarding.a_worse_champion_is_rolled_back,
    "evaluator.after_decision": stewarding.a_reviewer_promotes,
    "predictor": computing.a_champion_answers,
}


@pytest.mark.parametrize("point", points())
def test_the_story_completes_after_a_death_at(point: str, bus: Bus, tmp_path: Path) -> None:
    story = STORIES.get(point) or STORIES[point.split(".")[0]]
    story(Scene(bus, tmp_path), point)


def test_every_service_that_keeps_something_can_be_killed() -> None:
    assert {point.split(".")[0] for point in points()} == {story.split(".")[0] for story in STORIES}
    assert {story for story in STORIES if "." in story} <= set(points()), "a story of a place that is no more"
    assert len(points()) >= 18
