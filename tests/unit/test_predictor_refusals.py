"""The predictor's refusals: a reason for machines, the field, never a 500, and nothing on the log."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.unit.predictor_desk import House, Running, predictor
from tests.weights import MODEL

TEXT = "where is my parcel"
BODY = {"model": MODEL, "input": TEXT}
PROBLEM = {"type", "title", "status", "detail", "code", "field", "retryable", "event_index"}


@pytest.fixture(scope="module")
def house(tmp_path_factory: pytest.TempPathFactory) -> House:
    return House.build(tmp_path_factory.mktemp("house"))


@pytest.fixture
async def running(house: House, tmp_path: Path) -> AsyncIterator[Running]:
    house.start_over()
    async with predictor(house, tmp_path, house.first.champion()) as started:
        yield started


def refused(running: Running, answer: httpx.Response, status: int, code: str, field: str | None = None) -> None:
    """The answer is this problem, complete, and nothing is on the log."""
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert (answer.status_code, told["code"], told["field"]) == (status, code, field), told
    assert set(told) == PROBLEM
    assert (told["status"], told["retryable"]) == (status, status == 503)
    assert running.log.events == []


BAD_BODIES = [
    (b"", 400, "empty_body", None),
    (b'{"model": "m"', 400, "invalid_json", None),
    (b'{"model": "m", "input": NaN}', 400, "non_finite", None),
    (b'{"input": "\xff"}', 400, "invalid_utf8", None),
    (b'{"tags":' * 100_000, 400, "too_deep", None),
    (b'{"input": "\\ud83d"}', 400, "invalid_unicode", "input"),
    (b'{"tags": {"lang": "\\u0000"}}', 400, "invalid_unicode", "tags.lang"),
    (b'{"input": "a", "input": "b"}', 400, "duplicate_key", "input"),
    (b" " * 20_000_000, 413, "too_large", None),
    (b"[]", 422, "object_type", None),
    (b'[{"model": "m", "input": "a"}]', 422, "object_type", None),
    (b"null", 422, "object_type", None),
    (b"{}", 422, "missing", "model"),
    (b'{"model": "support-intent"}', 422, "missing", "input"),
]


@pytest.mark.parametrize(
    ("raw", "status", "code", "field"), BAD_BODIES, ids=[f"{b[2]}-{b[0][:9]!r}" for b in BAD_BODIES]
)
async def test_bodies_that_are_no_question(
    running: Running, raw: bytes, status: int, code: str, field: str | None
) -> None:
    refused(running, await running.post(raw), status, code, field)


BAD_FIELDS = [
    ({"model": 7}, 422, "string_type", "model"),
    ({"model": "No Name"}, 422, "string_pattern_mismatch", "model"),
    ({"model": f"{MODEL}\n"}, 422, "string_pattern_mismatch", "model"),
    ({"model": "nobody"}, 404, "unknown_model", "model"),
    ({"input": ["a"]}, 422, "string_type", "input"),
    ({"input": None}, 422, "string_type", "input"),
    ({"input": ""}, 422, "string_too_short", "input"),
    ({"input": "x" * 10_001}, 422, "string_too_long", "input"),
    ({"prediction_id": "a b"}, 422, "string_pattern_mismatch", "prediction_id"),
    ({"prediction_id": "x" * 65}, 422, "string_pattern_mismatch", "prediction_id"),
    ({"user": ""}, 422, "string_too_short", "user"),
    ({"user": "x" * 201}, 422, "string_too_long", "user"),
    ({"tags": {"lang": 1}}, 422, "string_type", "tags.lang"),
    ({"tags": {f"t{number}": "" for number in range(17)}}, 422, "too_long", "tags"),
    ({"top_k": 3}, 422, "extra_forbidden", "top_k"),
    ({"se cret": 3}, 422, "extra_forbidden", "?"),
]


@pytest.mark.parametrize(("change", "status", "code", "field"), BAD_FIELDS)
async def test_a_wrong_field_is_named(
    running: Running, change: dict[str, object], status: int, code: str, field: str
) -> None:
    answer = await running.post({**BODY, **change})
    refused(running, answer, status, code, field)
    assert "se cret" not in answer.text


async def test_refusals_before_the_body(running: Running) -> None:
    for authorization in ("", "Bearer", "Bearer lb_1_2", f"Basic {running.ingest}"):
        answer = await running.post(BODY, Authorization=authorization)
        refused(running, answer, 401, "unauthorized", "authorization")
        assert answer.headers["www-authenticate"] == "Bearer"
    answer = await running.post(BODY, Authorization=f"Bearer {running.review}")
    refused(running, answer, 403, "forbidden", "authorization")
    refused(running, await running.http.get("/v1/models"), 401, "unauthorized", "authorization")
    refused(running, await running.post(b"x", **{"Content-Type": "text/plain"}), 415, "unsupported_media_type")
    refused(running, await running.http.get("/v1/predict"), 405, "method_not_allowed")
    refused(running, await running.http.post("/v1/predict/"), 404, "not_found")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from([*BODY, "prediction_id", "user", "tags"]) | st.text(), inner)
    ),
    max_leaves=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None, max_examples=60)
@given(body=JSON, onto=st.booleans())
async def test_no_body_breaks_the_predictor(running: Running, body: Any, onto: bool) -> None:
    before = len(running.log.events)
    answer = await running.post({**BODY, **body} if onto and isinstance(body, dict) else body)
    assert answer.status_code == 200 or 400 <= answer.status_code < 500
    assert len(running.log.events) - before == (answer.status_code == 200)
