"""Erasures over HTTP: the right person's pseudonym goes onto the log, and the user's id goes nowhere."""

from __future__ import annotations

import pytest

from schemas.events import UserErased
from shared.identity import user_key
from shared.ids import namespaced
from tests.unit.collector_desk import SECRET, Desk, refused


def bearer(key: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {key}"}


def test_an_app_may_have_its_own_user_forgotten(desk: Desk) -> None:
    answer = desk.post("/v1/erasures", {"user": "ann", "event_id": "e1"}, **bearer(desk.ingest))
    pseudonym = user_key(SECRET, "shop", "ann")
    receipt = {"accepted": 1, "event_ids": ["e1"], "server_id": False, "user_key": pseudonym}
    assert (answer.status_code, answer.json()) == (202, receipt)
    [event] = desk.log.events
    assert isinstance(event, UserErased)
    assert (event.event_id, event.user_key) == (namespaced("shop", "e1"), pseudonym)
    assert event.requested_by == "shop"
    assert "ann" not in event.model_dump_json()


def test_a_reviewer_may_have_any_apps_user_forgotten(desk: Desk) -> None:
    answer = desk.post("/v1/erasures", {"user": "ann", "app": "shop"}, **bearer(desk.review))
    assert answer.json()["user_key"] == user_key(SECRET, "shop", "ann")
    [event] = desk.log.events
    assert isinstance(event, UserErased)
    assert event.requested_by == "office"


def test_an_app_may_not_have_anothers_user_forgotten(desk: Desk) -> None:
    answer = desk.post("/v1/erasures", {"user": "ann", "app": "shop"}, **bearer(desk.other))
    refused(desk, answer, 403, "wrong_app", "app")


@pytest.mark.parametrize(
    ("body", "code", "field"),
    [
        ({}, "missing", "user"),
        ({"user": ""}, "string_too_short", "user"),
        ({"user": 7}, "string_type", "user"),
        ({"user": "ann", "usr": "bob"}, "extra_forbidden", "usr"),
        ([{"user": "ann"}], "object_type", None),
    ],
)
def test_a_wish_that_is_not_clear_is_refused(desk: Desk, body: object, code: str, field: str | None) -> None:
    refused(desk, desk.post("/v1/erasures", body, **bearer(desk.ingest)), 422, code, field)


def test_it_is_durable_or_refused(desk: Desk) -> None:
    desk.log.ready = False
    refused(desk, desk.post("/v1/erasures", {"user": "ann"}, **bearer(desk.ingest)), 503, "unavailable")
