"""Bad input to the collector, over real HTTP: a table of what is sent and what is wanted, and stories for the rest.

Row by row as in the reference on reliability, section 7, rows 1 to 39; the last test says that none is left out.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import json
import re
import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import learnback
import pytest
import uvicorn
from starlette.types import ASGIApp

from schemas.events import EventQuarantined, FeedbackReceived, in_utc
from services.collector.app import create_app
from services.collector.durable import DurableLog
from services.collector.settings import CollectorSettings
from services.collector.spool import Spool
from shared.envelope import Sealed
from shared.http.body import MAX_BODY
from shared.http.server import configured, listen
from shared.http.wire import MAX_HEAD, Wire
from shared.identity import Keyring
from shared.kafka import Bus
from shared.log import KafkaLog, Kept
from shared.tokens import token_secret
from tests.conftest import free_port
from tests.unit.collector_desk import PREDICTION, REVIEW, SECRET, THUMBS, UNLIMITED, Memory

FEEDBACK, PREDICTIONS, REVIEWS = "/v1/feedback", "/v1/predictions", "/v1/reviews"
PAGE = "https://shop.example"
WAIT_S = 20
WIDE = "\N{GRINNING FACE}" * 9_000  # 36 kB: one text fits into an event, two do not
NASTY = "=cmd|' /C calc'!A0\u202e<script>alert(1)</script>\x07 ann@example.com +49 170 1234567"
JSON = {"Content-Type": "application/json"}


class Hasty(Wire):
    """Waits less than the real one."""

    head_s = linger_s = 0.3


@dataclass(frozen=True)
class Keys:
    """Keys of all kinds."""

    keyring: Keyring
    made: dict[str, str]


@dataclass
class House:
    """A collector behind a socket, its keys, and what it put on its log."""

    log: Memory
    address: tuple[str, int]
    keys: dict[str, str]
    http: httpx.Client = field(init=False)

    def __post_init__(self) -> None:
        self.http = httpx.Client(base_url=f"http://{self.address[0]}:{self.address[1]}", timeout=WAIT_S)

    def post(self, path: str, content: Any, key: str = "app", **headers: str) -> httpx.Response:
        raw = content if isinstance(content, bytes) or hasattr(content, "__next__") else json.dumps(content).encode()
        sent = {"Authorization": f"Bearer {self.keys[key]}", **JSON, **headers}
        return self.http.post(path, content=raw, headers=sent)

    def raw(self, *parts: bytes) -> bytes:
        """What comes back for these bytes, until the server closes."""
        received = b""
        with socket.create_connection(self.address, WAIT_S) as client:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                for part in parts:
                    client.sendall(part)
            with contextlib.suppress(ConnectionResetError):
                while part := client.recv(65_536):
                    received += part
        return received

    def request(self, body: bytes, *headers: str, length: int | None = None) -> bytes:
        """A request's bytes."""
        lines = [
            "POST /v1/feedback HTTP/1.1",
            "Host: collector",
            f"Authorization: Bearer {self.keys['app']}",
            "Content-Type: application/json",
            f"Content-Length: {len(body) if length is None else length}",
            *headers,
        ]
        return "\r\n".join([*lines, "", ""]).encode() + body


@contextlib.contextmanager
def serving(app: ASGIApp, log: Memory, keys: Keys) -> Iterator[House]:
    """Serve an app as the product does."""
    listener = listen("127.0.0.1", 0)
    server = uvicorn.Server(configured(app, Hasty))
    thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
    thread.start()
    house = House(log, listener.getsockname(), keys.made)
    try:
        with house.http:
            yield house
    finally:
        server.should_exit = True
        thread.join(WAIT_S)


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Keys:
    keyring = Keyring(tmp_path_factory.mktemp("keys") / "keys.json", SECRET)
    made = {
        "app": keyring.create("shop"),
        "review": keyring.create("office", frozenset({"review"})),
        "page": keyring.create("shop", origins=(PAGE,)),
        "revoked": keyring.create("shop"),
    }
    keyring.revoke(made["revoked"].split("_")[1])
    return Keys(keyring, {**made, "unknown": "lb_00000000_" + "x" * 43})


@pytest.fixture(scope="module")
def server(keys: Keys) -> Iterator[House]:
    log = Memory()
    with serving(create_app(log, keys.keyring, UNLIMITED), log, keys) as house:
        yield house


@pytest.fixture
def house(server: House) -> House:
    server.log.events.clear()
    server.log.ready = True
    return server


def refused(house: House, answer: httpx.Response, status: int, code: str) -> None:
    """The answer is this problem, and nothing was stored."""
    told = answer.json()
    assert answer.headers["content-type"] == "application/problem+json"
    assert (answer.status_code, told["code"], told["status"]) == (status, code, status), told
    assert told["retryable"] == (status in (408, 429, 503))
    assert house.log.events == []


# --- the table: what is sent, and with which problem it is refused ---------------------------------------------------

THUMBS_RAW = json.dumps(THUMBS).encode()


def with_value(value: str) -> bytes:
    return b'{"prediction_id": "p1", "kind": "comment", "value": ' + value.encode() + b"}"


REFUSED: list[tuple[int, str, str, Any, dict[str, str], int, str]] = [
    (1, "empty body", FEEDBACK, b"", {}, 400, "empty_body"),
    (2, "broken JSON", FEEDBACK, b'{"a": ', {}, 400, "invalid_json"),
    (3, "list on a route for one", REVIEWS, [REVIEW], {"key": "review"}, 422, "object_type"),
    (4, "text/plain", FEEDBACK, THUMBS, {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
    (5, "false gzip", FEEDBACK, THUMBS, {"Content-Encoding": "gzip"}, 400, "bad_encoding"),
    (6, "gzip bomb", FEEDBACK, gzip.compress(b" " * 50_000_000), {"Content-Encoding": "gzip"}, 413, "too_large"),
    (7, "unknown encoding", FEEDBACK, THUMBS, {"Content-Encoding": "br"}, 415, "unsupported_encoding"),
    (8, "20 MB", FEEDBACK, b" " * 20_000_000, {}, 413, "too_large"),
    (10, "501 items", FEEDBACK, [THUMBS] * 501, {}, 413, "too_many_items"),
    (10, "no item", FEEDBACK, [], {}, 400, "empty_list"),
    (11, "300 levels", FEEDBACK, with_value("[" * 300 + "]" * 300), {}, 400, "too_deep"),
    (11, "900 levels", FEEDBACK, with_value("[" * 900 + "]" * 900), {}, 400, "too_deep"),
    (11, "100,000 levels", FEEDBACK, with_value("[" * 100_000), {}, 400, "too_deep"),
    (12, "NaN", FEEDBACK, with_value("NaN"), {}, 400, "non_finite"),
    (12, "Infinity", FEEDBACK, with_value("-Infinity"), {}, 400, "non_finite"),
    (12, "1e400", FEEDBACK, with_value("1e400"), {}, 400, "non_finite"),
    (13, "lone surrogate", FEEDBACK, with_value('"\\ud800"'), {}, 400, "invalid_unicode"),
    (14, "NUL", FEEDBACK, with_value('"a\\u0000b"'), {}, 400, "invalid_unicode"),
    (15, "not UTF-8", FEEDBACK, b'{"a": "\xff\xfe"}', {}, 400, "invalid_utf8"),
    (16, "UTF-16", FEEDBACK, THUMBS_RAW.decode().encode("utf-16"), {}, 400, "invalid_utf8"),
    (16, "byte order mark", FEEDBACK, b"\xef\xbb\xbf" + THUMBS_RAW, {}, 400, "invalid_utf8"),
    (17, "5000 digits", FEEDBACK, with_value("9" * 5_000), {}, 400, "huge_integer"),
    (18, "a key twice", FEEDBACK, b'{"kind": "thumbs", ' + THUMBS_RAW[1:], {}, 400, "duplicate_key"),
    (19, "unknown field, strict", FEEDBACK, {**THUMBS, "x": 1}, {"Prefer": "handling=strict"}, 422, "extra_forbidden"),
    (20, "future, no envelope", FEEDBACK, {"schema_version": 2, "kind": "x"}, {}, 422, "missing"),
    (21, "empty event id", FEEDBACK, {**THUMBS, "event_id": ""}, {}, 422, "string_pattern_mismatch"),
    (22, "long event id", FEEDBACK, {**THUMBS, "event_id": "x" * 65}, {}, 422, "string_pattern_mismatch"),
    (22, "no id at all", FEEDBACK, {**THUMBS, "event_id": "ä b"}, {}, 422, "string_pattern_mismatch"),
    (25, "before retention", FEEDBACK, {**THUMBS, "said_at": "2001-09-09T01:46:40Z"}, {}, 422, "too_old"),
    (26, "out of range", FEEDBACK, {**THUMBS, "kind": "rating", "value": 6}, {}, 422, "less_than_equal"),
    (26, "text for a number", FEEDBACK, {**THUMBS, "kind": "rating", "value": "5"}, {}, 422, "int_type"),
    (26, "bool for a number", FEEDBACK, {**THUMBS, "kind": "rating", "value": True}, {}, 422, "int_type"),
    (27, "long text", PREDICTIONS, {**PREDICTION, "input": "x" * 10_001}, {}, 422, "string_too_long"),
    (31, "unknown key", FEEDBACK, THUMBS, {"key": "unknown"}, 401, "unauthorized"),
    (31, "revoked key", FEEDBACK, THUMBS, {"key": "revoked"}, 401, "unauthorized"),
    (32, "key without the scope", FEEDBACK, THUMBS, {"key": "review"}, 403, "forbidden"),
    (32, "another app", FEEDBACK, {**THUMBS, "app": "forum"}, {}, 403, "wrong_app"),
    (34, "page", FEEDBACK, THUMBS, {"key": "page", "Origin": "https://evil.example"}, 403, "disallowed_origin"),
]


@pytest.mark.parametrize(
    ("path", "content", "options", "status", "code"),
    [row[2:] for row in REFUSED],
    ids=[f"{row[0]}-{row[1].replace(' ', '_')}" for row in REFUSED],
)
def test_it_is_refused_and_nowhere(
    house: House, path: str, content: Any, options: dict[str, str], status: int, code: str
) -> None:
    refused(house, house.post(path, content, **options), status, code)


# --- the rows that say more than a refusal ---------------------------------------------------------------------------


def test_row_2_the_place_of_the_fault_is_told(house: House) -> None:
    assert "line 2, column 7" in house.post(FEEDBACK, b'{\n "a": oops}').json()["detail"]


def test_row_7_the_encodings_are_told(house: House) -> None:
    answer = house.post(FEEDBACK, THUMBS, **{"Content-Encoding": "br"})
    assert answer.headers["accept-encoding"] == "gzip, identity"


def test_row_8_a_length_that_is_missing_or_false_changes_nothing(house: House) -> None:
    chunked = house.post(FEEDBACK, (b" " * 65_536 for _ in range(320)))
    refused(house, chunked, 413, "too_large")
    for length in (10, 21 * MAX_BODY):
        answer = house.raw(house.request(b"{" * 20_000_000, length=length))
        assert re.match(rb"HTTP/1.1 (400|413) ", answer) or answer == b""  # a reset may overtake the answer
        assert answer.count(b"HTTP/1.1") <= 2
    assert house.log.events == []


def test_row_9_a_large_item_takes_no_other_along(house: House) -> None:
    answer = house.post(PREDICTIONS, [PREDICTION, {**PREDICTION, "input": WIDE, "output": WIDE}, PREDICTION])
    [error] = answer.json()["errors"]
    assert (answer.status_code, error["event_index"], error["status"], error["code"]) == (207, 1, 413, "too_large")
    assert len(house.log.events) == 2


def test_row_19_an_unknown_field_is_kept_aside(house: House) -> None:
    answer = house.post(FEEDBACK, {**THUMBS, "mood": "good"})
    assert (answer.status_code, answer.headers["x-learnback-warning"]) == (202, "unknown_fields")
    [event] = house.log.events
    assert isinstance(event, FeedbackReceived)
    assert json.loads(event.extensions or "") == {"mood": "good"}


def test_row_20_the_future_waits_in_quarantine(house: House) -> None:
    answer = house.post(FEEDBACK, {"prediction_id": "p1", "kind": "emoji", "schema_version": 2})
    assert (answer.status_code, answer.headers["x-learnback-warning"]) == (202, "unknown_version")
    [event] = house.log.events
    assert isinstance(event, EventQuarantined)
    assert event.reason == "unknown_version"


def test_row_21_a_missing_id_is_made_and_told(house: House) -> None:
    answer = house.post(FEEDBACK, THUMBS)
    [event] = house.log.events
    assert (answer.status_code, answer.json()["server_id"]) == (202, True)
    assert answer.json()["event_ids"] == [event.event_id]


def test_rows_23_and_24_the_same_id_again(house: House) -> None:
    body = {**THUMBS, "event_id": "row-23"}
    first, again = house.post(FEEDBACK, body), house.post(FEEDBACK, body)
    assert (first.status_code, again.status_code) == (202, 200)
    assert again.json() == {**first.json(), "duplicate": True}
    other = house.post(FEEDBACK, {**body, "value": "down"})
    assert (other.status_code, other.json()["code"], other.json()["retryable"]) == (409, "id_conflict", False)
    [event] = house.log.events
    assert isinstance(event, FeedbackReceived)
    assert event.feedback.value == "up"
    assert 'outcome="refused",reason="id_conflict"' in house.http.get("/metrics").text


@pytest.mark.parametrize(
    "said_at",
    [
        "0001-01-01T00:00:00Z",
        "9999-12-31T23:59:59Z",
        in_utc(datetime.now(UTC) + timedelta(hours=1)),
        in_utc(datetime.now(UTC) - timedelta(days=40)),
    ],
)
def test_row_25_a_time_that_cannot_be_right_is_replaced(house: House, said_at: str) -> None:
    answer = house.post(FEEDBACK, {**THUMBS, "said_at": said_at})
    assert (answer.status_code, answer.headers["x-learnback-warning"]) == (202, "clock_skew")
    [event] = house.log.events
    assert isinstance(event, FeedbackReceived)
    assert event.said_at is None
    assert abs(event.occurred_at - datetime.now(UTC)) < timedelta(minutes=1)


def test_rows_28_and_29_nasty_and_personal_text_is_stored_as_it_is_and_told_nowhere(
    house: House, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    answer = house.post(FEEDBACK, {"prediction_id": "p1", "kind": "comment", "value": NASTY})
    house.post(FEEDBACK, {"prediction_id": NASTY, "kind": NASTY, NASTY: 1})
    [event] = house.log.events
    assert answer.status_code == 202
    assert isinstance(event, FeedbackReceived)
    assert event.feedback.value == NASTY
    told = "".join([*capfd.readouterr(), caplog.text, house.http.get("/metrics").text])
    assert "ann@example.com" not in told
    assert "alert(1)" not in told


def test_row_30_feedback_may_come_before_its_prediction(house: House) -> None:
    assert house.post(FEEDBACK, {**THUMBS, "prediction_id": "nobody-knows"}).status_code == 202


def test_row_31_all_bad_keys_are_alike(house: House) -> None:
    took: dict[str | None, list[float]] = {None: [], "unknown": [], "revoked": []}
    answers = []
    for _ in range(40):  # in turns, so that a busy machine slows all of them
        for key, times in took.items():
            headers = JSON if key is None else {**JSON, "Authorization": f"Bearer {house.keys[key]}"}
            started = time.perf_counter()
            answers.append(house.http.post(FEEDBACK, content=THUMBS_RAW, headers=headers))
            times.append(time.perf_counter() - started)
    assert {answer.content for answer in answers} == {answers[0].content}
    assert {frozenset(answer.headers) for answer in answers} == {frozenset(answers[0].headers)}
    assert answers[0].status_code == 401
    medians = [statistics.median(times) for times in took.values()]
    assert max(medians) < 2 * min(medians)


def test_row_33_a_browsers_token_expires_and_is_good_once(house: House, monkeypatch: pytest.MonkeyPatch) -> None:
    secret = token_secret(SECRET, house.keys["page"].split("_")[1])
    token = learnback.user_token(secret, "shop", "ann")
    on_page = {"key": "page", "Origin": PAGE}
    assert house.post(FEEDBACK, THUMBS, **on_page, **{"X-Learnback-User": token}).status_code == 202
    house.log.events.clear()
    refused(house, house.post(FEEDBACK, THUMBS, **on_page, **{"X-Learnback-User": token}), 409, "token_replayed")
    now = time.time()
    monkeypatch.setattr("time.time", lambda: now - 1_000)
    old = learnback.user_token(secret, "shop", "ann")
    monkeypatch.undo()
    refused(house, house.post(FEEDBACK, THUMBS, **on_page, **{"X-Learnback-User": old}), 401, "token_expired")


def test_row_34_pages_that_are_refused_are_counted(house: House) -> None:
    house.post(FEEDBACK, THUMBS, "page", Origin="https://evil.example")
    assert 'outcome="refused",reason="disallowed_origin"' in house.http.get("/metrics").text


def test_row_35_a_quota_says_which_and_until_when(keys: Keys) -> None:
    log = Memory()
    with serving(create_app(log, keys.keyring, CollectorSettings(rate=1)), log, keys) as house:
        answers = [house.post(FEEDBACK, [THUMBS] * 500) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [202, 202, 429]
        assert answers[1].headers["x-ratelimit-used-pct"] == "100"
        assert 400 < int(answers[2].headers["retry-after"]) <= 500
        assert (answers[2].json()["code"], answers[2].json()["field"]) == ("rate_limited", "authorization")
        assert "1 events a second" in answers[2].json()["detail"]
        assert len(log.events) == 1_000


def test_row_36_without_kafka_it_is_spooled_and_when_the_spool_is_full_refused(keys: Keys, tmp_path: Path) -> None:
    kafka = KafkaLog(Bus(f"127.0.0.1:{free_port()}"), "collector", ack_timeout_s=0.2)
    spool = Spool(tmp_path / "spool.db", 1024 * 1024)
    with serving(create_app(DurableLog(kafka, spool), keys.keyring, UNLIMITED), Memory(), keys) as house:
        answers = [house.post(PREDICTIONS, {**PREDICTION, "input": WIDE}) for _ in range(60)]
        taken = [answer for answer in answers if answer.status_code == 202]
        full = [answer for answer in answers if answer.status_code == 503]
        assert len(taken) + len(full) == 60
        assert taken
        assert {answer.headers["x-durability"] for answer in taken} == {"spool"}
        assert full[0].json()["retryable"] is True
        assert int(full[0].headers["retry-after"]) >= 1
        assert spool.events == len(taken)


def test_row_37_who_is_slow_or_sends_too_much_or_junk_is_cut_off(house: House) -> None:
    started = time.monotonic()
    assert b" 408 " in house.raw(b"POST /v1/feedback HTTP/1.1\r\nHost: x\r\n")
    assert time.monotonic() - started < 5
    assert b" 431 " in house.raw(house.request(THUMBS_RAW, "X-Large: " + "x" * MAX_HEAD))
    assert house.log.events == []
    answers = house.raw(house.request(THUMBS_RAW) + b"\x00\x01junk\r\n\r\n")
    assert (answers.count(b"HTTP/1.1"), answers.count(b"HTTP/1.1 202")) == (1, 1)
    assert len(house.log.events) == 1


def test_row_38_other_methods_and_paths_are_problems_too(house: House) -> None:
    for method in ("GET", "PUT", "DELETE", "PATCH"):
        refused(house, house.http.request(method, FEEDBACK), 405, "method_not_allowed")
    refused(house, house.http.post("/v2/feedback"), 404, "not_found")
    refused(house, house.http.get("/"), 404, "not_found")


class Held(Memory):
    """A log that is slow to say that it has the events."""

    def __init__(self) -> None:
        super().__init__()
        self.asked, self.go_on = threading.Event(), threading.Event()

    async def append(self, events: Sequence[Sealed]) -> Kept:
        self.asked.set()
        await asyncio.to_thread(self.go_on.wait, WAIT_S)
        return await super().append(events)


def test_row_39_who_leaves_before_the_answer_may_ask_again(keys: Keys) -> None:
    log, body = Held(), json.dumps({**THUMBS, "event_id": "row-39"}).encode()
    with serving(create_app(log, keys.keyring, UNLIMITED), log, keys) as house:
        with socket.create_connection(house.address, WAIT_S) as client:
            client.sendall(house.request(body))
            assert log.asked.wait(WAIT_S)
        log.go_on.set()
        eventually(lambda: len(log.events) == 1)
        assert house.post(FEEDBACK, body).json()["duplicate"] is True
        assert len(log.events) == 1


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + WAIT_S
    while not condition():
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.01)


def test_no_row_is_left_out() -> None:
    stories = [name for name in globals() if name.startswith("test_row")]
    told = {int(number) for name in stories for number in re.findall(r"(?<=_)\d+(?=_)", name)}
    assert told | {row[0] for row in REFUSED} == set(range(1, 40))
