"""Browsers: a page's key is for its origins and for feedback, and its users are believed with a token alone."""

from __future__ import annotations

from datetime import UTC, datetime

import httpx
import learnback
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.events import FeedbackReceived
from services.collector.nonces import KEPT_S, Nonces
from shared.errors import RequestError
from shared.identity import user_key
from shared.tokens import LEEWAY_S, LONGEST_S, token_secret, verify
from tests.unit.collector_desk import NOW, PREDICTION, SECRET, THUMBS, Desk, refused

PAGE = "https://shop.example"


@pytest.fixture
def token(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> object:
    """Makes tokens at the collector's time."""
    monkeypatch.setattr("time.time", lambda: desk.clock().timestamp())
    secret = token_secret(SECRET, desk.page.split("_")[1])
    return lambda user="ann", **more: learnback.user_token(more.pop("secret", secret), "shop", user, **more)


def post(desk: Desk, body: object, **headers: str) -> httpx.Response:
    return desk.post("/v1/feedback", body, **{"Authorization": f"Bearer {desk.page}", "Origin": PAGE, **headers})


def user(desk: Desk) -> str | None:
    event = desk.log.events[-1]
    assert isinstance(event, FeedbackReceived)
    return event.user_key


def test_a_page_of_the_keys_origin_may_send_feedback(desk: Desk) -> None:
    answer = post(desk, THUMBS)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (202, PAGE)
    assert "X-Learnback-Warning" in answer.headers["access-control-expose-headers"]


@pytest.mark.parametrize("origin", ["https://evil.example", "https://shop.example.evil.example", "null", ""])
def test_other_pages_may_not(desk: Desk, origin: str) -> None:
    answer = post(desk, THUMBS, Origin=origin)
    refused(desk, answer, 403, "disallowed_origin", "origin")
    assert "access-control-allow-origin" not in answer.headers
    assert 'outcome="refused",reason="disallowed_origin"' in desk.get("/metrics").text


def test_a_key_on_a_page_may_do_nothing_else(desk: Desk) -> None:
    headers = {"Authorization": f"Bearer {desk.page}", "Origin": PAGE}
    refused(desk, desk.post("/v1/predictions", PREDICTION, **headers), 403, "forbidden", "authorization")
    refused(desk, desk.post("/v1/erasures", {"user": "ann"}, **headers), 403, "forbidden", "authorization")


def preflight(desk: Desk, origin: str, asks: str = "authorization, content-type, x-learnback-user") -> httpx.Response:
    headers = {"Origin": origin, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": asks}
    return desk.runner.run(desk.http.options("/v1/feedback", headers=headers))


def test_a_browser_that_asks_first_is_told(desk: Desk) -> None:
    answer = preflight(desk, PAGE)
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, PAGE)
    assert "x-learnback-user" in answer.headers["access-control-allow-headers"]
    refused(desk, preflight(desk, "https://evil.example"), 403, "disallowed_origin", "origin")


def test_a_user_is_believed_with_a_token_alone(desk: Desk, token: object) -> None:
    answer = post(desk, {**THUMBS, "user": "ann"})
    assert (answer.status_code, answer.headers["x-learnback-warning"], user(desk)) == (202, "unproven_user", None)
    for body in ({**THUMBS, "user": "ann"}, THUMBS):
        answer = post(desk, body, **{"X-Learnback-User": token()})  # type: ignore[operator]
        assert (answer.status_code, user(desk)) == (202, user_key(SECRET, "shop", "ann"))
        assert "x-learnback-warning" not in answer.headers


def test_a_token_is_one_users(desk: Desk, token: object) -> None:
    vouched = {"X-Learnback-User": token()}  # type: ignore[operator]
    refused(desk, post(desk, {**THUMBS, "user": "bob"}, **vouched), 403, "wrong_user", "user")
    assert post(desk, THUMBS, **vouched).status_code == 202  # what came to nothing did not use it up


def test_a_token_is_good_once(desk: Desk, token: object) -> None:
    vouched = {"X-Learnback-User": token()}  # type: ignore[operator]
    assert post(desk, THUMBS, **vouched).status_code == 202
    desk.log.events.clear()
    refused(desk, post(desk, THUMBS, **vouched), 409, "token_replayed", "x-learnback-user")


def test_a_token_that_was_not_durable_is_still_good(desk: Desk, token: object) -> None:
    vouched = {"X-Learnback-User": token()}  # type: ignore[operator]
    desk.log.ready = False
    assert post(desk, THUMBS, **vouched).status_code == 503
    desk.log.ready = True
    assert post(desk, THUMBS, **vouched).status_code == 202


def test_tokens_expire(desk: Desk, token: object) -> None:
    early, late = token(seconds=60), token(seconds=60)  # type: ignore[operator]
    desk.clock.sleep(60 + LEEWAY_S - 1)
    assert post(desk, THUMBS, **{"X-Learnback-User": early}).status_code == 202
    desk.log.events.clear()
    desk.clock.sleep(2)
    refused(desk, post(desk, THUMBS, **{"X-Learnback-User": late}), 401, "token_expired", "x-learnback-user")


def test_forged_and_foreign_tokens_are_refused(desk: Desk, token: object) -> None:
    good: str = token()  # type: ignore[operator]
    foreign: str = token(secret=token_secret(SECRET, "another"))  # type: ignore[operator]
    other_user = good.replace("lbt_YW5u", "lbt_Ym9i")
    assert other_user != good
    for bad in (foreign, other_user, good[:-1] + ("0" if good[-1] != "0" else "1"), "lbt_a_1_b_c", "", "lbt__1__"):
        answer = post(desk, THUMBS, **{"X-Learnback-User": bad})
        refused(desk, answer, 401, "invalid_token", "x-learnback-user")


def test_a_server_needs_no_token(desk: Desk) -> None:
    assert desk.post("/v1/feedback", {**THUMBS, "user": "ann"}, Origin="https://evil.example").status_code == 202
    assert user(desk) == user_key(SECRET, "shop", "ann")


# --- the pure parts ----------------------------------------------------------------------------------------------


@given(
    user=st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=200), seconds=st.integers(1, LONGEST_S)
)
def test_what_the_client_makes_the_collector_reads(user: str, seconds: int) -> None:

    token = learnback.user_token("lbs_x", "shop", user, seconds)
    assert verify(token, "shop", "lbs_x", datetime.now(UTC)).user == user


@pytest.mark.parametrize("seconds", [0, LONGEST_S + 1])
def test_a_token_is_not_made_for_longer_than_it_is_believed(seconds: int) -> None:
    with pytest.raises(ValueError, match="900"):
        learnback.user_token("lbs_x", "shop", "ann", seconds)


def test_no_nonce_is_forgotten_while_its_token_is_good_and_none_is_kept_for_ever() -> None:
    nonces, at = Nonces(capacity=100), NOW.timestamp()
    for number in range(90):
        nonces.claim(f"n{number}", at + number * 10)
    for number in range(90):
        with pytest.raises(RequestError, match="used before"):
            nonces.claim(f"n{number}", at + 900 + LEEWAY_S)
    nonces.claim("n0", at + 3 * KEPT_S)


def test_a_flood_of_tokens_is_refused_and_not_forgotten() -> None:
    nonces, at = Nonces(capacity=10), NOW.timestamp()
    for number in range(10):
        nonces.claim(f"n{number}", at)
    with pytest.raises(RequestError) as refusal:
        nonces.claim("one more", at)
    assert refusal.value.status == 429
    with pytest.raises(RequestError, match="used before"):
        nonces.claim("n0", at)
