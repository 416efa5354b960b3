"""Fields beyond the usual: those we do not know, times that cannot be right, versions from the future, other apps."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest

from schemas.events import EventQuarantined, FeedbackReceived, PredictionServed, Said, in_utc
from shared.envelope import seal
from shared.identity import user_key
from shared.ids import namespaced
from shared.topics import QUARANTINE
from tests.unit.collector_desk import LISTS, NOW, PREDICTION, ROUTES, SECRET, THUMBS, Desk, refused

MINUTE, DAY = timedelta(minutes=1), timedelta(days=1)
NEWER = {"prediction_id": "p1", "kind": "emoji", "value": ["🙂"], "schema_version": 2, "user": "ann", "event_id": "e1"}


# --- fields that we do not know ----------------------------------------------------------------------------------


@pytest.mark.parametrize("route", ROUTES)
def test_an_unknown_field_is_kept_aside_and_told(desk: Desk, route: str) -> None:
    answer = desk.post(route, {**ROUTES[route], "mood": {"level": 3}, "a": "ü"})
    assert (answer.status_code, answer.headers["x-learnback-warning"]) == (202, "unknown_fields")
    assert answer.json()["warnings"] == ["unknown_fields"]
    [event] = desk.log.events
    assert isinstance(event, Said)
    assert event.extensions == '{"a":"ü","mood":{"level":3}}'


@pytest.mark.parametrize("route", ROUTES)
def test_who_asks_for_strictness_gets_it(desk: Desk, route: str) -> None:
    strict = {"Prefer": "respond-async, handling=strict"}
    refused(desk, desk.post(route, {**ROUTES[route], "mood": 1}, **strict), 422, "extra_forbidden", "mood")
    refused(desk, desk.post(route, {**ROUTES[route], "what I said": 1}, **strict), 422, "extra_forbidden", "?")
    assert desk.post(route, ROUTES[route], **strict).status_code == 202


def test_strictness_holds_for_each_item_of_a_list(desk: Desk) -> None:
    answer = desk.post("/v1/feedback", [THUMBS, {**THUMBS, "mood": 1}], Prefer="handling=strict")
    assert answer.status_code == 207
    assert [(error["event_index"], error["code"]) for error in answer.json()["errors"]] == [(1, "extra_forbidden")]


def test_what_is_kept_aside_has_a_limit(desk: Desk) -> None:
    assert desk.post("/v1/feedback", {**THUMBS, "mood": "x" * (4_096 - len('{"mood":""}'))}).status_code == 202
    desk.log.events.clear()
    refused(desk, desk.post("/v1/feedback", {**THUMBS, "mood": "x" * 4_096}), 422, "extensions_too_large")


def test_an_unknown_field_within_a_value_is_still_a_typo(desk: Desk) -> None:
    pair = {"chosen": "a", "rejected": "b", "why": 1}
    body = {"prediction_id": "p1", "kind": "preference", "value": pair}
    refused(desk, desk.post("/v1/feedback", body), 422, "extra_forbidden", "value.why")


def test_a_field_kept_aside_is_part_of_what_was_said(desk: Desk) -> None:
    body = {**THUMBS, "event_id": "e1", "mood": 1, "place": 2}
    assert desk.post("/v1/feedback", body).status_code == 202
    assert desk.post("/v1/feedback", dict(reversed(body.items()))).status_code == 200
    assert desk.post("/v1/feedback", {**body, "mood": 2}).status_code == 409


# --- times -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("ago", [-4 * MINUTE, 0 * MINUTE, 3 * DAY, 29 * DAY])
@pytest.mark.parametrize("route", LISTS)
def test_a_plausible_time_is_kept_beside_ours(desk: Desk, route: str, ago: timedelta) -> None:
    answer = desk.post(route, {**ROUTES[route], "said_at": (NOW - ago).isoformat()})
    assert (answer.status_code, "warnings" in answer.json()) == (202, False)
    [event] = desk.log.events
    assert isinstance(event, Said)
    assert (event.said_at, event.occurred_at) == (NOW - ago, NOW)
    assert type(event).model_validate_json(event.model_dump_json()) == event


@pytest.mark.parametrize(
    "said_at",
    [
        "0001-01-01T00:00:00+14:00",
        "1970-01-01T00:00:00Z",
        "1999-12-31T23:59:59Z",
        "9999-12-31T23:59:59-12:00",
        in_utc(NOW + 6 * MINUTE),
        in_utc(NOW - 31 * DAY),
        in_utc(NOW - 364 * DAY),
    ],
)
def test_a_time_that_cannot_be_right_is_replaced_by_ours(desk: Desk, said_at: str) -> None:
    answer = desk.post("/v1/feedback", {**THUMBS, "said_at": said_at})
    assert (answer.status_code, answer.headers["x-learnback-warning"]) == (202, "clock_skew")
    [event] = desk.log.events
    assert isinstance(event, FeedbackReceived)
    assert (event.said_at, event.occurred_at) == (None, NOW)


@pytest.mark.parametrize("said_at", ["2000-01-01T00:00:00Z", in_utc(NOW - 366 * DAY)])
def test_what_is_older_than_anything_kept_is_refused(desk: Desk, said_at: str) -> None:
    body = {**THUMBS, "said_at": said_at}
    refused(desk, desk.post("/v1/feedback", body), 422, "too_old", "said_at")
    refused(desk, desk.post("/v1/feedback", [body]), 422, "too_old", "said_at", 0)


def test_an_event_says_the_same_whether_it_leaves_a_field_out_or_does_not_know_it(desk: Desk) -> None:
    assert desk.post("/v1/feedback", {**THUMBS, "event_id": "e1"}).status_code == 202
    assert desk.post("/v1/feedback", {**THUMBS, "event_id": "e1", "said_at": None, "user": None}).status_code == 200


# --- versions and apps -------------------------------------------------------------------------------------------


def test_a_version_from_the_future_waits_in_quarantine(desk: Desk) -> None:
    answer = desk.post("/v1/feedback", NEWER)
    assert (answer.status_code, answer.headers["x-learnback-warning"]) == (202, "unknown_version")
    assert answer.json()["event_ids"] == ["e1"]
    [event] = desk.log.events
    assert isinstance(event, EventQuarantined)
    assert (event.event_id, event.app, event.becomes) == (namespaced("shop", "e1"), "shop", "FeedbackReceived")
    assert (event.schema_version, event.user_key) == (2, user_key(SECRET, "shop", "ann"))
    assert json.loads(event.body) == {
        name: NEWER[name] for name in ("prediction_id", "kind", "value", "schema_version")
    }
    record = seal(event)
    assert (record.topic, dict(record.headers)["x-dlq-reason"]) == (QUARANTINE, b"unknown_version")
    assert b"ann" not in (record.value or b"")
    assert 'outcome="quarantined",reason="unknown_version"' in desk.get("/metrics").text
    assert desk.post("/v1/feedback", NEWER).json()["duplicate"] is True
    assert desk.post("/v1/feedback", {**NEWER, "value": 3}).status_code == 409


def test_a_list_may_hold_several_versions(desk: Desk) -> None:
    newer = {**PREDICTION, "schema_version": 7, "input": {"parts": ["in"]}}
    answer = desk.post("/v1/predictions", [{**PREDICTION, "schema_version": 1}, newer])
    assert (answer.status_code, answer.json()["warnings"]) == (202, ["unknown_version"])
    first, second = desk.log.events
    assert isinstance(first, PredictionServed)
    assert isinstance(second, EventQuarantined)
    assert (second.becomes, second.schema_version) == ("PredictionServed", 7)


@pytest.mark.parametrize(
    ("change", "code", "field"),
    [
        ({"prediction_id": None}, "string_type", "prediction_id"),
        ({"kind": 1}, "string_type", "kind"),
        ({"schema_version": 2.5}, "union_tag_invalid", "kind"),
        ({"event_id": "a b"}, "string_pattern_mismatch", "event_id"),
    ],
)
def test_a_version_from_the_future_needs_a_readable_envelope(
    desk: Desk, change: dict[str, object], code: str, field: str
) -> None:
    refused(desk, desk.post("/v1/feedback", {**NEWER, **change}), 422, code, field)


@pytest.mark.parametrize("route", ["/v1/reviews", "/v1/training-requests"])
def test_decisions_are_not_left_for_later(desk: Desk, route: str) -> None:
    refused(desk, desk.post(route, {**ROUTES[route], "schema_version": 2}), 422, "literal_error", "schema_version")


def test_a_body_cannot_name_another_app(desk: Desk) -> None:
    assert desk.post("/v1/feedback", {**THUMBS, "app": "shop"}).status_code == 202
    desk.log.events.clear()
    refused(desk, desk.post("/v1/feedback", {**THUMBS, "app": "forum"}), 403, "wrong_app", "app")
    refused(desk, desk.post("/v1/feedback", {**NEWER, "app": "forum"}), 403, "wrong_app", "app")
