"""The table of topics is the only one: what documents it says the same, and every event has its place in it."""

from __future__ import annotations

import pytest

from cli.documents import ASYNCAPI, README, asyncapi, between, topic_table
from schemas.events import EVENTS, Event, ModelStateChanged, ReviewDecided
from shared.topics import BY_THE_BROKERS_CLOCK, ERASURES, FEEDBACK, MODELS, PREDICTIONS, TOPIC_OF, TOPICS, key_of
from tests.unit.events import EXAMPLES


def test_the_readme_shows_the_table() -> None:
    readme = README.read_text("utf-8")
    assert between("topics", topic_table(), readme) == readme, "run: make schemas"
    assert topic_table().count("\n") == len(TOPICS) + 2


def test_the_asyncapi_document_is_fresh() -> None:
    assert ASYNCAPI.read_text("utf-8") == asyncapi(), "run: make schemas"


def test_every_event_has_one_topic() -> None:
    assert set(TOPIC_OF) == set(EVENTS.values())
    assert sum(len(topic.events) for topic in TOPICS) == len(EVENTS)
    assert len({topic.name for topic in TOPICS}) == len(TOPICS)


def test_predictions_and_feedback_meet_in_one_partition() -> None:
    assert (PREDICTIONS.key, PREDICTIONS.partitions) == (FEEDBACK.key, FEEDBACK.partitions)


def test_what_is_compacted_is_a_state_with_one_order() -> None:
    assert {topic.partitions for topic in TOPICS if topic.days is None} == {1}
    assert MODELS.configs == {"cleanup.policy": "compact", **BY_THE_BROKERS_CLOCK}
    assert ERASURES.retention == "compact"
    assert FEEDBACK.configs == {"cleanup.policy": "delete", "retention.ms": "2592000000", **BY_THE_BROKERS_CLOCK}


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_every_event_has_a_key(event: Event) -> None:
    assert key_of(event)


def test_keys_are_what_the_table_promises() -> None:
    by_type = {type(event): event for event in EXAMPLES}
    assert key_of(by_type[ModelStateChanged]) == "support-intent|champion"
    assert key_of(by_type[ReviewDecided]) == "v-2"


def test_an_event_without_a_topic_is_named() -> None:
    class Unknown(Event):
        """Not in the table."""

    with pytest.raises(TypeError, match="No topic carries Unknown"):
        key_of(Unknown(event_id="e", occurred_at=EXAMPLES[0].occurred_at, source="test"))
