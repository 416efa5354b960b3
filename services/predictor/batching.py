"""Micro-batches: inputs that wait at the same moment share a forward; nobody waits for company.

One thread computes and swaps. While it is busy inputs queue up; when it is free it takes what is there.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TypeVar

from services.predictor.serving import Answer, Serving
from shared.errors import UnavailableError

Result = TypeVar("Result")


@dataclass(frozen=True)
class Waiting:
    """One input and where its answer goes."""

    model: str
    input: str
    top_k: int
    on_trial: bool
    answer: asyncio.Future[Answer]


class Batcher:
    """The queue before the thread."""

    def __init__(self, serving: Serving, max_batch: int, max_queue: int) -> None:
        """`max_batch` inputs share a forward, `max_queue` may wait."""
        self._serving = serving
        self._max_batch = max_batch
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue(max_queue)
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="serving")

    async def answer(self, model: str, text: str, top_k: int, on_trial: bool = False) -> Answer:
        """The answer to one input: of the model's champion, or of its canary.

        Raises:
            UnavailableError: too many wait.
            UnknownModelError: the model has no champion.
        """
        waiting = Waiting(model, text, top_k, on_trial, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waiting)
        except asyncio.QueueFull:
            raise UnavailableError(f"{self._queue.maxsize} inputs are waiting already; try again.") from None
        return await waiting.answer

    async def on_thread(self, work: Callable[[], Result]) -> Result:
        """Run something between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, work)

    async def run(self) -> None:
        """Serve batches until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._max_batch and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            by_kind: defaultdict[tuple[str, int, bool], list[Waiting]] = defaultdict(list)
            for waiting in batch:
                by_kind[waiting.model, waiting.top_k, waiting.on_trial].append(waiting)
            for (model, top_k, on_trial), together in by_kind.items():
                await self._serve(model, top_k, on_trial, together)

    async def _serve(self, model: str, top_k: int, on_trial: bool, together: list[Waiting]) -> None:
        inputs = [waiting.input for waiting in together]
        try:
            answers = await self.on_thread(lambda: self._serving.answer(model, inputs, top_k, on_trial))
        except Exception as error:  # told to each caller; the loop must go on for the others
            for waiting in together:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            return
        for waiting, answer in zip(together, answers, strict=True):
            if not waiting.answer.done():  # a caller who hung up has cancelled it
                waiting.answer.set_result(answer)

    def close(self) -> None:
        """End the thread after the work in hand."""
        self._thread.shutdown(wait=True, cancel_futures=True)
