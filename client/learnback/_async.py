"""The client for asyncio apps."""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any

import httpx

from learnback._delivery import Backoff, judge
from learnback._errors import UnavailableError
from learnback._outbox import LINGER_S, Batch, Outbox, Stats
from learnback._predictions import Prediction, answer, question, url_of
from learnback._shared import CAPACITY, TIMEOUT_S, Options
from learnback._voice import Voice
from learnback._worker import EXIT_S


class AsyncClient(Voice[Awaitable[str]]):
    """`Client` for asyncio: the same methods, awaited. It belongs to one event loop, and must be closed.

    Raises:
        ValueError: an address is none.
    """

    def __init__(
        self,
        url: str,
        key: str,
        *,
        predictor_url: str | None = None,
        raise_errors: bool = False,
        capacity: int = CAPACITY,
        timeout: float = TIMEOUT_S,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Make a client; the arguments are those of `Client`."""
        self._options = Options(url, key, predictor_url, raise_errors)
        self._http = httpx.AsyncClient(
            base_url=url, headers=self._options.headers, timeout=timeout, transport=transport
        )
        self._outbox = Outbox(capacity)
        self._told = self._outbox.stats
        self._arrived = asyncio.Event()
        self._urgent = asyncio.Event()
        self._settled = asyncio.Condition()
        self._task: asyncio.Task[None] | None = None

    @property
    def stats(self) -> Stats:
        """What became of the events: sent == accepted + rejected + dropped + pending."""
        return self._outbox.stats

    async def flush(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109  (as Client.flush)
        """Wait until nothing is pending; False when the time (seconds) was too short.

        Raises:
            DroppedError: with `raise_errors`, events were lost since the last look.
        """
        done = await self._flush(timeout)
        self._check()
        return done

    async def close(self, timeout: float | None = EXIT_S) -> None:  # noqa: ASYNC109  (as Client.close)
        """Flush, then drop what is left.

        Raises:
            DroppedError: with `raise_errors`, events were lost since the last look.
        """
        await self._flush(timeout)
        self._outbox.give_up()
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        await self._http.aclose()
        self._check()

    async def predict(
        self,
        model: str,
        input: str,
        *,
        prediction_id: str | None = None,
        user: str | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> Prediction:
        """Ask the predictor; raises as `Client.predict` does."""
        url = url_of(self._options.predictor_url)
        try:
            response = await self._http.post(url, json=question(model, input, prediction_id, user, tags))
        except httpx.HTTPError as error:
            raise UnavailableError(f"The predictor is away ({type(error).__name__}).") from error
        return answer(response)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _say(self, path: str, event_id: str | None, body: Callable[[], Mapping[str, Any]]) -> str:
        event_id, event = self._options.write(path, event_id, body)
        if event is None:
            self._outbox.refuse()
        elif not self._outbox.add(event):
            self._options.full(self.stats)
        else:
            self._task = self._task or asyncio.create_task(self._run())
            self._arrived.set()
            if self._outbox.full_batch:
                self._urgent.set()
        return event_id

    async def _flush(self, seconds: float | None) -> bool:
        self._urgent.set()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds), self._settled:
                await self._settled.wait_for(lambda: self._outbox.stats.pending == 0)
        return self._outbox.stats.pending == 0

    async def _run(self) -> None:
        while True:
            await self._arrived.wait()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._urgent.wait(), LINGER_S)
            while (batch := self._outbox.take()) is not None:
                await self._deliver(batch)
            self._arrived.clear()
            self._urgent.clear()

    async def _deliver(self, batch: Batch) -> None:
        rest, backoff = deque([batch]), Backoff()
        while rest:
            one = rest.popleft()
            outcome = judge(one, await self._post(one))
            async with self._settled:
                self._outbox.settle(outcome.accepted, outcome.rejected)
                self._settled.notify_all()
            rest.extendleft(reversed(outcome.rest))
            await asyncio.sleep(backoff.after(outcome))

    async def _post(self, batch: Batch) -> httpx.Response | None:
        try:
            return await self._http.post(
                batch.path, content=batch.content, headers={"Content-Type": "application/json"}
            )
        except httpx.HTTPError:
            return None

    def _check(self) -> None:
        before, self._told = self._told, self.stats
        self._options.check(before, self._told)
