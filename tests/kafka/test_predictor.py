"""The predictor as a process on a real broker: 200 means that the prediction is in the topic; the news are followed."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.events import PredictionServed
from shared.artifacts import ArtifactStore
from shared.envelope import unseal
from shared.identity import Keyring, create_secret, read_secret
from shared.kafka import Bus
from shared.topics import PREDICTIONS
from tests.conftest import free_port
from tests.kafka.models_topic import poison, publish
from tests.kafka.test_collector import broker, eventually
from tests.weights import MODEL, ROWS, Version, make_version

pytestmark = pytest.mark.kafka
TEXT = "where is my parcel"
BODY = {"model": MODEL, "input": TEXT}
START_S = 90  # torch and the base, on a machine that does other things too


@dataclass(frozen=True)
class Running:
    """A predictor's process, what it wrote on stderr, and a client with a key."""

    process: subprocess.Popen[bytes]
    stderr: Path
    http: httpx.Client

    def predict(self, **fields: Any) -> httpx.Response:
        return self.http.post("/v1/predict", json={**BODY, **fields})

    @property
    def version(self) -> str | None:
        """Which version answers."""
        return next((served["version"] for served in self.http.get("/v1/models").json()), None)

    def answers(self, path: str, status: int) -> bool:
        with contextlib.suppress(httpx.TransportError):
            return self.http.get(path).status_code == status
        return False


@contextlib.contextmanager
def predictor(folder: Path, bus: Bus) -> Iterator[Running]:
    create_secret(folder / "secret")
    key = Keyring(folder / "keys.json", read_secret(folder / "secret")).create("shop")
    port, stderr = free_port(), folder / f"stderr-{uuid.uuid4().hex}"
    environment = {
        **os.environ,
        "LEARNBACK_KAFKA_BOOTSTRAP_SERVERS": bus.servers,
        "LEARNBACK_TOPIC_PREFIX": bus.prefix,
        "LEARNBACK_ARTIFACTS_URL": f"file://{folder}/artifacts",
        "LEARNBACK_POLICY_FILE": str(folder / "learnback.toml"),
        "LEARNBACK_SECRET_FILE": str(folder / "secret"),
        "LEARNBACK_KEYS_FILE": str(folder / "keys.json"),
        "LEARNBACK_PREDICTOR_PORT": str(port),
        "LEARNBACK_PREDICTOR_THREADS": "1",
    }
    with stderr.open("wb") as file:
        process = subprocess.Popen([sys.executable, "-m", "services.predictor"], env=environment, stderr=file)
    client = httpx.Client(base_url=f"http://127.0.0.1:{port}", headers={"Authorization": f"Bearer {key}"}, timeout=20)
    try:
        with client:
            running = Running(process, stderr, client)
            eventually(lambda: running.answers("/livez", 200), START_S)
            yield running
            process.send_signal(signal.SIGTERM)
            assert process.wait(20) == 0
            assert "Traceback" not in stderr.read_text()
            assert "Unclosed" not in stderr.read_text()
    finally:
        process.kill()
        process.wait(30)


@pytest.fixture
def versions(tmp_path: Path) -> tuple[Version, Version]:
    store = ArtifactStore(f"file://{tmp_path}/artifacts")
    return make_version(store, ROWS), make_version(store, [(text, f"{label} II") for text, label in ROWS])


def stored(bus: Bus) -> list[PredictionServed]:
    with bus.follower(PREDICTIONS) as follower:
        events = [unseal(record.value, record.headers, PREDICTIONS) for record in follower.catch_up()]
    return [event for event in events if isinstance(event, PredictionServed)]


def hang_up(running: Running) -> None:
    """Leave in mid-request: once before the body is complete, once before the answer."""
    url, key = running.http.base_url, running.http.headers["authorization"]
    for length in (1000, 52):
        body = b'{"model": "support-intent", "input": "I hang up now"}'[:length]
        head = f"POST /v1/predict HTTP/1.1\r\nHost: p\r\nAuthorization: {key}\r\nContent-Type: application/json\r\n"
        with socket.create_connection((url.host, url.port or 0), 5) as line:
            line.sendall(f"{head}Content-Length: {length}\r\n\r\n".encode() + body)


def test_it_answers_durably_and_follows_the_models_topic_across_a_restart(
    tmp_path: Path, bus: Bus, versions: tuple[Version, Version]
) -> None:
    first, second = versions
    publish(bus, first.champion())
    with predictor(tmp_path, bus) as running:
        eventually(lambda: running.answers("/readyz", 200))
        answer = running.predict(prediction_id="p-1", user="ann")
        assert (answer.status_code, answer.json()["version"], answer.json()["output"]) == (200, first.id, "parcel")
        [event] = stored(bus)
        assert (event.prediction_id, event.version, event.output) == ("p-1", first.id, "parcel")
        assert (event.solicit, event.solicit_rate) == (answer.json()["solicit"], 0.1)
        hang_up(running)
        poison(bus, first.champion())
        publish(bus, second.champion().model_copy(update={"manifest_sha256": "0" * 64}))
        eventually(lambda: "swap_refused" in running.stderr.read_text())
        assert running.predict().json()["version"] == first.id
        publish(bus, second.champion())
        eventually(lambda: running.version == second.id)
        assert running.predict(prediction_id="p-2").json()["output"] == "parcel II"
        assert {event.prediction_id: event.version for event in stored(bus)}["p-2"] == second.id
    with predictor(tmp_path, bus) as running:
        eventually(lambda: running.answers("/readyz", 200))
        assert running.predict().json()["version"] == second.id


def test_without_a_broker_it_listens_and_says_503(tmp_path: Path) -> None:
    with predictor(tmp_path, Bus(f"127.0.0.1:{free_port()}")) as running:
        assert running.answers("/readyz", 503)
        answer = running.predict()
        assert (answer.status_code, answer.json()["code"], answer.json()["retryable"]) == (503, "unavailable", True)
        assert "retry-after" in answer.headers
        eventually(lambda: running.stderr.read_text().count("models_topic_away") >= 2)


def test_when_kafka_goes_nothing_is_answered_and_when_it_returns_the_news_come(
    tmp_path: Path, versions: tuple[Version, Version]
) -> None:
    port = free_port(2)
    first, second = versions
    with contextlib.ExitStack() as stack:
        with broker(tmp_path, port) as bus:
            running = stack.enter_context(predictor(tmp_path, bus))  # at the same moment: the topics are not there yet
            eventually(lambda: running.answers("/readyz", 200))
            assert running.predict().status_code == 404
            publish(bus, first.champion())
            eventually(lambda: running.version == first.id)
            assert running.predict(prediction_id="before").status_code == 200
        started = time.monotonic()
        first_answer = running.predict(prediction_id="while")  # 504: handed to a client that has not noticed yet
        assert (first_answer.status_code, first_answer.json()["code"]) in {(503, "unavailable"), (504, "unconfirmed")}
        assert time.monotonic() - started < 5
        answer = running.predict(prediction_id="still")
        assert (answer.status_code, answer.json()["code"]) == (503, "unavailable")
        with broker(tmp_path, port) as bus:
            eventually(lambda: running.predict(prediction_id="after").status_code == 200, 60)
            publish(bus, second.champion())
            eventually(lambda: running.version == second.id, 60)
            assert {"before", "after"} <= {event.prediction_id for event in stored(bus)}
