"""Answers of text, told while they are made: a token of each at a time, and batches of others between two tokens."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

from services.predictor.answers import Answer, Kind, Question, Talk
from services.predictor.batching import Batcher
from services.predictor.serving import Serving
from shared.errors import ArtifactError, UnavailableError

if TYPE_CHECKING:
    from shared.lm.decoding import Decoding, Finish

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
    """The queue of answers of text, and those in the making: all of one kind take each step together."""

    def __init__(self, serving: Serving, batcher: Batcher, max_queue: int) -> None:
        """Make one that computes between the batches of a batcher."""
        self._serving, self._batcher = serving, batcher
        self._waiting: asyncio.Queue[Listener] = asyncio.Queue(max_queue)
        self._open: list[tuple[Listener, Talk]] = []
        self._decodings: dict[Kind, Decoding] = {}

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
            self._let_go()
            while len(self._open) < OPEN and (not self._open or not self._waiting.empty()):
                await self._begin(await self._waiting.get())
            for kind, decoding in list(self._decodings.items()):
                await self._go_on(kind, decoding)

    def _let_go(self) -> None:
        """Compute no more for those who hung up."""
        for listener, talk in self._open:
            if listener.gone and not talk.speech.is_over:
                talk.decoding.leave([talk.speech])
        self._open = [(listener, talk) for listener, talk in self._open if not listener.gone]
        self._decodings = {kind: one for kind, one in self._decodings.items() if not one.is_over}

    async def _begin(self, listener: Listener) -> None:
        if listener.gone:
            return
        try:
            taken = self._serving.take([listener.question])
            talk = await self._batcher.on_thread(partial(self._serving.begin, taken, self._decodings))
        except Exception as error:  # told to who asked; the others must go on
            listener.heard.put_nowait(error)
            return
        self._open.append((listener, talk))

    async def _go_on(self, kind: Kind, decoding: Decoding) -> None:
        """One token more of each answer of a kind, and tell those who wait for them."""
        failed: Exception | None = None
        try:
            await self._batcher.on_thread(decoding.step)
        except Exception as error:  # told to all whom it concerns; the other kinds must go on
            failed = error
            del self._decodings[kind]
        still = []
        for listener, talk in self._open:
            if talk.decoding is decoding:
                listener.heard.put_nowait(failed or _told(talk))
            if not (talk.decoding is decoding and (failed or talk.speech.is_over)):
                still.append((listener, talk))
        self._open = still


def _told(talk: Talk) -> Told | ArtifactError:
    if talk.speech.overflowed:
        return ArtifactError(f"{talk.version}: its answers are not finite.")
    return Told(talk.answer, talk.speech.finish)
