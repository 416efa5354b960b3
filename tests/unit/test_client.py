"""The client: batches, the same id on every try, no error into the app, and books that balance."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import learnback
import pytest
from learnback._delivery import FIRST_S, MOST_S, Backoff, Outcome, judge
from learnback._outbox import BATCH_BYTES, Outbox, write

CLIENT = Path(learnback.__file__).parents[1]


def problem(
    status: int, code: str, field: str | None = None, index: int | None = None, retry_after: str | None = None
) -> httpx.Response:
    headers = {"Retry-After": retry_after} if retry_after else {}
    told = {"code": code, "detail": "no", "field": field, "event_index": index}
    return httpx.Response(status, json=told, headers=headers)


class Collector:
    """Answers as it is told to, then with 202; keeps every request."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.judge: Callable[[list[dict[str, Any]]], httpx.Response | None] = lambda events: None

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        if self.answers:
            answer = self.answers.pop(0)
            if isinstance(answer, Exception):
                raise answer
            return answer
        return self.judge(json.loads(request.content)) or httpx.Response(202)

    @property
    def events(self) -> list[list[dict[str, Any]]]:
        return [json.loads(request.content) for request in self.requests]

    def ids(self) -> list[list[str]]:
        return [[event["event_id"] for event in events] for events in self.events]


def client(collector: Collector, **options: Any) -> learnback.Client:
    return learnback.Client("http://collector", "lb_1_2", transport=httpx.MockTransport(collector), **options)


def test_everything_an_app_can_say() -> None:
    collector = Collector()
    with client(collector) as app:
        ids = [
            app.thumbs("p1", "up", user="ann", tags={"lang": "de"}),
            app.rating("p1", 4),
            app.correction("p1", "refund"),
            app.preference("p1", chosen="a", rejected="b"),
            app.comment("p1", "😀", event_id="mine"),
        ]
        assert app.flush(5)
        predicted = app.prediction("p2", model="m", version="v1", input="in", output="out", scores=[("a", 0.5)])
    assert [request.url.path for request in collector.requests] == ["/v1/feedback", "/v1/predictions"]
    assert collector.requests[0].headers["authorization"] == "Bearer lb_1_2"
    feedback, predictions = collector.events
    assert [event["event_id"] for event in feedback] == ids
    assert feedback[0] == {
        "prediction_id": "p1",
        "kind": "thumbs",
        "value": "up",
        "user": "ann",
        "tags": {"lang": "de"},
        "event_id": ids[0],
    }
    assert [event["value"] for event in feedback[1:]] == [4, "refund", {"chosen": "a", "rejected": "b"}, "😀"]
    assert (ids[4], predictions[0]["event_id"]) == ("mine", predicted)
    assert predictions[0]["scores"] == [{"label": "a", "score": 0.5}]
    assert app.stats == learnback.Stats(sent=6, accepted=6, rejected=0, dropped=0, pending=0)


def test_events_share_requests_of_at_most_a_hundred() -> None:
    collector = Collector()
    with client(collector) as app:
        ids = [app.thumbs("p1", "up") for _ in range(250)]
    assert [identity for batch in collector.ids() for identity in batch] == ids
    assert max(map(len, collector.ids())) <= 100
    assert len(collector.requests) <= 4


def test_without_a_flush_events_go_out_by_themselves() -> None:
    sent = threading.Event()

    def answer(request: httpx.Request) -> httpx.Response:
        sent.set()
        return httpx.Response(202)

    app = learnback.Client("http://collector", "k", transport=httpx.MockTransport(answer))
    started = time.monotonic()
    app.thumbs("p1", "up")
    assert time.monotonic() - started < 0.05
    assert sent.wait(2)
    app.close()


@pytest.mark.parametrize(
    "failure",
    [
        problem(503, "unavailable"),
        problem(429, "quota"),
        problem(408, "slow_body"),
        httpx.Response(500),
        httpx.ConnectError("x"),
        httpx.ReadTimeout("x"),
    ],
)
def test_what_may_succeed_later_is_sent_again_with_the_same_ids(failure: httpx.Response | Exception) -> None:
    collector = Collector(failure, failure)
    with client(collector) as app:
        app.thumbs("p1", "up")
        assert app.flush(5)
    first, second, third = collector.ids()
    assert first == second == third
    assert app.stats.accepted == 1


def test_retry_after_is_honoured() -> None:
    collector = Collector(problem(503, "unavailable", retry_after="0.6"))
    with client(collector) as app:
        app.thumbs("p1", "up")
        started = time.monotonic()
        app.flush(5)
    assert time.monotonic() - started >= 0.6


@pytest.mark.parametrize("status", [400, 401, 403, 404, 413, 415, 422])
def test_what_is_refused_is_counted_and_never_sent_again(status: int, caplog: pytest.LogCaptureFixture) -> None:
    collector = Collector(problem(status, "some_code", "value"))
    with client(collector) as app:
        event_id = app.comment("p1", "se cret")
        assert app.flush(5)
    assert len(collector.requests) == 1
    assert app.stats == learnback.Stats(sent=1, accepted=0, rejected=1, dropped=0, pending=0)
    assert event_id in caplog.text
    assert "some_code" in caplog.text
    assert "se cret" not in caplog.text


def item_problem(index: int, code: str = "literal_error", retryable: bool = False) -> dict[str, Any]:
    return {"status": 422, "code": code, "detail": "no", "event_index": index, "retryable": retryable}


@pytest.mark.parametrize("taken", [True, False])
def test_a_bad_event_is_given_up_and_the_others_are_done(taken: bool, caplog: pytest.LogCaptureFixture) -> None:
    values = ["up", "sideways", "down", "askew"] if taken else ["sideways", "askew"]
    collector = Collector()

    def judge_each(events: list[dict[str, Any]]) -> httpx.Response:
        errors = [item_problem(index) for index, event in enumerate(events) if event["value"] in ("sideways", "askew")]
        return httpx.Response(207 if taken else 422, json={"accepted": len(events) - len(errors), "errors": errors})

    collector.judge = judge_each
    with client(collector) as app:
        ids = [app.thumbs("p1", value) for value in values]  # type: ignore[arg-type]
        assert app.flush(5)
    assert app.stats == learnback.Stats(sent=len(ids), accepted=len(ids) - 2, rejected=2, dropped=0, pending=0)
    assert len(collector.requests) == 1
    for event_id, value in zip(ids, values, strict=True):
        assert (event_id in caplog.text) == (value in ("sideways", "askew"))


def test_an_item_that_may_be_taken_later_goes_again_alone() -> None:
    errors = [item_problem(0), item_problem(2, "unavailable", retryable=True)]
    collector = Collector(httpx.Response(207, json={"accepted": 1, "errors": errors}))
    with client(collector) as app:
        ids = [app.rating("p1", number) for number in (9, 4, 5)]
        assert app.flush(5)
    assert collector.ids() == [ids, [ids[2]]]
    assert app.stats == learnback.Stats(sent=3, accepted=2, rejected=1, dropped=0, pending=0)


@pytest.mark.parametrize("errors", ["text", [1], [{}], [{"event_index": 7}], [{"event_index": "0"}]])
def test_errors_that_name_no_item_are_not_believed(errors: object) -> None:
    with client(Collector(httpx.Response(202, json={"errors": errors}))) as app:
        app.thumbs("p1", "up")
    assert app.stats.accepted == 1


def test_ids_are_in_the_order_of_time_and_short() -> None:
    with client(Collector()) as app:
        first = app.thumbs("p1", "up")
        before = time.time_ns() // 1_000_000
        while time.time_ns() // 1_000_000 == before:
            pass
        assert first < app.thumbs("p1", "up")
    assert len(first) == 32


def test_an_item_that_spoils_the_whole_body_does_not_take_the_others_along() -> None:
    collector = Collector()

    def refuse(events: list[dict[str, Any]]) -> httpx.Response | None:
        bad = next((index for index, event in enumerate(events) if event["value"] == "sideways"), None)
        return None if bad is None else problem(422, "literal_error", "value", bad)

    collector.judge = refuse
    with client(collector) as app:
        for value in ("up", "sideways", "down", "sideways", "up"):
            app.thumbs("p1", value)  # type: ignore[arg-type]
    assert app.stats == learnback.Stats(sent=5, accepted=3, rejected=2, dropped=0, pending=0)
    assert [event["value"] for event in collector.events[-1]] == ["up", "down", "up"]


def test_what_is_too_large_together_is_sent_in_parts() -> None:
    collector = Collector()
    collector.judge = lambda events: problem(413, "too_large") if len(events) > 2 else None
    with client(collector) as app:
        ids = [app.thumbs("p1", "up") for _ in range(7)]
    assert app.stats.accepted == 7
    assert [identity for batch in collector.ids() if len(batch) <= 2 for identity in batch] == ids


def test_values_that_are_no_json_never_raise() -> None:
    with client(Collector()) as app:
        app.rating("p1", float("nan"))  # type: ignore[arg-type]
        app.comment("p1", "\ud800")
        app.comment("p1", object())  # type: ignore[arg-type]
        app.prediction("p1", model="m", version="v", input="i", output="o", scores=5)  # type: ignore[arg-type]
    assert app.stats == learnback.Stats(sent=4, accepted=0, rejected=4, dropped=0, pending=0)


def test_without_a_collector_the_queue_is_bounded_and_the_end_is_not_late() -> None:
    collector = Collector(*[httpx.ConnectError("away")] * 10_000)
    app = client(collector, capacity=50)
    for _ in range(400):
        app.thumbs("p1", "up")
    assert not app.flush(0.1)
    started = time.monotonic()
    app.close(0.2)
    assert time.monotonic() - started < 2
    stats = app.stats
    assert (stats.sent, stats.dropped, stats.pending) == (400, 400, 0)
    app.thumbs("p1", "up")
    assert app.stats.dropped == 401


def test_errors_are_raised_when_asked_for() -> None:
    app = client(Collector(problem(422, "missing")), raise_errors=True)
    app.thumbs("p1", "up")
    with pytest.raises(learnback.DroppedError):
        app.flush(5)
    with pytest.raises(learnback.RefusedError):
        app.comment("p1", "\ud800")
    app.close()  # what was told is not told again
    with pytest.raises(learnback.DroppedError):
        app.thumbs("p1", "up")
    with pytest.raises(ValueError, match="http"):
        learnback.Client("collector:8710", "k")


# --- asking the predictor ----------------------------------------------------------------------------------------

ANSWER = {
    "prediction_id": "p1",
    "model": "m",
    "version": "v1",
    "output": "a",
    "scores": [{"label": "a", "score": 0.9}],
    "solicit": True,
}


def test_predict_gives_the_answer_or_raises() -> None:
    bad = httpx.Response(200, json={"hello": "world"})
    predictor = Collector(
        httpx.Response(200, json=ANSWER),
        problem(404, "unknown_model", "model"),
        problem(503, "unavailable"),
        bad,
        httpx.ConnectError("x"),
    )
    with client(predictor, predictor_url="http://predictor/") as app:
        found = app.predict("m", "in", user="ann")
        assert found == learnback.Prediction("p1", "m", "v1", "a", (learnback.Score("a", 0.9),), True)
        with pytest.raises(learnback.RefusedError, match="unknown_model at model"):
            app.predict("m", "in")
        for expected in (learnback.UnavailableError, learnback.LearnbackError, learnback.UnavailableError):
            with pytest.raises(expected):
                app.predict("m", "in")
    asked = json.loads(predictor.requests[0].content)
    assert str(predictor.requests[0].url) == "http://predictor/v1/predict"
    assert {**asked, "prediction_id": "?"} == {"model": "m", "input": "in", "prediction_id": "?", "user": "ann"}
    with pytest.raises(learnback.LearnbackError, match="predictor_url"):
        client(Collector()).predict("m", "in")


# --- asyncio -----------------------------------------------------------------------------------------------------


async def test_the_async_client_does_the_same() -> None:
    collector = Collector(problem(503, "unavailable"), httpx.ConnectError("x"))
    collector.judge = lambda events: next(
        (problem(422, "e", "value", n) for n, event in enumerate(events) if event["value"] == 9), None
    )
    transport = httpx.MockTransport(collector)
    async with learnback.AsyncClient("http://collector", "k", transport=transport) as app:
        first = await app.rating("p1", 4)
        await app.rating("p1", 9)
        await app.comment("p1", "\ud800")
        assert await app.flush(5)
        assert app.stats == learnback.Stats(sent=3, accepted=1, rejected=2, dropped=0, pending=0)
        for _ in range(250):
            await app.rating("p1", 3)
    assert collector.ids()[0] == collector.ids()[1] == collector.ids()[2]
    assert first in collector.ids()[3]
    assert app.stats.accepted == 251
    assert max(map(len, collector.ids())) <= 100


async def test_the_async_client_gives_up_at_its_end() -> None:
    transport = httpx.MockTransport(Collector(*[httpx.ConnectError("away")] * 1000))
    app = learnback.AsyncClient("http://collector", "k", transport=transport, raise_errors=True)
    await app.thumbs("p1", "up")
    assert not await app.flush(0.1)
    with pytest.raises(learnback.DroppedError):
        await app.close(0.1)
    assert app.stats == learnback.Stats(sent=1, accepted=0, rejected=0, dropped=1, pending=0)


async def test_the_async_client_predicts() -> None:
    transport = httpx.MockTransport(Collector(httpx.Response(200, json=ANSWER)))
    async with learnback.AsyncClient("http://c", "k", predictor_url="http://p", transport=transport) as app:
        assert (await app.predict("m", "in")).solicit is True


# --- forks and exits ---------------------------------------------------------------------------------------------

SERVER = """
import http.server, sys
class Handler(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        print(self.rfile.read(int(self.headers["Content-Length"])).decode(), flush=True)
        self.send_response(202); self.send_header("Content-Length", "0"); self.end_headers()
    def log_message(self, *_): pass
server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
print(server.server_address[1], flush=True)
server.serve_forever()
"""

APP = """
import os, sys, learnback
client = learnback.Client(sys.argv[1], "k")
client.thumbs("parent-1", "up", event_id="parent-1")
child = os.fork()
client.thumbs("x", "up", event_id="child" if child == 0 else "parent-2")
if child:
    os.waitpid(child, 0)
"""


def test_a_fork_and_an_exit_without_close_lose_nothing() -> None:
    with subprocess.Popen([sys.executable, "-c", SERVER], stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        url = f"http://127.0.0.1:{server.stdout.readline().strip()}"
        subprocess.run(
            [sys.executable, "-c", APP, url], env={**os.environ, "PYTHONPATH": str(CLIENT)}, check=True, timeout=30
        )
        server.terminate()
        arrived = [event["event_id"] for line in server.stdout for event in json.loads(line)]
    assert sorted(arrived) == ["child", "parent-1", "parent-2"]


# --- the pure parts ----------------------------------------------------------------------------------------------


def test_back_off_doubles_to_a_limit_and_starts_anew() -> None:
    backoff, again = Backoff(), Outcome(wait=True)
    waits = [backoff.after(again) for _ in range(20)]
    assert all(FIRST_S * 2**n / 2 <= wait <= FIRST_S * 2**n for n, wait in enumerate(waits[:6]))
    assert max(waits) <= MOST_S
    assert backoff.after(Outcome(accepted=1)) == 0
    assert backoff.after(again) <= FIRST_S


def test_a_batch_stays_below_the_collectors_limit() -> None:
    outbox = Outbox(1000)
    for number in range(100):
        outbox.add(write("/v1/feedback", f"e{number}", {"value": "ü" * 10_000}))
    batches = iter(outbox.take, None)
    sizes = [(len(batch.content), len(batch.events)) for batch in batches]
    assert sum(count for _, count in sizes) == 100
    assert all(size < BATCH_BYTES + 20_100 for size, _ in sizes)


def test_a_date_in_retry_after_is_left_to_the_back_off() -> None:
    outbox = Outbox(10)
    outbox.add(write("/v1/feedback", "e1", {}))
    batch = outbox.take()
    assert batch is not None
    answer = httpx.Response(503, headers={"Retry-After": "Sat, 21 Nov 2026 07:28:00 GMT"})
    assert judge(batch, answer) == Outcome(rest=(batch,), wait=True)
