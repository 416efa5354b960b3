"""The broker freezes, dies, or is not there: what was acknowledged is on the topic afterwards, in its order."""

from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from bench.stage import broker
from shared.envelope import unseal
from shared.kafka import Bus
from shared.topics import FEEDBACK
from tests.conftest import free_port
from tests.kafka.test_collector import Running, collector, eventually, stored

pytestmark = pytest.mark.kafka
COMMENT = {"prediction_id": "p1", "kind": "comment"}


def post(running: Running, event_id: str, words: str = "good") -> httpx.Response:
    return running.http.post("/v1/feedback", json={**COMMENT, "value": words, "event_id": event_id})


def order(bus: Bus) -> list[str]:
    """What was said of the prediction, in the topic's order, repeats left out."""
    with bus.follower(FEEDBACK) as follower:
        events: list[Any] = [unseal(record.value, record.headers, FEEDBACK) for record in follower.catch_up()]
    return list(dict.fromkeys(event.feedback.value for event in events))


@contextlib.contextmanager
def frozen(process: Any) -> Iterator[None]:
    process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        process.send_signal(signal.SIGCONT)


def test_a_frozen_broker_costs_two_seconds_once_and_no_event(tmp_path: Path) -> None:
    with broker(tmp_path / "kafka", free_port(2)) as (bus, process), collector(tmp_path, bus) as running:
        running.until_connected()
        said = [f"word {number}" for number in range(90)]
        for number in range(30):
            answer = post(running, f"e{number}", said[number])
            assert (answer.status_code, "x-durability" in answer.headers) == (202, False)
        with frozen(process):
            started = time.monotonic()
            for number in range(30, 60):
                answer = post(running, f"e{number}", said[number])
                assert (answer.status_code, answer.headers["x-durability"]) == (202, "spool")
            assert time.monotonic() - started < 4
            assert running.http.get("/readyz").text == "degraded\n"
        for number in range(60, 90):
            assert post(running, f"e{number}", said[number]).status_code == 202
        running.until_connected()
        assert "x-durability" not in post(running, "last", "last").headers
        assert order(bus) == [*said, "last"]


def test_what_was_spooled_outlives_a_killed_collector(tmp_path: Path) -> None:
    port = free_port(2)
    nowhere = Bus(f"127.0.0.1:{port}", "bench")
    with collector(tmp_path, nowhere) as running:
        assert running.http.get("/readyz").status_code == 200
        many = [{**COMMENT, "value": f"word {number}", "event_id": f"e{number}"} for number in range(300)]
        answers = [running.http.post("/v1/feedback", json=many[start : start + 100]) for start in (0, 100, 200)]
        assert [(answer.status_code, answer.headers["x-durability"]) for answer in answers] == [(202, "spool")] * 3
        running.process.kill()
    with broker(tmp_path / "kafka", port) as (bus, _), collector(tmp_path, bus) as running:
        running.until_connected()
        assert order(bus) == [f"word {number}" for number in range(300)]


def test_a_full_spool_slows_senders_down_and_then_refuses_and_keeps_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LEARNBACK_COLLECTOR_SPOOL_BYTES", str(1024 * 1024))
    port = free_port(2)
    taken: list[str] = []
    refused: list[str] = []
    pressure: list[float] = []
    with collector(tmp_path, Bus(f"127.0.0.1:{port}", "bench")) as running:
        for number in range(400):
            answer = post(running, f"e{number}", "x" * 4_000)
            (taken if answer.status_code == 202 else refused).append(f"e{number}")
            if answer.status_code == 202 and "x-backpressure" in answer.headers:
                pressure.append(float(answer.headers["x-backpressure"]))
            if answer.status_code != 202:
                assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
                assert int(answer.headers["retry-after"]) >= 1
        assert len(taken) > 100
        assert len(refused) > 100
        assert pressure[0] < 0.85
        assert pressure[-1] > 0.9
        assert running.http.get("/readyz").status_code == 503
        with broker(tmp_path / "kafka", port) as (bus, _):
            running.until_connected()
            assert sorted(stored(bus, FEEDBACK)) == sorted(taken)
            assert post(running, refused[0]).status_code == 202
            assert refused[0] in stored(bus, FEEDBACK)


def test_a_dead_broker_is_noticed_at_once(tmp_path: Path) -> None:
    port = free_port(2)
    with contextlib.ExitStack() as stack:
        with broker(tmp_path / "kafka", port) as (bus, process):
            running = stack.enter_context(collector(tmp_path, bus))
            running.until_connected()
            assert post(running, "e0", "before").status_code == 202
            process.kill()
            process.wait()
            started = time.monotonic()
            for number in range(20):
                assert post(running, f"d{number}", f"while {number}").status_code == 202
            assert time.monotonic() - started < 3
        with broker(tmp_path / "kafka", port) as (bus, _):
            running.until_connected()
            assert post(running, "e1", "after").status_code == 202
            eventually(lambda: order(bus) == ["before", *[f"while {number}" for number in range(20)], "after"])
