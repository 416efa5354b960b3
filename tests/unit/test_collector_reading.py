"""The short way and the long way from an item to its event: they must not differ in anything but time."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from services.collector import reading
from services.collector.events import Origin, to_event, warnings_of
from services.collector.reading import Read, read
from services.collector.requests import FEEDBACK
from shared.errors import RequestError
from shared.http.validation import validate

ORIGIN = Origin("shop", b"s" * 32, datetime(2026, 11, 21, tzinfo=UTC))
TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=210)
ANYTHING = st.none() | st.booleans() | st.integers(-1, 7) | st.floats(0, 6) | TEXT | st.lists(TEXT, max_size=1)
IDS = st.sampled_from(["e1", "a" * 48, "a" * 49, "", ".e", "é1", "e 1", "e\n"]) | TEXT
KINDS = st.sampled_from(["thumbs", "rating", "correction", "comment", "preference", "guess"])
ITEMS = st.fixed_dictionaries(
    {},
    optional={
        "event_id": IDS | ANYTHING,
        "prediction_id": IDS | ANYTHING,
        "kind": KINDS | ANYTHING,
        "value": st.sampled_from(["up", "down", 1, 5, 0, 6, "billing", {"chosen": "a", "rejected": "b"}]) | ANYTHING,
        "user": TEXT | ANYTHING,
        "tags": st.dictionaries(st.sampled_from(["lang", "Lang", ""]), TEXT, max_size=2) | ANYTHING,
        "app": st.sampled_from(["shop", "mail"]),
        "said_at": st.sampled_from(["2026-11-20T10:00:00Z", "1970-01-01T00:00:00Z", 5]),
        "more": ANYTHING,
    },
)
GOOD = st.builds(
    lambda said, **rest: {**said, **rest},
    st.sampled_from(
        [
            {"kind": "thumbs", "value": "up"},
            {"kind": "rating", "value": 4},
            {"kind": "correction", "value": " billing "},
            {"kind": "comment", "value": "Danke, très bien 👍"},
        ]
    ),
    event_id=st.sampled_from(["e1", "a" * 48]),
    prediction_id=st.sampled_from(["p1", "P:2"]),
    user=st.none() | st.text("aé", min_size=1, max_size=200),
    tags=st.dictionaries(st.sampled_from(["lang", "page"]), st.text("aé", max_size=100), max_size=2),
)


def the_long_way(item: Any) -> Read:
    body = validate(FEEDBACK, item)
    event = to_event(body, ORIGIN)
    return Read(event, body.event_id, warnings_of(body, event))


def said_by(way: Any, item: Any) -> object:
    """What becomes of an item: its event without a made id, or the refusal."""
    try:
        found = way(item)
    except RequestError as error:
        return error.code, error.field, str(error)
    made = {"event_id": "made"} if found.own_id is None else {}
    return found.event.model_copy(update=made), found.own_id, list(found.warnings)


@given(ITEMS)
@example({"event_id": None, "prediction_id": "p1", "kind": "thumbs", "value": "up", "user": None, "tags": None})
@example({"prediction_id": "p1", "kind": "preference", "value": {"chosen": "a", "rejected": "b", "more": 1}})
def test_whatever_comes_the_answer_is_that_of_the_long_way(item: dict[str, Any]) -> None:
    assert said_by(lambda one: read(FEEDBACK, one, ORIGIN), item) == said_by(the_long_way, item)


@given(GOOD)
def test_plain_feedback_goes_the_short_way_to_the_same_event(item: dict[str, Any]) -> None:
    found = reading._plain(item, ORIGIN)
    assert found is not None
    assert said_by(lambda _: found, item) == said_by(the_long_way, item)


@pytest.mark.parametrize("browser", [True, False])
def test_what_a_page_says_of_its_users_is_never_taken_the_short_way(browser: bool) -> None:
    origin = Origin("shop", b"s" * 32, ORIGIN.at, browser=browser)
    found = read(FEEDBACK, {"prediction_id": "p1", "kind": "thumbs", "value": "up", "user": "ann"}, origin)
    assert list(found.warnings) == (["unproven_user"] if browser else [])
