"""Quotas: a key's bucket empties and fills, another key's does not, and what is refused is nowhere."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from services.collector.quota import BURST_S, LEAST, Quota
from services.collector.settings import CollectorSettings
from shared.errors import RequestError
from tests.unit.collector_desk import THUMBS, Desk, refused


def test_a_burst_is_taken_and_what_follows_waits(desk: Desk) -> None:
    desk.start_again(CollectorSettings(rate=100))
    for _ in range(2):
        answer = desk.post("/v1/feedback", [THUMBS] * 500)
        assert answer.status_code == 202
    assert answer.headers["x-ratelimit-used-pct"] == "100"
    desk.log.events.clear()
    answer = desk.post("/v1/feedback", [THUMBS] * 200)
    refused(desk, answer, 429, "rate_limited", "authorization")
    assert answer.headers["retry-after"] == "2"
    assert "100 events a second" in answer.json()["detail"]
    assert desk.post("/v1/feedback", THUMBS, Authorization=f"Bearer {desk.other}").status_code == 202
    desk.clock.sleep(2)
    assert desk.post("/v1/feedback", [THUMBS] * 200).status_code == 202


def test_without_a_quota_nothing_is_told_of_one(desk: Desk) -> None:
    assert "x-ratelimit-used-pct" not in desk.post("/v1/feedback", THUMBS).headers


def test_what_is_refused_for_other_reasons_counts_too(desk: Desk) -> None:
    desk.start_again(CollectorSettings(rate=100))
    for _ in range(2):
        assert desk.post("/v1/feedback", [{**THUMBS, "value": 1}] * 500).status_code == 422
    assert desk.post("/v1/feedback", THUMBS).status_code == 429


@given(rate=st.floats(0.1, 1e6), steps=st.lists(st.tuples(st.integers(1, 500), st.floats(0, 30)), max_size=50))
def test_no_key_gets_more_than_its_rate_and_one_burst(rate: float, steps: list[tuple[int, float]]) -> None:
    quota, at, taken = Quota(rate), 0.0, 0
    for events, pause in steps:
        at += pause
        try:
            used = quota.take("k", events, at)
        except RequestError as refusal:
            wait = int((refusal.headers or {})["Retry-After"])
            quota.take("k", events, at + wait)  # who waits as told is served
            at += wait
            used = 0
        assert used is not None
        assert 0 <= used <= 100
        taken += events
    assert taken <= max(LEAST, rate * BURST_S) + rate * at + 1e-3


def test_a_clock_that_is_set_back_locks_nobody_out() -> None:
    quota = Quota(100)
    quota.take("k", 500, 1_000_000)
    quota.take("k", 500, 0)
    quota.take("k", 500, 5)


def test_a_limit_of_nothing_is_no_limit() -> None:
    assert Quota(0).take("k", 10**9, 0) is None
    with pytest.raises(RequestError):
        Quota(1).take("k", 10**9, 0)
