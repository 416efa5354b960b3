"""Micro-batches: inputs that wait at the same moment share a forward; nobody waits for company.

One thread computes, another one loads. While the first is busy inputs queue up; when it is free it takes
what is there, as far as the pace of the last batches promises an end within the bound: who comes next waits no longer.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from services.predictor.answers import Answer, Question, Taken
from services.predictor.serving import Serving
from shared.errors import UnavailableError

Result = TypeVar("Result")

MEMORY = 0.2  # what the last batch weighs in the pace: a few long texts pass, a longer spell of them counts


@dataclass(frozen=True)
class Limits:
    """How many inputs share a forward, how long that may take, and how many may wait."""

    max_batch: int = 32
    bound_s: float = 0.05
    max_queue: int = 512


@dataclass(frozen=True)
class Waiting:
    """One input and where its answer goes."""

    question: Question
    answer: asyncio.Future[Answer]


class Batcher:
    """The queue before the thread."""

    def __init__(self, serving: Serving, limits: Limits) -> None:
        """Make one for the models in memory."""
        self._serving = serving
        self._limits = limits
        self._queue: asyncio.Queue[Waiting] = asyncio.Queue(limits.max_queue)
        self._pace_s = 0.0  # of one input
        self._computing = ThreadPoolExecutor(1, thread_name_prefix="computing")
        self._loading = ThreadPoolExecutor(1, thread_name_prefix="loading")

    async def answer(self, question: Question) -> Answer:
        """The answer to one input.

        Raises:
            UnavailableError: too many wait.
            UnknownModelError: the model has no champion.
        """
        waiting = Waiting(question, asyncio.get_running_loop().create_future())
        try:
            self._queue.put_nowait(waiting)
        except asyncio.QueueFull:
            raise UnavailableError(f"{self._queue.maxsize} inputs are waiting already; try again.") from None
        return await waiting.answer

    async def on_thread(self, work: Callable[[], Result]) -> Result:
        """Run something between two batches."""
        return await asyncio.get_running_loop().run_in_executor(self._computing, work)

    async def beside(self, work: Callable[[], Result]) -> Result:
        """Run something while batches are computed."""
        return await asyncio.get_running_loop().run_in_executor(self._loading, work)

    async def run(self) -> None:
        """Serve batches until cancelled."""
        while True:
            batch = [await self._queue.get()]
            while len(batch) < self._size and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            if batch := [one for one in batch if not one.answer.done()]:  # who hung up has cancelled it
                await self._serve(batch)

    @property
    def _size(self) -> int:
        """How many inputs the next batch may hold."""
        if not self._pace_s:
            return self._limits.max_batch
        return max(1, min(self._limits.max_batch, int(self._limits.bound_s / self._pace_s)))

    async def _serve(self, batch: list[Waiting]) -> None:
        taken = self._serving.take([waiting.question for waiting in batch])
        answers, seconds = await self.on_thread(partial(self._timed, taken))
        self._pace_s += (seconds / len(batch) - self._pace_s) * (MEMORY if self._pace_s else 1.0)
        for waiting, answer in zip(batch, answers, strict=True):
            if waiting.answer.done():
                continue
            if isinstance(answer, Exception):
                waiting.answer.set_exception(answer)
            else:
                waiting.answer.set_result(answer)

    def _timed(self, taken: Taken) -> tuple[list[Answer | Exception], float]:
        start = time.perf_counter()
        try:
            answers = self._serving.answer(taken)
        except Exception as error:  # told to each caller; the loop must go on for the others
            answers = [error] * len(taken.questions)
        return answers, time.perf_counter() - start

    def close(self) -> None:
        """End the threads after the work in hand."""
        for thread in (self._computing, self._loading):
            thread.shutdown(wait=True, cancel_futures=True)
