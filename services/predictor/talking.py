"""Answers of text, told while they are made: a token of each in turn, and batches of others between two tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from services.predictor.answers import Answer, Question, Talk
from services.predictor.batching import Batcher
from services.predictor.serving import Serving
from shared.errors import ArtifactError, UnavailableError

if TYPE_CHECKING:
    from shared.lm.decoding import Finish

OPEN = 16  # answers in the making; each keeps what its tokens were, which takes memory


@dataclass(frozen=True)
class Told:
    """What an answer is so far, and how it ended, if it did."""

    answer: Answer
    finish: Finish | None


@dataclass
class Listener:
    """Who waits for an answer."""

    question: Question
    heard: asyncio.Queue[Told | Exception] = field(default_factory=asyncio.Queue)
    gone: bool = False


class Talker:
    """The queue of answers of text, and those in the making."""

    def __init__(self, serving: Serving, batcher: Batcher, max_queue: int) -> None:
        """Make one that computes between the batches of a batcher."""
        self._serving, self._batcher = serving, batcher
        self._waiting: asyncio.Queue[Listener] = asyncio.Queue(max_queue)
        self._open: list[tuple[Listener, Talk]] = []

    async def talk(self, question: Question) -> AsyncGenerator[Told, None]:
        """What the answer is so far, again and again until it has ended.

        Raises:
            UnavailableError: too many wait.
            UnknownModelError: the model has no champion.
            ArtifactError: the version's weights overflow.
        """
        listener = Listener(question)
        try:
            self._waiting.put_nowait(listener)
        except asyncio.QueueFull:
            raise UnavailableError(f"{self._waiting.maxsize} inputs are waiting already; try again.") from None
        try:
            while True:
                told = await listener.heard.get()
                if isinstance(told, Exception):
                    raise told
                yield told
                if told.finish:
                    return
        finally:
            listener.gone = True  # who hung up shall cost nothing more

    async def run(self) -> None:
        """Make answers until cancelled."""
        while True:
            while len(self._open) < OPEN and (not self._open or not self._waiting.empty()):
                await self._begin(await self._waiting.get())
            for listener, talk in list(self._open):
                await self._go_on(listener, talk)
            self._open = [(listener, talk) for listener, talk in self._open if _goes_on(listener, talk)]

    async def _begin(self, listener: Listener) -> None:
        if listener.gone:
            return
        try:
            taken = self._serving.take([listener.question])
            talk = await self._batcher.on_thread(partial(self._serving.begin, taken))
        except Exception as error:  # told to who asked; the others must go on
            listener.heard.put_nowait(error)
            return
        self._open.append((listener, talk))

    async def _go_on(self, listener: Listener, talk: Talk) -> None:
        """One token more."""
        if listener.gone:
            return
        try:
            await self._batcher.on_thread(talk.decoding.step)
        except FloatingPointError:
            listener.heard.put_nowait(ArtifactError(f"{talk.version}: its answers are not finite."))
            listener.gone = True
        except Exception as error:  # as above
            listener.heard.put_nowait(error)
            listener.gone = True
        else:
            [speech] = talk.decoding.speeches
            listener.heard.put_nowait(Told(Answer(talk.model, talk.version, speech.text), speech.finish))


def _goes_on(listener: Listener, talk: Talk) -> bool:
    return not listener.gone and not talk.decoding.is_over
