"""Feedback becomes JSON without the event: it must be the event's own JSON, whatever is said and however."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import FeedbackReceived
from services.collector.events import Origin
from services.collector.reading import read
from services.collector.requests import FEEDBACK
from shared.envelope import sealed
from tests.unit.events import carried

ORIGIN = Origin("shop", b"s" * 32, datetime(2026, 11, 21, 12, tzinfo=UTC), "i1")
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=200)
SAID = st.one_of(
    st.builds(lambda value: {"kind": "thumbs", "value": value}, st.sampled_from(["up", "down"])),
    st.builds(lambda value: {"kind": "rating", "value": value}, st.integers(1, 5)),
    st.builds(lambda value: {"kind": "correction", "value": value}, TEXT),
    st.builds(lambda value: {"kind": "comment", "value": value}, TEXT),
    st.builds(lambda one, other: {"kind": "preference", "value": {"chosen": one, "rejected": other}}, TEXT, TEXT),
)
REST = st.fixed_dictionaries(
    {"prediction_id": st.sampled_from(["p1", "P:2"])},
    optional={
        "event_id": st.none() | st.sampled_from(["e1", "a" * 48]),
        "user": st.none() | TEXT,
        "tags": st.dictionaries(st.sampled_from(["lang", "page"]), TEXT.map(lambda text: text[:100]), max_size=2),
        "app": st.just("shop"),
        "schema_version": st.just(1),
        "said_at": st.sampled_from(["2026-11-21T12:00:00+01:00", "2026-11-20T12:00:00.5Z", "1970-01-01T00:00:00Z"]),
        "more": TEXT | st.floats(allow_nan=False, allow_infinity=False) | st.lists(TEXT, max_size=2),
    },
)


@given(SAID, REST)
def test_the_record_is_the_one_that_the_event_would_have(said: dict[str, Any], rest: dict[str, Any]) -> None:
    found = read(FEEDBACK, said | rest, ORIGIN).event
    event = carried(found)
    assert isinstance(event, FeedbackReceived)
    assert sealed(event, "i1") == found
    assert event.feedback.model_dump() == said
    assert event.tags == rest.get("tags", {})
    assert (event.user_key is None) == (rest.get("user") is None)
    assert (event.extensions is None) == ("more" not in rest)


@given(SAID, SAID)
def test_what_is_said_decides_whether_two_are_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    later = Origin(ORIGIN.app, ORIGIN.secret, datetime(2026, 11, 21, 13, tzinfo=UTC), "i2")
    first = read(FEEDBACK, {**one, "prediction_id": "p1", "event_id": "e1"}, ORIGIN).event
    second = read(FEEDBACK, {**other, "prediction_id": "p1", "event_id": "e1"}, later).event
    assert (first.content == second.content) == (one == other)


@pytest.mark.parametrize(
    ("said_at", "kept", "warned"),
    [("2026-11-21T12:04:00Z", True, []), ("2026-11-21T12:06:00Z", False, ["clock_skew"])],
)
def test_a_clock_that_is_ahead_is_told(said_at: str, kept: bool, warned: list[str]) -> None:
    body = {"kind": "thumbs", "value": "up", "prediction_id": "p1", "said_at": said_at}
    found = read(FEEDBACK, body, ORIGIN)
    event = carried(found.event)
    assert isinstance(event, FeedbackReceived)
    assert ((event.said_at is not None), found.warnings) == (kept, warned)
