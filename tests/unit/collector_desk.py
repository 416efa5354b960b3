"""A collector in the test's own process: its HTTP, its keys, and a log in memory that can be away."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx

from schemas.events import Event
from services.collector.app import create_app
from services.collector.settings import CollectorSettings
from shared.envelope import Sealed
from shared.errors import UnavailableError
from shared.identity import Keyring
from shared.log import Kept
from tests.unit.events import carried

SECRET = b"s" * 64
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
THUMBS = {"prediction_id": "p1", "kind": "thumbs", "value": "up"}
PREDICTION = {"prediction_id": "p1", "model": "m", "version": "v1", "input": "in", "output": "out"}
REVIEW = {"subject_kind": "example", "subject": "e1", "model": "m", "decision": "accept"}
TRAINING = {"model": "m"}
CARD = {
    "task": "classification",
    "base": "minilm",
    "examples": {"uri": "datasets/a", "sha256": "a" * 64, "rows": 10},
}
ROUTES = {
    "/v1/feedback": THUMBS,
    "/v1/predictions": PREDICTION,
    "/v1/reviews": REVIEW,
    "/v1/training-requests": TRAINING,
}
UNLIMITED = CollectorSettings(rate=0, browser_rate=0)
LISTS = ["/v1/feedback", "/v1/predictions"]


class Memory:
    """A log in memory, which can be away."""

    instance = "i1"

    def __init__(self) -> None:
        self.events: list[Event] = []
        self.ready = True
        self.degraded = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    async def append(self, events: Sequence[Sealed]) -> Kept:
        if not self.ready:
            raise UnavailableError("The log is away.")
        self.events.extend(carried(one) for one in events)
        return Kept()


class Clock:
    """A clock that goes on when it is told to."""

    def __init__(self) -> None:
        self.at = NOW

    def __call__(self) -> datetime:
        return self.at

    def sleep(self, seconds: float) -> None:
        self.at += timedelta(seconds=seconds)


class Desk:
    """A collector with its keys, and what it put on the log."""

    def __init__(self, folder: Path, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.log = Memory()
        self.keyring = Keyring(folder / "keys.json", SECRET)
        self.ingest = self.keyring.create("shop")
        self.other = self.keyring.create("forum")
        self.page = self.keyring.create("shop", origins=("https://shop.example",))
        self.review = self.keyring.create("office", frozenset({"review"}))
        self.start_again()

    def start_again(self, settings: CollectorSettings | None = None) -> None:
        """An empty log, a clock at noon, and a collector that remembers nothing."""
        self.log.events.clear()
        self.log.ready = True
        self.clock = Clock()
        app = create_app(self.log, self.keyring, settings or UNLIMITED, self.clock)
        self.http = httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://collector")

    def get(self, path: str) -> httpx.Response:
        return self.runner.run(self.http.get(path))

    def send(self, path: str, raw: bytes, headers: dict[str, str]) -> httpx.Response:
        return self.runner.run(self.http.post(path, content=raw, headers=headers))

    def key_of(self, route: str) -> str:
        return self.ingest if route in LISTS else self.review

    def post(self, route: str, body: Any, **headers: str) -> httpx.Response:
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        sent = {"Authorization": f"Bearer {self.key_of(route)}", "Content-Type": "application/json", **headers}
        return self.send(route, raw, sent)


def refused(
    desk: Desk, answer: httpx.Response, status: int, code: str, field: str | None = None, index: int | None = None
) -> None:
    """The answer is this problem, complete, and nothing was stored."""
    assert answer.headers["content-type"] == "application/problem+json"
    told = answer.json()
    assert (answer.status_code, told["code"], told["field"]) == (status, code, field), told
    told.pop("errors", None)
    assert set(told) == {"type", "title", "status", "detail", "code", "field", "retryable", "event_index"}
    assert (told["status"], told["retryable"], told["event_index"]) == (status, status in (408, 429, 503), index)
    assert desk.log.events == []
