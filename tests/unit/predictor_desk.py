"""A predictor over ASGI for its tests: real weights, the product's app, and fakes at its seams (log, news, chance)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import threading
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import pytest

from schemas.events import ModelStateChanged, PredictionServed
from services.predictor.answers import Answer, Taken
from services.predictor.app import create_app
from services.predictor.batching import Batcher, Limits
from services.predictor.desk import Desk
from services.predictor.serving import Serving
from services.predictor.talking import Talker
from shared.artifacts import ArtifactStore
from shared.envelope import Sealed
from shared.errors import ArtifactError, UnavailableError
from shared.identity import Keyring
from shared.lm.task import Answer as TaskAnswer
from shared.lm.task import Asked
from shared.log import Kept
from shared.policy import PolicyFile
from tests.unit.events import carried
from tests.weights import MODEL, ROWS, Version, make_version

SECRET = b"s" * 64
SECOND = [(text, f"{label} II") for text, label in ROWS]  # the labels tell which version really answered
TRUTH = dict(ROWS)
DRAWS = 2  # a request: for its user, and for a reviewer
BOUND_S = 20.0  # of a batch: how many share a forward shall not depend on what else the machine does
Told = list[TaskAnswer | ArtifactError]


class Watched(Serving):
    """Notes the inputs of each batch, and fails for the models that are to fail."""

    def __init__(self, artifacts: ArtifactStore) -> None:
        super().__init__(artifacts)
        self.batches: list[list[str]] = []
        self.broken: set[str] = set()

    def answer(self, taken: Taken) -> list[Answer | Exception]:
        self.batches.append([one.input for one in taken.questions])
        with pytest.MonkeyPatch.context() as patch:
            for task in self._tasks.values():
                patch.setattr(task, "answer_each", partial(self._answer_each, task.answer_each))
            return super().answer(taken)

    def _answer_each(self, really: Callable[[Sequence[Asked]], Told], asked: Sequence[Asked]) -> Told:
        broken = {self.champions[model].version for model in self.broken}
        if broken & {one.version for one in asked}:
            raise RuntimeError("the kernel did not like it")
        return really(asked)


@dataclass
class House:
    """Two versions of one model in a store, and a base in memory for all tests of a module."""

    folder: Path
    store: ArtifactStore
    first: Version
    second: Version
    serving: Watched

    @classmethod
    def build(cls, folder: Path) -> House:
        """Train both versions."""
        store = ArtifactStore(f"file://{folder}/artifacts")
        return cls(folder, store, make_version(store, ROWS), make_version(store, SECOND), Watched(store))

    def says(self, version: str, text: str) -> str:
        """What a version has learned to answer."""
        return dict(SECOND if version == self.second.id else ROWS)[text]

    def start_over(self) -> None:
        """Let the first version serve, whatever a test has done before."""
        self.serving.batches.clear()
        self.serving.broken.clear()
        assert self.serving.serve(self.first.champion())
        assert self.serving.serve(self.second.canary(0.0))


class Memory:
    """A log in memory, which can be away."""

    instance = "i1"

    def __init__(self) -> None:
        self.events: list[PredictionServed] = []
        self.ready = True
        self.degraded = False

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        yield

    async def append(self, events: Sequence[Sealed]) -> Kept:
        if not self.ready:
            raise UnavailableError("The log is away.")
        self.events += [event for event in map(carried, events) if isinstance(event, PredictionServed)]
        return Kept()


class Draws(random.Random):
    """Chance that counts: a request that has drawn is in the queue."""

    drawn = 0

    def random(self) -> float:
        self.drawn += 1
        return super().random()


class News:
    """The models topic: what a test puts is what the predictor hears."""

    def __init__(self) -> None:
        self.queue: asyncio.Queue[list[ModelStateChanged]] = asyncio.Queue()

    async def __call__(self) -> AsyncGenerator[list[ModelStateChanged], None]:
        while True:
            yield await self.queue.get()

    def tell(self, *states: ModelStateChanged) -> None:
        self.queue.put_nowait(list(states))


@dataclass
class Running:
    """A running predictor, and a client with its keys."""

    desk: Desk
    chance: Draws
    log: Memory
    news: News
    http: httpx.AsyncClient
    ingest: str
    review: str

    async def post(self, body: Any, **headers: str) -> httpx.Response:
        sent = {"Authorization": f"Bearer {self.ingest}", "Content-Type": "application/json", **headers}
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self.http.post("/v1/predict", content=raw, headers=sent)

    async def predict(self, *inputs: str, model: str = MODEL) -> list[httpx.Response]:
        """Ask for all inputs at the same moment."""
        return await asyncio.gather(*[self.post({"model": model, "input": text}) for text in inputs])

    async def queue(self, *inputs: str, model: str = MODEL) -> list[asyncio.Task[httpx.Response]]:
        """Ask while the thread is busy, and return when all inputs wait."""
        wanted = self.chance.drawn + DRAWS * len(inputs)
        asked = [asyncio.create_task(self.post({"model": model, "input": text})) for text in inputs]
        await self.until(lambda: self.chance.drawn == wanted)
        return asked

    async def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 60  # on a machine that does other things too
        while not condition():
            assert time.monotonic() < deadline, "It did not happen in time."
            await asyncio.sleep(0.005)

    @contextlib.asynccontextmanager
    async def busy(self) -> AsyncIterator[None]:
        """Keep the computing thread occupied, so that inputs queue up."""
        done = threading.Event()
        work = asyncio.ensure_future(self.desk.batcher.on_thread(lambda: done.wait(20)))
        try:
            yield
        finally:
            done.set()
            await work


@contextlib.asynccontextmanager
async def predictor(
    house: House,
    folder: Path,
    *news: ModelStateChanged,
    policies: PolicyFile | None = None,
    seed: int = 1,
    max_queue: int = 512,
    silent: bool = False,
) -> AsyncIterator[Running]:
    """A predictor that has heard these news, unless the topic is silent."""
    keyring = Keyring(folder / "keys.json", SECRET)
    keys = keyring.create("shop"), keyring.create("office", frozenset({"review"}))
    log, heard, chance = Memory(), News(), Draws(seed)
    batcher = Batcher(house.serving, Limits(32, BOUND_S, max_queue))
    talker = Talker(house.serving, batcher, max_queue)
    desk = Desk(house.serving, batcher, talker, log, keyring, policies or PolicyFile(), heard, chance)
    app = create_app(desk)
    transport = httpx.ASGITransport(app, raise_app_exceptions=False)
    async with app.router.lifespan_context(app), httpx.AsyncClient(transport=transport, base_url="http://p") as client:
        running = Running(desk, chance, log, heard, client, *keys)
        if not silent:
            heard.tell(*news)
            await running.until(lambda: desk.followed)
        yield running
