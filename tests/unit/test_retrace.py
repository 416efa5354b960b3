"""When training would have been asked for under other triggers, from the recorded log."""

from __future__ import annotations

from datetime import timedelta

from cli.recollect import NO_REQUEST_S, asked, recollect, takes
from schemas.events import TrainingRequested
from services.aggregator.retrace import requests
from shared.policy import Policy, PolicyFile, Trigger
from tests.unit.recorder_story import MODEL, Database, added, at, corrected, crowned, judged, said, served, trained


def triggers(**rules: float) -> PolicyFile:
    return PolicyFile(defaults=Policy(trigger=Trigger.model_validate(rules)))


def recorded(corrections: int, every_s: int = 10) -> Database:
    """A model that serves since noon, and users who correct it every few seconds."""
    story = Database()
    story.record(added(story, [("where is it", "a"), ("pay me back", "b")]))
    story.record(trained("v0", labels=["a", "b"], when=-9), crowned("v0", when=-8))
    for number in range(corrections):
        story.record(*corrected(f"p{number}", f"question {number}", "b", every_s * number, user=f"{number:032x}"))
    return story


def replayed(story: Database, policies: PolicyFile) -> list[tuple[float, str]]:
    """When and why training is asked for, in seconds since noon."""
    made = requests(MODEL, recollect(story.engine, MODEL), policies, takes(story.engine, MODEL))
    return [((one.occurred_at - at(0)).total_seconds(), one.trigger) for one in made]


def test_a_request_comes_with_enough_examples_and_the_next_when_it_is_answered() -> None:
    story = recorded(20)
    every = {"every_seconds": 10_000}
    assert replayed(story, triggers(min_examples=5, **every)) == [
        (41, "examples"),  # the fifth correction is given at 41 s
        (41 + NO_REQUEST_S, "examples"),  # by when six more wait
        (41 + 2 * NO_REQUEST_S, "examples"),
    ]
    assert replayed(story, triggers(min_examples=15, **every)) == [(141, "examples")]
    assert replayed(story, triggers(min_examples=100, **every)) == []


def test_the_clock_asks_by_itself_and_solicited_answers_teach_nothing() -> None:
    story = recorded(4)
    story.record(*corrected("q", "asked at random", "b", 40, solicit=True))
    story.record(served("r", "much later", when=1000), said("r", "up", 1001))
    assert replayed(story, triggers(every_seconds=300, every_min_examples=4)) == [(292, "schedule")]
    assert replayed(story, triggers(every_seconds=300, every_min_examples=5)) == [(1001, "schedule")]


def test_what_a_request_takes_is_the_median_of_those_on_record() -> None:
    story = recorded(1)
    for number, seconds in enumerate((20, 30, 400)):
        request = TrainingRequested(
            event_id=f"r-v{number}", occurred_at=at(100), source="aggregator", request_id=f"r-v{number + 1}",
            model=MODEL, trigger="examples", requested_by="aggregator",
        )  # fmt: skip
        version = f"v{number + 1}"
        story.record(request, trained(version, "v0", when=110), judged(version, when=100 + seconds))
    assert takes(story.engine, MODEL) == 30
    assert [one.occurred_at for one in asked(story.engine, MODEL)] == [at(100)] * 3


def test_the_log_comes_back_in_order_with_predictions_first() -> None:
    story = recorded(3)
    story.record(served("p", "same moment", when=5), said("p", "down", 5))
    events = recollect(story.engine, MODEL)
    assert [event.occurred_at for event in events] == sorted(event.occurred_at for event in events)
    kinds = [type(event).__name__ for event in events if event.occurred_at == at(5)]
    assert kinds == ["PredictionServed", "FeedbackReceived"]
    assert events[-1].occurred_at - at(20) == timedelta(seconds=1)
