"""What goes onto a topic comes off it unchanged; what is no event says why, without a byte of it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import Comment, Event, FeedbackReceived
from services.recorder.identity import content_of
from shared.envelope import seal, unseal
from shared.errors import InvalidEventError
from shared.topics import DEAD_LETTERS, ERROR_SLICES, FEEDBACK, TOPIC_OF, key_of
from tests.unit.events import EXAMPLES, KEY, NOON

FEEDBACK_RECEIVED = next(event for event in EXAMPLES if isinstance(event, FeedbackReceived))


@pytest.mark.parametrize("event", EXAMPLES, ids=lambda event: type(event).__name__)
def test_an_event_survives_the_trip(event: Event) -> None:
    sealed = seal(event, traceparent="00-abc-def-01")
    assert unseal(sealed.value, sealed.headers, sealed.topic) == event
    headers = dict(sealed.headers)
    assert headers["ce_type"].decode() == type(event).__name__
    assert headers["ce_subject"] == sealed.key == key_of(event).encode()
    assert headers["ce_time"] == b"2026-11-21T12:00:00.000000Z"
    assert headers["traceparent"] == b"00-abc-def-01"
    assert sealed.topic is TOPIC_OF[type(event)]


@given(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\x00"), min_size=1, max_size=50))
def test_any_text_survives_the_trip(text: str) -> None:
    event = FEEDBACK_RECEIVED.model_copy(update={"feedback": Comment(value=text)})
    sealed = seal(event)
    assert unseal(sealed.value, sealed.headers, FEEDBACK) == event


def test_a_topic_with_one_event_needs_no_type() -> None:
    assert unseal(seal(FEEDBACK_RECEIVED).value, [], FEEDBACK) == FEEDBACK_RECEIVED


@pytest.mark.parametrize(
    ("value", "headers", "code"),
    [
        (None, [], "null_value"),
        (b"", [], "decode_error"),
        (b"not json", [], "decode_error"),
        (b"\xff\xfe", [], "decode_error"),
        (b"[]", [], "schema_error"),
        (b"{}", [("ce_type", b"UserErased")], "unknown_type"),
        (b"{}", [("ce_type", b"\xff")], "unknown_type"),
    ],
)
def test_what_is_no_event_is_refused(value: bytes | None, headers: list[tuple[str, bytes]], code: str) -> None:
    with pytest.raises(InvalidEventError) as refused:
        unseal(value, headers, FEEDBACK)
    assert refused.value.code == code


def test_a_topic_with_several_events_needs_the_type() -> None:
    with pytest.raises(InvalidEventError, match="missing"):
        unseal(b"{}", [], ERROR_SLICES)
    with pytest.raises(InvalidEventError):
        unseal(b"{}", [], DEAD_LETTERS)


@pytest.mark.parametrize(
    ("change", "place"),
    [
        ({"feedback": {"kind": "thumbs", "value": "swordfish"}}, "feedback.thumbs.value: literal_error"),
        ({"feedback": {"kind": "swordfish"}}, "feedback: union_tag_invalid"),
        ({"feedback": {"kind": "comment", "value": "swordfish\x00"}}, "feedback.comment.value: invalid_unicode"),
        ({"user_key": "swordfish"}, "user_key: string_pattern_mismatch"),
        ({"prediction_id": None}, "prediction_id: string_type"),
        ({"occurred_at": "2026-11-21T12:00:00"}, "occurred_at: timezone_aware"),
    ],
)
def test_a_refusal_names_the_field_and_never_the_text(change: dict[str, object], place: str) -> None:
    body = {**json.loads(FEEDBACK_RECEIVED.model_dump_json()), **change}
    with pytest.raises(InvalidEventError) as refused:
        unseal(json.dumps(body).encode(), [], FEEDBACK)
    assert str(refused.value) == place
    assert "swordfish" not in repr(refused.value)
    assert refused.value.__cause__ is None


def test_events_are_frozen() -> None:
    assert FEEDBACK_RECEIVED.occurred_at == NOON
    with pytest.raises(ValueError, match="frozen"):
        FEEDBACK_RECEIVED.user_key = KEY  # type: ignore[misc]


def test_what_an_event_says_does_not_depend_on_fields_that_a_later_release_may_add() -> None:
    class Later(FeedbackReceived):
        weather: str | None = None

    Later.__name__ = FeedbackReceived.__name__
    event = FEEDBACK_RECEIVED
    assert content_of(Later(**event.model_dump())) == content_of(event)
    assert content_of(event.model_copy(update={"prediction_id": "another"})) != content_of(event)
