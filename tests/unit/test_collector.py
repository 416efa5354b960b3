"""The collector's HTTP: what it takes becomes exactly the events it says; what it refuses is nowhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from schemas.events import FeedbackReceived, PredictionServed, ReviewDecided, TrainingRequested
from shared.identity import user_key
from shared.ids import namespaced
from shared.text import example_id
from tests.unit.collector_desk import CARD, LISTS, NOW, PREDICTION, REVIEW, ROUTES, SECRET, THUMBS, Desk, refused

# --- what is taken -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        ("thumbs", "down"),
        ("rating", 5),
        ("correction", "refund"),
        ("preference", {"chosen": "a", "rejected": "b"}),
        ("comment", "good <b>\u202e😀"),
    ],
)
def test_each_kind_of_feedback_becomes_its_event(desk: Desk, kind: str, value: object) -> None:
    body = {
        "prediction_id": "p1",
        "kind": kind,
        "value": value,
        "event_id": "e1",
        "user": "ann",
        "tags": {"lang": "de"},
    }
    answer = desk.post("/v1/feedback", body)
    assert (answer.status_code, answer.json()) == (202, {"accepted": 1, "event_ids": ["e1"], "server_id": False})
    [event] = desk.log.events
    assert isinstance(event, FeedbackReceived)
    assert event.feedback.model_dump() == {"kind": kind, "value": value}
    assert (event.event_id, event.app) == (namespaced("shop", "e1"), "shop")
    assert (event.source, event.occurred_at) == ("collector", NOW)
    assert event.user_key == user_key(SECRET, "shop", "ann")
    assert event.tags == {"lang": "de"}
    assert "ann" not in event.model_dump_json()


def test_a_missing_id_is_made_and_told(desk: Desk) -> None:
    receipt = desk.post("/v1/feedback", [THUMBS, {**THUMBS, "event_id": "mine"}]).json()
    assert receipt["server_id"] is True
    first, second = (event.event_id for event in desk.log.events)
    assert receipt["event_ids"] == [first, "mine"]
    assert second == namespaced("shop", "mine")


def test_a_foreign_prediction_becomes_its_event(desk: Desk) -> None:
    scores = [{"label": "a", "score": 0.75}, {"label": "b", "score": 0}]
    answer = desk.post("/v1/predictions", {**PREDICTION, "scores": scores, "solicit": True, "solicit_rate": 1})
    assert answer.status_code == 202
    [event] = desk.log.events
    assert isinstance(event, PredictionServed)
    assert [score.model_dump() for score in event.scores] == scores
    assert (event.solicit, event.solicit_rate, event.app) == (True, 1.0, "shop")


def test_a_review_is_the_keys_unless_it_names_a_reviewer(desk: Desk) -> None:
    assert desk.post("/v1/reviews", REVIEW).status_code == 202
    relabel = {**REVIEW, "decision": "relabel", "target": "refund", "reviewer": "eve", "note": "clear"}
    assert desk.post("/v1/reviews", relabel).status_code == 202
    first, second = desk.log.events
    assert isinstance(first, ReviewDecided)
    assert isinstance(second, ReviewDecided)
    assert (first.reviewer, second.reviewer, second.target) == ("office", "eve", "refund")


def test_a_version_is_promoted_rolled_back_held_and_released_by_a_reviewer_of_a_key(desk: Desk) -> None:
    version = {"subject_kind": "version", "subject": "v1", "model": "m", "reviewer": "eve", "note": "a customer called"}
    for decision in ("promote", "rollback", "hold", "release"):
        assert desk.post("/v1/reviews", {**version, "decision": decision}).status_code == 202
    told = [event for event in desk.log.events if isinstance(event, ReviewDecided)]
    assert [event.decision for event in told] == ["promote", "rollback", "hold", "release"]
    assert {(event.subject, event.reviewer, event.app, event.note) for event in told} == {
        ("v1", "eve", "office", "a customer called")
    }


def test_a_label_is_decided_on_by_its_name(desk: Desk) -> None:
    label = {"subject_kind": "label", "label": "money back", "model": "m"}
    for ruling in ({"decision": "merge", "target": " refund "}, {"decision": "retire"}, {"decision": "restore"}):
        assert desk.post("/v1/reviews", {**label, **ruling}).status_code == 202
    merge, retire, restore = desk.log.events
    assert isinstance(merge, ReviewDecided)
    assert (merge.label, merge.decision, merge.target) == ("money back", "merge", "refund")
    assert [event.subject for event in (retire, restore)] == [merge.subject] * 2, "one label is one subject"  # type: ignore[attr-defined]


def test_a_row_of_the_anchor_is_decided_on_by_its_text(desk: Desk) -> None:
    row = {"subject_kind": "anchor", "text": "Where  is it?", "model": "m", "reviewer": "eve", "note": "asked often"}
    for edit in ({"decision": "add", "target": "delivery"}, {"decision": "retire"}):
        assert desk.post("/v1/reviews", {**row, **edit}).status_code == 202
    assert desk.post("/v1/reviews", {**row, "text": "where is it?", "decision": "retire"}).status_code == 202
    add, retire, same = (event for event in desk.log.events if isinstance(event, ReviewDecided))
    assert (add.text, add.decision, add.target, add.reviewer, add.note, add.app) == (
        "Where  is it?", "add", "delivery", "eve", "asked often", "office",
    )  # fmt: skip
    assert {one.subject for one in (add, retire, same)} == {example_id("m", "where is it?")}, "one input is one subject"


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"decision": "retire"}, "missing", "text"),
        ({"decision": "add", "text": "t"}, "wrong_target", "target"),
        ({"decision": "add", "text": "t", "target": "  "}, "wrong_target", "target"),
        ({"decision": "retire", "text": "t", "target": "a"}, "wrong_target", "target"),
        ({"decision": "add", "text": "", "target": "a"}, "string_too_short", "text"),
        ({"decision": "add", "text": "t" * 10_001, "target": "a"}, "string_too_long", "text"),
        ({"decision": "accept", "text": "t"}, "wrong_decision", "decision"),
        ({"decision": "retire", "text": "t", "label": "a"}, "wrong_label", "label"),
        ({"subject_kind": "example", "subject": "e", "decision": "accept", "text": "t"}, "wrong_text", "text"),
        ({"subject_kind": "example", "subject": "e", "decision": "add", "target": "a"}, "wrong_decision", "decision"),
    ],
)
def test_an_edit_of_the_anchor_that_says_nothing_is_refused(
    desk: Desk, body: dict[str, object], code: str, field: str
) -> None:
    refused(desk, desk.post("/v1/reviews", {"subject_kind": "anchor", "model": "m", **body}), 422, code, field)


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({"decision": "retire"}, "missing", "label"),
        ({"decision": "retire", "label": ""}, "string_too_short", "label"),
        ({"decision": "accept", "label": "a"}, "wrong_decision", "decision"),
        ({"decision": "merge", "label": "a"}, "wrong_target", "target"),
        ({"decision": "merge", "label": "a", "target": " a "}, "wrong_target", "target"),
        ({"decision": "merge", "label": "a", "target": "b" * 201}, "wrong_target", "target"),
        ({"decision": "retire", "label": "a", "target": "b"}, "wrong_target", "target"),
        ({"subject_kind": "example", "subject": "e1", "decision": "accept", "label": "a"}, "wrong_label", "label"),
        ({"subject_kind": "version", "subject": "v1", "decision": "retire"}, "wrong_decision", "decision"),
        ({"subject_kind": "example", "subject": "e1", "decision": "release"}, "wrong_decision", "decision"),
    ],
)
def test_a_decision_on_a_label_that_says_nothing_is_refused(
    desk: Desk, body: dict[str, object], code: str, field: str
) -> None:
    refused(desk, desk.post("/v1/reviews", {"subject_kind": "label", "model": "m", **body}), 422, code, field)


@pytest.mark.parametrize(("card", "trigger"), [(None, "person"), (CARD, "added")])
def test_a_person_asks_for_training(desk: Desk, card: object, trigger: str) -> None:
    receipt = desk.post("/v1/training-requests", {"model": "m", **({"card": card} if card else {})}).json()
    [event] = desk.log.events
    assert isinstance(event, TrainingRequested)
    assert receipt["request_id"] == event.request_id == event.event_id
    assert (event.trigger, event.requested_by) == (trigger, "office")
    assert event.model_dump(mode="json", exclude_defaults=True).get("card") == card
    assert TrainingRequested.model_validate_json(event.model_dump_json()) == event


@pytest.mark.parametrize("route", LISTS)
def test_a_list_of_500_is_taken_and_of_501_is_not(desk: Desk, route: str) -> None:
    assert desk.post(route, [ROUTES[route]] * 500).json()["accepted"] == 500
    desk.log.events.clear()
    refused(desk, desk.post(route, [ROUTES[route]] * 501), 413, "too_many_items")


# --- what is refused ---------------------------------------------------------------------------------------------


BAD_BODIES = [
    (b"", 400, "empty_body", None),
    (b"{", 400, "invalid_json", None),
    (b'{"a": NaN}', 400, "non_finite", None),
    (b'{"a": "\xff"}', 400, "invalid_utf8", None),
    (b"[" * 100_000, 400, "too_deep", None),
    (b'{"event_id": "\\ud800"}', 400, "invalid_unicode", "event_id"),
    (b'{"tags": {"a": "\\u0000"}}', 400, "invalid_unicode", "tags.a"),
    (b'{"a": 1, "a": 1}', 400, "duplicate_key", "a"),
    (b'{"a": ' + b"1" * 6_000 + b"}", 400, "huge_integer", None),
    (b" " * 20_000_000, 413, "too_large", None),
    (b"null", 422, "object_type", None),
    (b'"text"', 422, "object_type", None),
    (b"17", 422, "object_type", None),
]


@pytest.mark.parametrize("route", ROUTES)
@pytest.mark.parametrize(
    ("raw", "status", "code", "field"), BAD_BODIES, ids=[f"{b[2]}-{b[0][:9]!r}" for b in BAD_BODIES]
)
def test_bodies_that_are_no_json_objects(
    desk: Desk, route: str, raw: bytes, status: int, code: str, field: str | None
) -> None:
    refused(desk, desk.post(route, raw), status, code, field)


@pytest.mark.parametrize("route", ROUTES)
def test_refusals_before_the_body(desk: Desk, route: str) -> None:
    body = ROUTES[route]
    refused(desk, desk.post(route, body, **{"Content-Type": "text/plain"}), 415, "unsupported_media_type")
    refused(desk, desk.post(route, body, **{"Content-Encoding": "br"}), 415, "unsupported_encoding")
    refused(desk, desk.post(route, body, **{"Content-Encoding": "gzip"}), 400, "bad_encoding")
    refused(desk, desk.get(route), 405, "method_not_allowed")
    refused(desk, desk.send(f"{route}/", b"", {}), 404, "not_found")
    wrong = desk.review if route in LISTS else desk.ingest
    refused(desk, desk.post(route, body, Authorization=f"Bearer {wrong}"), 403, "forbidden", "authorization")
    for authorization in ("", "Bearer", "Bearer lb_1_2", f"Basic {desk.key_of(route)}", "Bearer ünï".encode("latin-1")):
        answer = desk.post(route, body, Authorization=authorization)  # type: ignore[arg-type]
        refused(desk, answer, 401, "unauthorized", "authorization")
        assert answer.headers["www-authenticate"] == "Bearer"
    refused(desk, desk.send(route, b"{}", {"Content-Type": "application/json"}), 401, "unauthorized", "authorization")


BAD_FIELDS = [
    ("/v1/feedback", {"prediction_id": None}, "string_type", "prediction_id"),
    ("/v1/feedback", {"prediction_id": "a b"}, "string_pattern_mismatch", "prediction_id"),
    ("/v1/feedback", {"kind": "applause"}, "union_tag_invalid", "kind"),
    ("/v1/feedback", {"kind": ["thumbs"]}, "union_tag_invalid", "kind"),
    ("/v1/feedback", {"value": "sideways"}, "literal_error", "value"),
    ("/v1/feedback", {"value": {"deep": 1}}, "literal_error", "value"),
    ("/v1/feedback", {"kind": "rating", "value": 6}, "less_than_equal", "value"),
    ("/v1/feedback", {"kind": "rating", "value": True}, "int_type", "value"),
    ("/v1/feedback", {"kind": "rating", "value": "5"}, "int_type", "value"),
    ("/v1/feedback", {"kind": "rating", "value": 4.0}, "int_type", "value"),
    ("/v1/feedback", {"kind": "correction", "value": "x" * 10_001}, "string_too_long", "value"),
    ("/v1/feedback", {"kind": "correction", "value": ""}, "string_too_short", "value"),
    ("/v1/feedback", {"kind": "comment", "value": "x" * 4_001}, "string_too_long", "value"),
    ("/v1/feedback", {"kind": "preference", "value": {"chosen": "a"}}, "missing", "value.rejected"),
    (
        "/v1/feedback",
        {"kind": "preference", "value": {"chosen": "a", "rejected": "b", "why": 1}},
        "extra_forbidden",
        "value.why",
    ),
    ("/v1/feedback", {"schema_version": 0}, "literal_error", "schema_version"),
    ("/v1/feedback", {"schema_version": "2"}, "literal_error", "schema_version"),
    ("/v1/feedback", {"said_at": "yesterday"}, "datetime_from_date_parsing", "said_at"),
    ("/v1/feedback", {"said_at": "2026-11-21T12:00:00"}, "timezone_aware", "said_at"),
    ("/v1/feedback", {"said_at": 1795262400}, "string_type", "said_at"),
    ("/v1/feedback", {"app": "My Shop"}, "string_pattern_mismatch", "app"),
    ("/v1/feedback", {"event_id": "x" * 49}, "string_pattern_mismatch", "event_id"),
    ("/v1/feedback", {"event_id": ""}, "string_pattern_mismatch", "event_id"),
    ("/v1/feedback", {"user": "x" * 201}, "string_too_long", "user"),
    ("/v1/feedback", {"user": 7}, "string_type", "user"),
    ("/v1/feedback", {"tags": {"lang": 1}}, "string_type", "tags.lang"),
    ("/v1/feedback", {"tags": {f"t{n}": "" for n in range(17)}}, "too_long", "tags"),
    ("/v1/predictions", {"input": "x" * 10_001}, "string_too_long", "input"),
    ("/v1/predictions", {"output": ["out"]}, "string_type", "output"),
    ("/v1/predictions", {"model": "No Name"}, "string_pattern_mismatch", "model"),
    ("/v1/predictions", {"scores": [{"label": "a", "score": 2}]}, "less_than_equal", "scores.0.score"),
    ("/v1/predictions", {"solicit": 1}, "bool_type", "solicit"),
    ("/v1/predictions", {"solicit_rate": "0.1"}, "float_type", "solicit_rate"),
    ("/v1/reviews", {"decision": "promote"}, "wrong_decision", "decision"),
    ("/v1/reviews", {"subject_kind": "version"}, "wrong_decision", "decision"),
    ("/v1/reviews", {"decision": "relabel"}, "wrong_target", "target"),
    ("/v1/reviews", {"target": "refund"}, "wrong_target", "target"),
    ("/v1/reviews", {"decision": "maybe"}, "literal_error", "decision"),
    ("/v1/training-requests", {"card": {**CARD, "task": "dance"}}, "literal_error", "card.task"),
    ("/v1/training-requests", {"card": {**CARD, "examples": {}}}, "missing", "card.examples.uri"),
    ("/v1/training-requests", {"detail": "x" * 501}, "string_too_long", "detail"),
]


@pytest.mark.parametrize(("route", "change", "code", "field"), BAD_FIELDS)
def test_a_wrong_field_is_named(desk: Desk, route: str, change: dict[str, object], code: str, field: str) -> None:
    body = {**ROUTES[route], **change}
    refused(desk, desk.post(route, body), 422, code, field)
    if route in LISTS:
        refused(desk, desk.post(route, [body]), 422, code, field, index=0)


@pytest.mark.parametrize(("route", "field"), [(route, field) for route, body in ROUTES.items() for field in body])
def test_a_missing_field_is_named(desk: Desk, route: str, field: str) -> None:
    body = {name: value for name, value in ROUTES[route].items() if name != field}
    code = "union_tag_not_found" if field == "kind" else "missing"
    refused(desk, desk.post(route, body), 422, code, field)


def test_a_refusal_repeats_nothing_that_was_sent(desk: Desk) -> None:
    for change in ({"kind": "se cret"}, {"value": "se cret"}, {"se cret": 1}, {"event_id": "se cret"}):
        assert "se cret" not in desk.post("/v1/feedback", {**THUMBS, **change}).text


def test_a_list_is_no_way_around_the_rules(desk: Desk) -> None:
    refused(desk, desk.post("/v1/feedback", []), 400, "empty_list")
    refused(desk, desk.post("/v1/reviews", [REVIEW]), 422, "object_type")


@pytest.mark.parametrize("route", ROUTES)
def test_what_is_not_durable_is_not_accepted(desk: Desk, route: str) -> None:
    desk.log.ready = False
    answer = desk.post(route, ROUTES[route])
    refused(desk, answer, 503, "unavailable")
    assert int(answer.headers["retry-after"]) >= 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text() | st.sampled_from(["thumbs", "rating", "up"]),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*THUMBS, *PREDICTION, *REVIEW, "event_id", "tags", "card"]) | st.text(), inner
        )
    ),
    max_leaves=12,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(route=st.sampled_from([*ROUTES]), body=JSON, onto=st.booleans())
def test_no_body_breaks_the_collector(desk: Desk, route: str, body: Any, onto: bool) -> None:
    before = len(desk.log.events)
    answer = desk.post(route, {**ROUTES[route], **body} if onto and isinstance(body, dict) else body)
    assert answer.status_code in (200, 202, 207) or 400 <= answer.status_code < 500
    receipt = answer.json() if answer.is_success else {}
    repeats = int(receipt.get("duplicate", False)) + len(receipt.get("duplicates", []))
    assert len(desk.log.events) - before == receipt.get("accepted", 0) - repeats


# --- what it shows -----------------------------------------------------------------------------------------------


def test_probes_and_metrics(desk: Desk) -> None:
    assert desk.get("/livez").status_code == desk.get("/readyz").status_code == 200
    desk.log.ready = False
    assert desk.get("/readyz").status_code == 503
    desk.post("/v1/feedback", {**THUMBS, "value": 1})
    metrics = desk.get("/metrics").text
    assert 'learnback_ingest_outcomes_total{outcome="refused",reason="literal_error"}' in metrics


def test_the_documentation_knows_bodies_and_problems(desk: Desk) -> None:
    assert desk.get("/docs").status_code == 200
    document = desk.get("/openapi.json").json()
    components = document["components"]["schemas"]
    for route in ROUTES:
        operation = document["paths"][route]["post"]
        assert operation["requestBody"]["required"] is True
        assert operation["responses"]["422"]["content"].keys() == {"application/problem+json"}
    assert {"Problem", "Receipt", "ThumbsBody", "PreferenceBody", "ScoreBody", "DatasetBody"} <= components.keys()
    for reference in set(_references(document)):
        assert reference.removeprefix("#/components/schemas/") in components, reference


def _references(part: Any) -> Iterator[str]:
    if isinstance(part, dict):
        yield from (value for name, value in part.items() if name == "$ref")
        yield from part.get("discriminator", {}).get("mapping", {}).values()
    for inner in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        yield from _references(inner)
