"""The collector as a process on a real broker: 202 means that the event is in the topic, whatever happens next."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import httpx
import learnback
import pytest

from services.collector.events import Origin, to_event
from services.collector.requests import ThumbsBody
from shared.envelope import Sealed, unseal
from shared.identity import Keyring, create_secret, read_secret
from shared.ids import namespaced
from shared.kafka import Bus
from shared.topics import ERASURES, FEEDBACK, TRAINING_REQUESTS, Topic
from tests.conftest import free_port

pytestmark = pytest.mark.kafka
THUMBS = {"prediction_id": "p1", "kind": "thumbs", "value": "down"}


@dataclass(frozen=True)
class Running:
    """A collector's process, and a client with a key of an app or a reviewer."""

    process: subprocess.Popen[bytes]
    http: httpx.Client

    def until(self, path: str, status: int) -> None:
        deadline = time.monotonic() + 40
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx.TransportError):
                if self.http.get(path).status_code == status:
                    return
            time.sleep(0.05)
        raise AssertionError(f"{path} did not answer {status}")

    def until_connected(self) -> None:
        """Until events go straight to the broker."""
        eventually(lambda: self.http.get("/readyz").text == "ready\n")


def environment(folder: Path, bus: Bus, port: int) -> dict[str, str]:
    return {
        **os.environ,
        "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": bus.servers,
        "LEARNBACK_TOPIC_PREFIX": bus.prefix,
        "LEARNBACK_SECRET_FILE": str(folder / "secret"),
        "LEARNBACK_KEYS_FILE": str(folder / "keys.json"),
        "LEARNBACK_COLLECTOR_PORT": str(port),
        "LEARNBACK_COLLECTOR_SPOOL_FILE": str(folder / "spool.db"),
    }


@contextlib.contextmanager
def collector(folder: Path, bus: Bus) -> Iterator[Running]:
    create_secret(folder / "secret")
    keyring = Keyring(folder / "keys.json", read_secret(folder / "secret"))
    key = keyring.create("shop", frozenset({"ingest", "review"}))
    port = free_port()
    process = subprocess.Popen([sys.executable, "-m", "services.collector"], env=environment(folder, bus, port))
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, timeout=20)
    try:
        with client:
            running = Running(process, client)
            running.until("/livez", 200)
            yield running
    finally:
        process.terminate()
        process.wait(30)


def stored(bus: Bus, topic: Topic) -> list[str]:
    """The app's own ids of the events in the topic."""
    with bus.follower(topic) as follower:
        events = [unseal(record.value, record.headers, topic) for record in follower.catch_up()]
    return [event.event_id.removeprefix(namespaced("shop", "")) for event in events]


@contextlib.contextmanager
def broker(folder: Path, port: int) -> Iterator[Bus]:
    """A broker of this test's own, on its folder; killed at the end."""
    with (folder / "broker.log").open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "local.broker", str(folder / "data"), str(port)], stdout=log, stderr=log
        )
    try:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
                break
            time.sleep(0.1)
        yield Bus(f"127.0.0.1:{port}", "own")
    finally:
        process.kill()
        process.wait(30)


def eventually(condition: Callable[[], bool], timeout_s: float = 30) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "It did not happen in time."
        time.sleep(0.1)


def test_202_means_that_it_is_in_the_topic(tmp_path: Path, bus: Bus) -> None:
    with collector(tmp_path, bus) as running:
        running.until_connected()
        one = running.http.post("/v1/feedback", json={**THUMBS, "event_id": "e0"})
        many = running.http.post("/v1/feedback", json=[{**THUMBS, "event_id": f"e{n}"} for n in range(1, 501)])
        asked = running.http.post("/v1/training-requests", json={"model": "m"})
        forgotten = running.http.post("/v1/erasures", json={"user": "ann"})
        both = [{**THUMBS, "event_id": "e501"}, {**THUMBS, "event_id": "no", "value": "sideways"}]
        mixed = running.http.post("/v1/feedback", json=both)
        again = running.http.post("/v1/feedback", json={**THUMBS, "event_id": "e0"})
        other = running.http.post("/v1/feedback", json={**THUMBS, "event_id": "e0", "value": "up"})
        answers = (one, many, asked, mixed, again, other)
        assert [answer.status_code for answer in answers] == [202, 202, 202, 207, 200, 409]
        assert sorted(stored(bus, FEEDBACK)) == sorted(f"e{n}" for n in range(502))
        assert stored(bus, TRAINING_REQUESTS) == asked.json()["event_ids"]
        assert (forgotten.status_code, stored(bus, ERASURES)) == (202, forgotten.json()["event_ids"])
        running.process.send_signal(signal.SIGTERM)
        assert running.process.wait(15) == 0


def test_what_the_client_sends_arrives_once(tmp_path: Path, bus: Bus) -> None:
    with collector(tmp_path, bus) as running:
        url, key = str(running.http.base_url), running.http.headers["authorization"].removeprefix("Bearer ")
        with learnback.Client(url, key) as app:  # it starts before Kafka is ready for the collector, and waits
            sent = [app.correction("p1", f"label {number}", user="ann") for number in range(300)]
            refused = app.correction("p1", "")
            assert app.flush(60)
        assert app.stats == learnback.Stats(sent=301, accepted=300, rejected=1, dropped=0, pending=0)
        eventually(lambda: set(stored(bus, FEEDBACK)) >= set(sent))  # the first ones may wait in the spool
        assert set(stored(bus, FEEDBACK)) == set(sent)
        assert refused not in sent


def thumbs(event_id: str) -> Sealed:
    body = ThumbsBody(event_id=event_id, prediction_id="p1", kind="thumbs", value="up")
    return to_event(body, Origin("shop", b"secret", datetime.now(UTC), "i1"))


def test_a_20_mb_body_is_refused_before_it_is_read(tmp_path: Path) -> None:
    with collector(tmp_path, Bus("127.0.0.1:1")) as running:
        for body in (b" " * 20_000_000, (b" " * 65_536 for _ in range(320))):  # with Content-Length, and chunked
            answer = running.http.post("/v1/feedback", content=body, headers={"Content-Type": "application/json"})
            assert (answer.status_code, answer.json()["code"]) == (413, "too_large")
        assert running.http.get("/livez").status_code == 200


def test_a_port_in_use_is_one_sentence(tmp_path: Path, bus: Bus) -> None:
    create_secret(tmp_path / "secret")
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        done = subprocess.run(
            [sys.executable, "-m", "services.collector"],
            env=environment(tmp_path, bus, taken.getsockname()[1]),
            capture_output=True,
            text=True,
            timeout=60,
        )
    assert done.returncode == 1
    assert done.stderr.startswith("Cannot listen on 127.0.0.1:")
    assert done.stderr.count("\n") == 1
